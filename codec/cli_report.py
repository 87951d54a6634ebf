"""`corvid report` and `corvid study`: pages and figures from results. Each imports what it needs when it runs."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from codec.errors import CodecError

if TYPE_CHECKING:
    from codec.evaluation import RDResult
    from codec.report import DecodedFrames

SCORE = "score"


def add_report_commands(commands: argparse._SubParsersAction) -> None:
    """Add `report` and `study` to the parser of `corvid`."""
    add = commands.add_parser("report", help="a page, figures and tables from one or more results")
    add.add_argument("results", nargs="+", type=Path, metavar="RESULT", help="rd.json, or a folder that holds one")
    add.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder to write")
    add.add_argument("--anchor", action="append", default=[], metavar="CODEC", help="compare with it; may be repeated")
    add.add_argument("--title", default=None, help="of the page")
    add.add_argument("--no-pictures", action="store_true", help="leave out the visual comparison")
    _add_pictures(add, "whose pictures to show; default: four")
    add.set_defaults(run=run_report)
    add = commands.add_parser(
        "study",
        help="a blind page for people to vote on, and scores from their votes",
        usage="corvid study RESULT -o DIR [options]\n       corvid study score VOTES... --key FILE [-o FILE]",
    )
    add.add_argument("results", nargs="+", type=Path, metavar="RESULT", help="rd.json, or a folder with one; or: score VOTES...")
    add.add_argument("-o", "--output", default=None, type=Path, metavar="DIR", help="folder to write; of score: a JSON file")
    add.add_argument("--key", type=Path, default=None, metavar="FILE", help="of score: the study_key.json of the study")
    _add_pictures(add, "who is judged against whom; default: the first four")
    add.add_argument(
        "--rate-tolerance",
        type=float,
        default=0.1,
        metavar="X",
        help="leave out pairs whose rates differ by more; default 0.1: 10 %%",
    )
    add.set_defaults(run=run_study)


def _add_pictures(add: argparse.ArgumentParser, show: str) -> None:
    add.add_argument("--show", action="append", default=[], metavar="CODEC", help=f"{show}; may be repeated")
    add.add_argument(
        "--clips", action="append", default=[], metavar="PATH", help="the sources, to show originals; may be repeated"
    )
    add.add_argument("--checkpoint", action="append", default=[], metavar="FILE", help="of a learned codec; may be repeated")
    add.add_argument("--frames", type=int, default=48, help="at most so many of each clip; default %(default)s")
    add.add_argument("--megabytes", type=float, default=34.0, help="for all pictures; default %(default)s")


def run_report(choice: argparse.Namespace) -> None:
    """Merge results, compare, and write everything."""
    from codec.evaluation import compare
    from codec.evaluation.rd import save, write_json
    from codec.report import Pictures, pictures_of, shown_codecs, write_report
    from codec.report.html import TITLE

    result, decoded = _read(choice)
    anchors = _known(choice.anchor, result) or _anchors_of(choice.results, result)
    comparisons = compare(result, anchors, [name for name in result.codecs() if name not in anchors])
    pictures = Pictures()
    if not choice.no_pictures:
        codecs = _known(choice.show, result) or shown_codecs(result.codecs(), anchors)
        pictures = pictures_of(result, decoded, codecs, choice.frames, choice.megabytes, _say)
    if not any(path.resolve() in (choice.output.resolve(), choice.output.resolve() / "rd.json") for path in choice.results):
        save(result, choice.output / "rd.json")
        write_json([row.to_json() for row in comparisons], choice.output / "bd_rate.json")
    for file in write_report(result, comparisons, choice.output, pictures, choice.title or TITLE):
        print(file)
    for line in pictures.missing:
        print(f"not shown: {line}", file=sys.stderr)


def run_study(choice: argparse.Namespace) -> None:
    """Write a study, or score its votes."""
    if choice.results[0] == Path(SCORE):
        return run_score(choice)
    from codec.report import shown_codecs
    from codec.report.study import write_study

    if choice.output is None:
        raise CodecError("study: no folder to write; give -o DIR")
    result, decoded = _read(choice)
    codecs = _known(choice.show, result) or shown_codecs(result.codecs(), _anchors_of(choice.results, result))
    limits = (choice.frames, choice.megabytes)
    for file in write_study(result, decoded, codecs, choice.output, *limits, _say, choice.rate_tolerance):
        print(file)
    return None


def run_score(choice: argparse.Namespace) -> None:
    """Bradley-Terry scores of the votes in the files."""
    from rich.console import Console

    from codec.evaluation.rd import write_json
    from codec.report.study_score import score_study, study_table
    from codec.report.study_votes import read_key, read_votes

    if choice.key is None or len(choice.results) < 2:
        raise CodecError("study score: give the files of votes, and --key study_key.json")
    key = read_key(choice.key)
    found = score_study(read_votes(choice.results[1:], key), key["codecs"])
    Console().print(study_table(found))
    if choice.output:
        write_json(found.to_json(), choice.output)
        print(choice.output)


def _read(choice: argparse.Namespace) -> "tuple[RDResult, DecodedFrames]":
    from codec.evaluation.conditions import merge_files
    from codec.report import DecodedFrames
    from data.sources.discovery import find_sequences

    result = merge_files(choice.results, choice.output)
    choice.output.mkdir(parents=True, exist_ok=True)
    clips = list(find_sequences(choice.clips)) if choice.clips else []
    return result, DecodedFrames(result, [choice.output], choice.checkpoint, clips)


def _known(names: list[str], result: "RDResult") -> list[str]:
    """The names, all of which must be codecs of the result."""
    for name in names:
        if name not in result.codecs():
            raise CodecError(f"{name}: not in the results; choose from {', '.join(result.codecs())}")
    return names


def _anchors_of(results: list[Path], result: "RDResult") -> list[str]:
    """The anchors of the first result that says some, beside its `rd.json`; else the last codec."""
    for path in results:
        file = (path if path.is_dir() else path.parent) / "bd_rate.json"
        if file.is_file():
            found = dict.fromkeys(row.get("anchor") for row in json.loads(file.read_text(encoding="utf-8")))
            if named := [name for name in found if name in result.codecs()]:
                return named
    return result.codecs()[-1:]


def _say(line: str) -> None:
    print(line, file=sys.stderr)
