"""`corvid data index` and `corvid data merge`."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from common.resources import available_cores
from data.errors import DataError, check_at_least
from data.index.options import IndexOptions, ScanOptions

if TYPE_CHECKING:
    from data.index.store import StoredIndex

_INDEX = """Decode every file once and write one Parquet file with a row a sequence: where its
frames are, cut at scene cuts, without black and near-static stretches, damaged files
and duplicates. Train on it with data.root=FILE.

Beside videos.parquet come videos.report.html (counts, histograms, every rejected file with its
reason), videos.rejected.csv and videos.dropped.parquet. Run the same command again after files
came or went, or after an interruption: only what is new is decoded, and what failed for a reason
that may pass (a timeout, a crash, the storage). An interrupted run is kept in videos.journal
until then."""
_EXAMPLES = """examples:
  corvid data index videos/ -o videos.parquet
  corvid data index list.csv -o videos.parquet --exclude uvg:/data/uvg \\
      --exclude mcl-jcv:/data/mcl-jcv
  corvid data index videos/ -o videos.parquet --part 3/64        (each of 64, then)
  corvid data merge videos.parquet videos.part-*.parquet
  corvid data index videos/ -o videos.parquet --launcher slurm --parts 64 \\
      --slurm partition=cpu cpus_per_task=16 time=720"""
_MERGE = (
    "Join the files that `corvid data index --part` wrote; duplicates are looked for across all "
    "of them."
)


def add_index(commands: argparse._SubParsersAction) -> None:
    """Add the command to `corvid data`."""
    raw = argparse.RawDescriptionHelpFormatter
    add = commands.add_parser(
        "index",
        help="find out what is in a collection of videos",
        description=_INDEX,
        epilog=_EXAMPLES,
        formatter_class=raw,
    )
    add.add_argument(
        "root",
        help="a folder, file, glob, manifest (.csv, .parquet), or named set like vimeo90k:FOLDER",
    )
    add.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("index.parquet"),
        help="the .parquet file; default %(default)s",
    )
    add.add_argument(
        "--workers", type=int, default=None, help="processes; default: one a core of this machine"
    )
    add.add_argument("--licence", default="", help="of all files that no manifest states one for")
    _add_kept(add.add_argument_group("what is kept"))
    _add_nodes(add.add_argument_group("many nodes"))
    add.set_defaults(run=run_index, again="; run the same command again, it goes on")


def _add_kept(cut: argparse._ArgumentGroup) -> None:
    scan = ScanOptions()
    whole = IndexOptions()
    cut.add_argument(
        "--min-frames", type=int, default=scan.min_frames, help="of a sequence; default %(default)s"
    )
    cut.add_argument(
        "--black",
        type=float,
        default=scan.black,
        help="drop stretches of mean luma below; 0..255, default %(default)s",
    )
    cut.add_argument(
        "--static",
        type=float,
        default=scan.static,
        help="drop stretches whose neighbouring frames differ by less; luma 0..255, default "
        "%(default)s",
    )
    cut.add_argument(
        "--cut",
        type=float,
        default=scan.cut,
        help="change from which a frame may be a scene cut; default %(default)s",
    )
    cut.add_argument(
        "--duplicates",
        type=float,
        default=whole.duplicates,
        metavar="BITS",
        help="drop near duplicates whose hashes differ by up to so many of 64 bits; -1 keeps "
        "them; default %(default)s",
    )
    cut.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="TESTSET",
        help="drop what shows frames of a file, folder, list or uvg:FOLDER, hevc-b:FOLDER, ...; "
        "may be repeated",
    )
    cut.add_argument(
        "--exclude-bits",
        type=int,
        default=whole.exclude_bits,
        metavar="BITS",
        help="of 64 by which a frame may differ from a test frame to be the same; default "
        "%(default)s",
    )


def _add_nodes(many: argparse._ArgumentGroup) -> None:
    many.add_argument(
        "--part",
        type=part_of,
        default=None,
        metavar="K/N",
        help="index one part only, to be merged",
    )
    many.add_argument(
        "--launcher",
        choices=("local", "slurm"),
        default=None,
        help="run all parts through submitit, then merge",
    )
    many.add_argument("--parts", type=int, default=8, help="with --launcher; default %(default)s")
    many.add_argument(
        "--at-once",
        type=int,
        default=None,
        help="parts that run at a time; default: 1 local, all on slurm",
    )
    many.add_argument(
        "--slurm",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="submitit's options: partition=cpu time=720",
    )


def add_merge(commands: argparse._SubParsersAction) -> None:
    """Add the command to `corvid data`."""
    add = commands.add_parser("merge", help="join the parts of an index", description=_MERGE)
    add.add_argument("output", type=Path, help="the .parquet file to write")
    add.add_argument("parts", type=Path, nargs="+", help="all parts")
    add.add_argument(
        "--exclude", action="append", default=[], metavar="TESTSET", help="as for corvid data index"
    )
    add.set_defaults(run=run_merge)


def run_index(choice: argparse.Namespace) -> None:
    """Index, all or a part, here or on a cluster; DataError as `build_index`, `run_parts` and
    `merge_parts`.
    """
    check_output(choice.output)
    if choice.part and choice.launcher:
        raise DataError("--part and --launcher: the launcher runs all parts; give one of the two")
    if choice.slurm and choice.launcher != "slurm":
        raise DataError("--slurm: its options need --launcher slurm")
    check_at_least(1, parts=choice.parts)
    options = IndexOptions(
        ScanOptions(
            choice.min_frames,
            black=choice.black,
            static=choice.static,
            cut=choice.cut,
            licence=choice.licence,
        ),
        duplicates=choice.duplicates,
        exclude=tuple(choice.exclude),
        exclude_bits=choice.exclude_bits,
    )
    from data.index.build import (
        build_index,  # and with it OpenCV, matplotlib: not for those who only ask for help
        part_path,
    )

    if choice.launcher:
        report(launched(choice, options), choice.output)
        return
    output = part_path(choice.output, choice.part) if choice.part else choice.output
    report(
        build_index(choice.root, output, options, choice.part, workers_of(choice.workers)), output
    )


def run_merge(choice: argparse.Namespace) -> None:
    """Merge; DataError as `merge_parts`."""
    check_output(choice.output)
    from data.index.build import merge_parts

    report(merge_parts(choice.output, choice.parts, tuple(choice.exclude)), choice.output)


def launched(choice: argparse.Namespace, options: IndexOptions) -> StoredIndex:
    """Run all parts through submitit and merge them; test sets are looked for in the merged whole,
    once.
    """
    from dataclasses import replace

    from common.cluster import run_parts
    from data.index.build import merge_parts, part_path
    from data.index.exclude import check_places

    check_places(options.exclude)
    where = _absolute(choice.root)
    output = choice.output.resolve()
    parts = [(number, choice.parts) for number in range(1, choice.parts + 1)]
    paths = [part_path(output, part) for part in parts]
    plain = replace(options, exclude=())
    arguments = [
        (where, path, plain, part, choice.workers) for part, path in zip(parts, paths, strict=True)
    ]
    at_once = choice.at_once or (1 if choice.launcher == "local" else choice.parts)
    logs = output.with_suffix(".logs")
    run_parts(index_part, arguments, choice.launcher, logs, at_once, **slurm_options(choice.slurm))
    return merge_parts(output, paths, options.exclude)


def index_part(
    where: str, output: Path, options: IndexOptions, part: tuple[int, int], workers: int | None
) -> None:
    """One part, on whatever node this runs."""
    from data.index.build import build_index

    build_index(where, output, options, part, workers_of(workers))


def report(stored: StoredIndex, output: Path) -> None:
    """Say what there is, and where."""
    from data.index.report import clock, counts_of, report_paths

    counts = counts_of(stored)
    used = f"{counts['files_used']} of {counts['files']} files"
    print(
        f"{output}: {counts['sequences']} sequences, {clock(3600 * counts['hours'])}, "
        f"{counts['gigabytes']:.2f} GB of {used}"
    )
    for reason, times in counts["left_out"].items():
        print(f"  left out: {times} {reason}")
    page, listing = report_paths(output)
    print(f"  report: {page}\n  all that was left out: {listing}")
    if not counts["sequences"]:
        raise DataError(f"{output}: no sequence is left to train on; {listing} says why")


def check_output(path: Path) -> None:
    """DataError, before the work, for a file that could not be written after it."""
    if path.suffix != ".parquet" or path.is_dir() or not path.resolve().parent.is_dir():
        raise DataError(
            f"{path}: an index cannot be written there; give a name that ends in .parquet, in a "
            "folder that exists"
        )


def workers_of(workers: int | None) -> int:
    """As many as this process may use, unless a number is given."""
    if workers is not None and workers < 1:
        raise DataError(f"--workers {workers}; give 1 or more")
    return workers or available_cores()


def slurm_options(words: list[str]) -> dict[str, str | int]:
    """`["time=60"]` to `{"time": 60}`; DataError for other words."""
    found: dict[str, str | int] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise DataError(f"--slurm {word}; give NAME=VALUE, like partition=cpu")
        found[name] = int(value) if value.isdigit() else value
    return found


def part_of(text: str) -> tuple[int, int]:
    """`"3/64"` to `(3, 64)`; argparse's error for other words."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no part; give 1/64 to 64/64, for instance")
    return int(match[1]), int(match[2])


def _absolute(where: str) -> str:
    """A place as other processes find it; of `uvg:FOLDER` the folder."""
    name, colon, folder = where.partition(":")
    if colon and not os.path.exists(where):
        return (
            where if name == "sample" else f"{name}:{os.path.abspath(os.path.expanduser(folder))}"
        )
    return os.path.abspath(os.path.expanduser(where))
