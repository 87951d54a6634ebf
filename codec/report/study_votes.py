"""Votes of a study: read from the files that its page saved, checked, and told apart by the key."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec.errors import CodecError

CHOICES = ("left", "right", "equal")
FIELDS = ("study", "voter", "pair", "left", "right", "choice")


@dataclass(frozen=True)
class Vote:
    """One judgement: `won` of `first` against `second`, 1, 0, or 0.5 where no difference was seen; `ratio` of their rates."""

    voter: str
    clip: str
    first: str
    second: str
    won: float
    ratio: float = 1.0


def read_key(path: Path) -> dict[str, Any]:
    """The `study_key.json` of a study.

    Raises:
        CodecError: it is not there or is no key.
    """
    key = _json(path)
    if not isinstance(key, dict) or not {"study", "codecs", "pairs"} <= set(key):
        raise CodecError(f"{path}: no key of a study; corvid study wrote one beside study.html")
    for index, pair in enumerate(key["pairs"]):
        if not isinstance(pair.get("rate_ratio"), int | float) or pair["rate_ratio"] <= 0:
            raise CodecError(
                f"{path}: pairs[{index}].rate_ratio: {pair.get('rate_ratio')!r}; give the key as corvid study wrote it"
            )
    return key


def read_votes(paths: Sequence[Path], key: dict[str, Any]) -> list[Vote]:
    """Votes of several people, JSON or CSV; who votes on a pair again replaces the vote.

    Raises:
        CodecError: a file cannot be read, is of another study, or a field is wrong; the message names file, row and field.
    """
    latest: dict[tuple[str, int], Vote] = {}
    for path in paths:
        for number, row in enumerate(_rows(path), start=1):
            where = f"{path}: vote {number}"
            vote, pair = _vote(row, key, where)
            latest[vote.voter, pair] = vote
    if not latest:
        raise CodecError("no votes in the files; give those that the study's page saved")
    return list(latest.values())


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() == ".csv":
        try:
            return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CodecError(f"{path}: not readable ({error}); give a file that the study's page saved") from error
    content = _json(path)
    if not isinstance(content, dict) or not isinstance(content.get("votes"), list):
        raise CodecError(f"{path}: an object with a list of votes expected; give a file that the study's page saved")
    common = {name: content.get(name) for name in ("study", "voter")}
    return [common | vote for vote in content["votes"] if isinstance(vote, dict)]


def _vote(row: dict[str, Any], key: dict[str, Any], where: str) -> tuple[Vote, int]:
    missing = [name for name in FIELDS if row.get(name) in (None, "")]
    if missing:
        raise CodecError(f"{where}: lacks {', '.join(missing)}; give the file as the page saved it")
    if row["study"] != key["study"]:
        raise CodecError(f"{where}: is of study {row['study']}, the key of {key['study']}; give the key that belongs to it")
    if row["choice"] not in CHOICES:
        raise CodecError(f"{where}.choice: {row['choice']!r}; {', '.join(CHOICES)} expected")
    pair = _pair(row["pair"], key, where)
    seen = key["pairs"][pair]
    codecs = {seen[side]["video"]: seen[side]["codec"] for side in ("one", "other")}
    if {row["left"], row["right"]} != set(codecs):
        raise CodecError(f"{where}: shows {row['left']} and {row['right']}, pair {pair} is {' and '.join(codecs)}")
    won = {"left": 1.0, "right": 0.0, "equal": 0.5}[row["choice"]]
    ratio = 1 / seen["rate_ratio"] if row["left"] == seen["one"]["video"] else seen["rate_ratio"]
    return Vote(str(row["voter"]), seen["clip"], codecs[row["left"]], codecs[row["right"]], won, ratio), pair


def _pair(value: Any, key: dict[str, Any], where: str) -> int:
    text = str(value)
    if not text.isdigit() or int(text) >= len(key["pairs"]):
        raise CodecError(f"{where}.pair: {value!r}; a number below {len(key['pairs'])} expected")
    return int(text)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CodecError(f"{path}: not readable JSON ({error})") from error
