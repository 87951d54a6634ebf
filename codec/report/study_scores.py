"""Votes of a study, read from the files that its page saved, and Bradley-Terry scores from them."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import choix
import numpy as np
from rich.table import Table

from codec.errors import CodecError

WON = {"left": 1.0, "right": 0.0, "equal": 0.5}  # by the left one
CHOICES = tuple(WON)
FIELDS = ("study", "voter", "pair", "left", "right", "choice")


@dataclass(frozen=True)
class Vote:
    """One judgement of two codecs.

    Attributes:
        won: 1 where `first` was preferred, 0 for `second`, 0.5 where no difference was seen.
        ratio: rate of the first over that of the second.
    """

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
                f"{path}: pairs[{index}].rate_ratio: {pair.get('rate_ratio')!r}; "
                "give the key as corvid study wrote it"
            )
    return key


def read_votes(paths: Sequence[Path], key: dict[str, Any]) -> list[Vote]:
    """Votes of several people, JSON or CSV; a later vote on the same pair replaces the earlier.

    Raises:
        CodecError: a file cannot be read, is of another study, or a field is wrong; the message
            names file, row and field.
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
            raise CodecError(
                f"{path}: not readable ({error}); give a file that the study's page saved"
            ) from error
    content = _json(path)
    if not isinstance(content, dict) or not isinstance(content.get("votes"), list):
        raise CodecError(
            f"{path}: an object with a list of votes expected; "
            "give a file that the study's page saved"
        )
    common = {name: content.get(name) for name in ("study", "voter")}
    return [common | vote for vote in content["votes"] if isinstance(vote, dict)]


def _vote(row: dict[str, Any], key: dict[str, Any], where: str) -> tuple[Vote, int]:
    missing = [name for name in FIELDS if row.get(name) in (None, "")]
    if missing:
        raise CodecError(f"{where}: lacks {', '.join(missing)}; give the file as the page saved it")
    if row["study"] != key["study"]:
        raise CodecError(
            f"{where}: is of study {row['study']}, the key of {key['study']}; "
            "give the key that belongs to it"
        )
    if row["choice"] not in CHOICES:
        raise CodecError(f"{where}.choice: {row['choice']!r}; {', '.join(CHOICES)} expected")
    number = _pair_number(row["pair"], key, where)
    pair = key["pairs"][number]
    codecs = {pair[side]["video"]: pair[side]["codec"] for side in ("one", "other")}
    if {row["left"], row["right"]} != set(codecs):
        raise CodecError(
            f"{where}: shows {row['left']} and {row['right']}, "
            f"pair {number} is {' and '.join(codecs)}"
        )
    swapped = row["left"] != pair["one"]["video"]
    vote = Vote(
        voter=str(row["voter"]),
        clip=pair["clip"],
        first=codecs[row["left"]],
        second=codecs[row["right"]],
        won=WON[row["choice"]],
        ratio=pair["rate_ratio"] if swapped else 1 / pair["rate_ratio"],
    )
    return vote, number


def _pair_number(value: Any, key: dict[str, Any], where: str) -> int:
    text = str(value)
    if not text.isdigit() or int(text) >= len(key["pairs"]):
        raise CodecError(f"{where}.pair: {value!r}; a number below {len(key['pairs'])} expected")
    return int(text)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CodecError(f"{path}: not readable JSON ({error})") from error


RESAMPLES = 1000
FEW_VOTERS = 5
PRIOR = 0.5
TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class Score:
    """How much voters preferred a codec.

    Attributes:
        score: log of its strength, with mean 0 over codecs; A beats B with probability
            1 / (1 + exp(B - A)).
        low, high: ends of the bootstrap 95 % interval.
        votes: how many it took part in.
        share: of these that it won; a tie is half.
        rate_mean: its rate over the other's, the geometric mean over its votes: above 1 it was
            given more bits.
        rate_largest: the ratio of these that is farthest from 1.
    """

    codec: str
    score: float
    low: float
    high: float
    votes: int
    share: float
    rate_mean: float
    rate_largest: float


@dataclass(frozen=True)
class StudyScores:
    """Scores, best first; `unit` is what the bootstrap resamples: voters or votes."""

    scores: list[Score]
    voters: int
    votes: int
    unit: str

    def to_json(self) -> dict[str, Any]:
        """As `study_score.json` holds them."""
        return {"schema": 1, **asdict(self)}


def score_study(
    votes: Sequence[Vote], codecs: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> StudyScores:
    """Bradley-Terry scores of the codecs, with a percentile bootstrap over voters.

    With fewer than five voters single votes are resampled instead, which says nothing about other
    people. A tie counts half for both, and every two codecs that met get one tie more: a codec that
    always won would be infinitely strong.

    Source: Bradley and Terry, *Rank Analysis of Incomplete Block Designs*, 1952; solved by `choix`
    (Maystre and Grossglauser, *Fast and Accurate Inference of Plackett-Luce Models*, 2015).
    """
    names = [name for name in codecs if any(name in (vote.first, vote.second) for vote in votes)]
    voters = list(dict.fromkeys(vote.voter for vote in votes))
    if len(voters) >= FEW_VOTERS:
        unit = "voters"
        groups = [[vote for vote in votes if vote.voter == voter] for voter in voters]
    else:
        unit = "votes"
        groups = [[vote] for vote in votes]
    wins = np.stack([_wins(group, names) for group in groups])
    total = wins.sum(0)
    prior = PRIOR * ((total + total.T) > 0)
    rng = np.random.default_rng(seed)
    samples = [wins[rng.integers(len(wins), size=len(wins))].sum(0) for _ in range(resamples)]
    low, high = np.percentile([_strengths(sample + prior) for sample in samples], TAILS, axis=0)
    strengths = _strengths(total + prior)
    scores = []
    for index, name in enumerate(names):
        won = total[index].sum()
        took_part = won + total[:, index].sum()
        rate_mean, rate_largest = _rate_ratios(votes, name)
        score = Score(
            codec=name,
            score=float(strengths[index]),
            low=float(low[index]),
            high=float(high[index]),
            votes=round(took_part),
            share=float(won / took_part),
            rate_mean=rate_mean,
            rate_largest=rate_largest,
        )
        scores.append(score)
    scores.sort(key=lambda score: -score.score)
    return StudyScores(scores, voters=len(voters), votes=len(votes), unit=unit)


def study_table(scores: StudyScores) -> Table:
    """The scores in a terminal."""
    title = (
        f"Bradley–Terry scores of {scores.votes} votes by {scores.voters} voters "
        f"(interval over {scores.unit})"
    )
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("codec")
    for name in ("score", "95 % interval", "votes won", "of", "rate / other's", "largest"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in scores.scores:
        cells = (
            f"{row.score:+.2f}",
            f"{row.low:+.2f} to {row.high:+.2f}",
            f"{100 * row.share:.0f} %",
            str(row.votes),
            f"{row.rate_mean:.3f}",
            f"{row.rate_largest:.3f}",
        )
        table.add_row(row.codec, *(cell.replace("-", "−") for cell in cells))
    return table


def _rate_ratios(votes: Sequence[Vote], name: str) -> tuple[float, float]:
    """The ratios of a codec's rate to the other's: geometric mean, and the one farthest from 1."""
    logs = [math.log(vote.ratio) for vote in votes if vote.first == name]
    logs += [-math.log(vote.ratio) for vote in votes if vote.second == name]
    return math.exp(math.fsum(logs) / len(logs)), math.exp(max(logs, key=abs))


def _wins(votes: Sequence[Vote], names: Sequence[str]) -> np.ndarray:
    """`wins[i, j]`: how often codec i was preferred to codec j."""
    wins = np.zeros((len(names), len(names)))
    for vote in votes:
        first = names.index(vote.first)
        second = names.index(vote.second)
        wins[first, second] += vote.won
        wins[second, first] += 1 - vote.won
    return wins


def _strengths(wins: np.ndarray) -> np.ndarray:
    strengths = choix.ilsr_pairwise_dense(wins, alpha=1e-6)
    return strengths - strengths.mean()
