"""`corvid report` and `corvid study`: pages and figures from results.

Each imports what it needs when it runs.
"""

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
    add.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT",
        help="rd.json, or a folder that holds one",
    )
    add.add_argument(
        "-o", "--output", required=True, type=Path, metavar="DIR", help="folder to write"
    )
    add.add_argument(
        "--anchor",
        action="append",
        default=[],
        metavar="CODEC",
        help="compare with it; may be repeated",
    )
    add.add_argument("--title", default=None, help="of the page")
    add.add_argument("--no-pictures", action="store_true", help="leave out the visual comparison")
    _add_preview_options(add, "whose pictures to show; default: four")
    add.set_defaults(run=run_report)
    add = commands.add_parser(
        "study",
        help="a blind page for people to vote on, and scores from their votes",
        usage="corvid study RESULT -o DIR [options]\n"
        "       corvid study score VOTES... --key FILE [-o FILE]",
    )
    add.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT",
        help="rd.json, or a folder with one; or: score VOTES...",
    )
    add.add_argument(
        "-o",
        "--output",
        default=None,
        type=Path,
        metavar="DIR",
        help="folder to write; of score: a JSON file",
    )
    add.add_argument(
        "--key",
        type=Path,
        default=None,
        metavar="FILE",
        help="of score: the study_key.json of the study",
    )
    _add_preview_options(add, "who is judged against whom; default: the first four")
    add.add_argument(
        "--rate-tolerance",
        type=float,
        default=0.1,
        metavar="X",
        help="leave out pairs whose rates differ by more; default 0.1: 10 %%",
    )
    add.set_defaults(run=run_study)


def _add_preview_options(add: argparse.ArgumentParser, show: str) -> None:
    add.add_argument(
        "--show", action="append", default=[], metavar="CODEC", help=f"{show}; may be repeated"
    )
    add.add_argument(
        "--clips",
        action="append",
        default=[],
        metavar="PATH",
        help="the sources, to show originals; may be repeated",
    )
    add.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="of a learned codec; may be repeated",
    )
    add.add_argument(
        "--frames", type=int, default=48, help="at most so many of each clip; default %(default)s"
    )
    add.add_argument(
        "--megabytes", type=float, default=34.0, help="for all pictures; default %(default)s"
    )


def run_report(choice: argparse.Namespace) -> None:
    """Merge results, compare, and write everything."""
    from codec.evaluation import compare
    from codec.evaluation.results.rd import save, write_json
    from codec.report import Preview, default_codecs, make_preview, write_report
    from codec.report.page import TITLE

    result, decoded = _read_results(choice)
    anchors = _check_known(choice.anchor, result) or _recorded_anchors(choice.results, result)
    comparisons = compare(
        result, anchors, [name for name in result.codecs() if name not in anchors]
    )
    preview = Preview()
    if not choice.no_pictures:
        codecs = _check_known(choice.show, result) or default_codecs(result.codecs(), anchors)
        preview = make_preview(
            result,
            decoded,
            codecs,
            frames=choice.frames,
            megabytes=choice.megabytes,
            log=_log,
        )
    output = choice.output.resolve()
    if not any(path.resolve() in (output, output / "rd.json") for path in choice.results):
        save(result, choice.output / "rd.json")
        write_json([row.to_json() for row in comparisons], choice.output / "bd_rate.json")
    for file in write_report(result, comparisons, choice.output, preview, choice.title or TITLE):
        print(file)
    for line in preview.missing:
        print(f"not shown: {line}", file=sys.stderr)


def run_study(choice: argparse.Namespace) -> None:
    """Write a study, or score its votes."""
    if choice.results[0] == Path(SCORE):
        return run_score(choice)
    from codec.report import default_codecs
    from codec.report.study import write_study

    if choice.output is None:
        raise CodecError("study: no folder to write; give -o DIR")
    result, decoded = _read_results(choice)
    codecs = _check_known(choice.show, result)
    if not codecs:
        codecs = default_codecs(result.codecs(), _recorded_anchors(choice.results, result))
    files = write_study(
        result,
        decoded,
        codecs,
        choice.output,
        frames=choice.frames,
        megabytes=choice.megabytes,
        log=_log,
        rate_tolerance=choice.rate_tolerance,
    )
    for file in files:
        print(file)
    return None


def run_score(choice: argparse.Namespace) -> None:
    """Bradley-Terry scores of the votes in the files."""
    from rich.console import Console

    from codec.evaluation.results.rd import write_json
    from codec.report.study_scores import read_key, read_votes, score_study, study_table

    if choice.key is None or len(choice.results) < 2:
        raise CodecError("study score: give the files of votes, and --key study_key.json")
    key = read_key(choice.key)
    scores = score_study(read_votes(choice.results[1:], key), key["codecs"])
    Console().print(study_table(scores))
    if choice.output:
        write_json(scores.to_json(), choice.output)
        print(choice.output)


def _read_results(choice: argparse.Namespace) -> "tuple[RDResult, DecodedFrames]":
    from codec.evaluation.results.merge import merge_files
    from codec.report import DecodedFrames
    from data.sources.discovery import find_sequences

    result = merge_files(choice.results, choice.output)
    choice.output.mkdir(parents=True, exist_ok=True)
    clips = list(find_sequences(choice.clips)) if choice.clips else []
    return result, DecodedFrames(result, [choice.output], choice.checkpoint, clips)


def _check_known(names: list[str], result: "RDResult") -> list[str]:
    """The names, after a check that all of them are codecs of the result."""
    for name in names:
        if name not in result.codecs():
            raise CodecError(
                f"{name}: not in the results; choose from {', '.join(result.codecs())}"
            )
    return names


def _recorded_anchors(results: list[Path], result: "RDResult") -> list[str]:
    """The anchors of the first result with a `bd_rate.json` that has some; else the last codec."""
    for path in results:
        file = (path if path.is_dir() else path.parent) / "bd_rate.json"
        if file.is_file():
            rows = json.loads(file.read_text(encoding="utf-8"))
            anchors = dict.fromkeys(row.get("anchor") for row in rows)
            if named := [name for name in anchors if name in result.codecs()]:
                return named
    return result.codecs()[-1:]


def _log(line: str) -> None:
    print(line, file=sys.stderr)
