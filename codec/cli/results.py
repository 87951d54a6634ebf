"""`corvid results`: check, merge, export and import RD results.

Each imports what it needs when it runs.
"""

import argparse
import sys
from pathlib import Path

from codec.errors import CodecError


def add_results_commands(commands: argparse._SubParsersAction) -> None:
    """Add `results` and its four commands to the parser of `corvid`."""
    results = commands.add_parser("results", help="check, merge, export or import RD results")
    inner = results.add_subparsers(required=True, metavar="COMMAND")
    add = inner.add_parser("check", help="is a result whole and consistent?")
    add.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT",
        help="rd.json, or a folder that holds one",
    )
    add.set_defaults(run=run_check)
    add = inner.add_parser("merge", help="one result of several made under the same conditions")
    add.add_argument(
        "results",
        nargs="+",
        type=Path,
        metavar="RESULT",
        help="rd.json, or a folder that holds one",
    )
    add.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="the rd.json to write"
    )
    add.add_argument(
        "--metrics",
        default="",
        metavar="A,B",
        help="only these: the rules of the others may differ",
    )
    add.set_defaults(run=run_merge)
    add = inner.add_parser("export", help="for another project's tools")
    add.add_argument(
        "result", type=Path, metavar="RESULT", help="rd.json, or a folder that holds one"
    )
    add.add_argument(
        "--format",
        choices=["compressai"],
        default="compressai",
        help="whose format; default %(default)s",
    )
    add.add_argument(
        "-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the files"
    )
    add.set_defaults(run=run_export)
    add = inner.add_parser(
        "import", help="published JSON of CompressAI or DCVC, labelled as imported"
    )
    add.add_argument("files", nargs="+", type=Path, metavar="FILE")
    add.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="the rd.json to write"
    )
    add.add_argument("--name", default=None, help="of the codec, where the file's does not please")
    add.add_argument(
        "--size",
        default=None,
        metavar="WxH",
        help="of the clips, where neither file nor names say it",
    )
    add.add_argument("--fps", type=float, default=None, help="of the clips, likewise")
    add.add_argument("--frames", type=int, default=None, help="of the clips, likewise")
    add.add_argument(
        "--clip",
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="our name of a clip; may be repeated",
    )
    add.set_defaults(run=run_import)


def run_check(choice: argparse.Namespace) -> None:
    """Print what results hold, and check that they can be merged."""
    from codec.evaluation.results.merge import merge_files

    for path in choice.results:
        result = merge_files([path], Path())
        counts = (
            f"{len(result.points)} points, {len(result.codecs())} codecs, "
            f"{len(result.clips())} clips"
        )
        print(f"{path}: {counts}, metrics {', '.join(result.metrics())}")
    if len(choice.results) > 1:
        merge_files(choice.results, Path())
        print("they were made under the same conditions and can be merged")


def run_merge(choice: argparse.Namespace) -> None:
    """Write the merged result."""
    from codec.evaluation import save
    from codec.evaluation.results.merge import merge_files

    check_file(choice.output)
    metrics = [name.strip() for name in choice.metrics.split(",") if name.strip()]
    merged = merge_files(choice.results, choice.output.parent, metrics)
    choice.output.parent.mkdir(parents=True, exist_ok=True)
    save(merged, choice.output)
    print(choice.output)


def run_export(choice: argparse.Namespace) -> None:
    """Write CompressAI's files and print how to plot them."""
    from codec.evaluation.results.interchange import export_compressai
    from codec.evaluation.results.merge import merge_files

    files = export_compressai(merge_files([choice.result], choice.output), choice.output)
    for file in files:
        print(file)
    folder = files[-1].parent if files else choice.output
    print(f"plot: python -m compressai.utils.plot -f {folder}/*.json -m psnr -o curves.png")


def run_import(choice: argparse.Namespace) -> None:
    """Write the imported result."""
    from codec.evaluation import save
    from codec.evaluation.results.interchange import Given, import_results

    check_file(choice.output)
    clips = dict(parse_pair(text) for text in choice.clip)
    given = Given(choice.name, parse_size(choice.size), choice.fps, choice.frames, clips)
    result = import_results(choice.files, given)
    choice.output.parent.mkdir(parents=True, exist_ok=True)
    save(result, choice.output)
    for codec, settings in result.conditions["codecs"].items():
        if settings.get("left_out"):
            print(f"{codec}: left out {', '.join(settings['left_out'])}", file=sys.stderr)
    print(
        f"{choice.output}: {len(result.points)} points of {', '.join(result.codecs())} "
        f"on {len(result.clips())} clips"
    )


def check_file(path: Path) -> None:
    """Refuse, before the work, an output file that could not be written after it."""
    above = next(folder for folder in path.resolve().parents if folder.exists())
    if path.is_dir() or not above.is_dir():
        problem = "is a folder" if path.is_dir() else f"{above} is a file"
        raise CodecError(f"{path}: {problem}; give another name")


def parse_pair(text: str) -> tuple[str, str]:
    """The two names of THEIRS=OURS."""
    theirs, sign, ours = text.partition("=")
    if not (theirs and sign and ours):
        raise CodecError(
            f"--clip {text}: THEIRS=OURS expected, for example --clip BQSquare_416x240_60=bqsquare"
        )
    return theirs, ours


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Width and height of WxH; None for None."""
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise CodecError(f"--size {text}: WxH in pixels expected, for example 1920x1080")
    return int(width), int(height)
