"""`corvid data pack`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from data.cli.index import part_of, slurm_options, workers_of
from data.errors import DataError
from data.shards.options import PackOptions

if TYPE_CHECKING:
    from data.shards.pack import Summary

_PACK = """Write the sequences of an index into shards: tar files in webdataset's format with
short-GOP H.264, which is read at random several times faster than long GOPs, or with
the files as they are. OUT/index.parquet says where each is; train on it with
data.root=OUT/index.parquet. 8-bit 4:2:0 planes are encoded untouched, with the
source's matrix and range; other pixel formats become 8-bit 4:2:0.

Every member is compared with its source, and every shard read again. Run the same command again
after an interruption: finished shards are checked and kept. What cannot be packed is listed in
OUT/rejected.csv with its reason."""
_EXAMPLES = """examples:
  corvid data pack videos.parquet packed/ --short-side 256 --longest 150
  corvid data pack videos.parquet packed/ --copy
  corvid data pack videos.parquet packed/ --part 3/64   (one of 64; the last writes the index)
  corvid data pack videos.parquet packed/ --launcher slurm --parts 64 \\
      --slurm partition=cpu cpus_per_task=16 time=720"""


def add_pack(commands: argparse._SubParsersAction) -> None:
    """Add the command to `corvid data`."""
    raw = argparse.RawDescriptionHelpFormatter
    add = commands.add_parser(
        "pack",
        help="write the sequences of an index into shards",
        description=_PACK,
        epilog=_EXAMPLES,
        formatter_class=raw,
    )
    usual = PackOptions()
    add.add_argument("index", type=Path, help="made by corvid data index")
    add.add_argument("out", type=Path, help="a folder of its own")
    add.add_argument(
        "--workers", type=int, default=None, help="processes; default: one a core of this machine"
    )
    how = add.add_argument_group("members")
    how.add_argument("--copy", action="store_true", help="store files as they are")
    how.add_argument(
        "--crf",
        type=int,
        default=usual.crf,
        help="of x264, 0 (lossless) to 51; default %(default)s",
    )
    how.add_argument(
        "--gop",
        type=int,
        default=usual.gop,
        help="frames from keyframe to keyframe; default %(default)s",
    )
    how.add_argument(
        "--short-side",
        type=int,
        metavar="PIXELS",
        help="scale larger pictures down to it; default: keep the size",
    )
    how.add_argument(
        "--longest", type=int, metavar="FRAMES", help="divide longer sequences; default: do not"
    )
    how.add_argument(
        "--least-psnr",
        type=float,
        default=usual.least_psnr,
        metavar="DB",
        help="reject members whose luma differs more from the source; default %(default)s",
    )
    how.add_argument(
        "--shard-mb",
        type=int,
        default=usual.shard_mb,
        help="MiB after which a shard ends; default %(default)s",
    )
    how.add_argument(
        "--seed", type=int, default=usual.seed, help="of the order of sources; default %(default)s"
    )
    many = add.add_argument_group("many nodes")
    many.add_argument(
        "--part", type=part_of, default=None, metavar="K/N", help="pack one part only"
    )
    many.add_argument(
        "--launcher",
        choices=("local", "slurm"),
        default=None,
        help="run all parts through submitit",
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
    add.set_defaults(run=run_pack, again="; run the same command again, it goes on")


def run_pack(choice: argparse.Namespace) -> None:
    """Pack, all or a part, here or on a cluster, and say what there is; DataError as `pack` and
    `run_parts`.
    """
    if choice.part and choice.launcher:
        raise DataError("--part and --launcher: the launcher runs all parts; give one of the two")
    names = ("crf", "gop", "short_side", "longest", "copy", "shard_mb", "least_psnr", "seed")
    options = PackOptions(**{name: getattr(choice, name) for name in names})
    index = choice.index.resolve()
    out = choice.out.resolve()
    if choice.launcher:
        print(f"{choice.out}: {_launched(choice, index=index, out=out, options=options)}")
        return
    summary = pack_part(
        index, out=out, options=options, part=choice.part or (1, 1), workers=choice.workers
    )
    print(f"{choice.out}: {summary}")


def pack_part(
    index: Path, out: Path, options: PackOptions, part: tuple[int, int], workers: int | None
) -> Summary:
    """One part, on whatever node this runs."""
    from data.shards.pack import pack
    from data.shards.plan import (
        Plan,
    )  # and with it pyarrow and torch: not for those who only ask for help

    return pack(Plan(index, options), out, part, workers_of(workers))


def _launched(choice: argparse.Namespace, index: Path, out: Path, options: PackOptions) -> Summary:
    from common.cluster import run_parts
    from data.shards.pack import merge
    from data.shards.plan import Plan

    plan = Plan(index, options)
    arguments = [
        (index, out, options, (number, choice.parts), choice.workers)
        for number in range(1, choice.parts + 1)
    ]
    at_once = choice.at_once or (1 if choice.launcher == "local" else choice.parts)
    run_parts(
        pack_part, arguments, choice.launcher, out / "logs", at_once, **slurm_options(choice.slurm)
    )
    return merge(plan, out)
