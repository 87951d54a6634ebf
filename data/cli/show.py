"""`corvid data show`: random clips as the network will see them, on one picture."""

import argparse
from pathlib import Path

from data.errors import DataError


def add_show(commands: argparse._SubParsersAction) -> None:
    """Add the command to `corvid data`."""
    add = commands.add_parser(
        "show", help="random clips of a source as the network will see them, on one picture"
    )
    add.add_argument("source", nargs="+", help="files, folders, globs, sample:NAME, or an index")
    add.add_argument("-o", "--output", type=Path, required=True, help="the .png to write")
    add.add_argument("--clips", type=int, default=6, help="rows; default %(default)s")
    add.add_argument("--frames", type=int, default=7, help="frames a clip; default %(default)s")
    add.add_argument("--crop", type=int, default=256, help="pixels; default %(default)s")
    add.add_argument(
        "--stride", type=int, default=1, help="the largest step between frames; default %(default)s"
    )
    add.add_argument("--seed", type=int, default=0, help="of all draws; default %(default)s")
    add.add_argument("--reader", default="auto", help="auto, decord or pyav; default %(default)s")
    add.add_argument(
        "--flips",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="mirror half of the clips",
    )
    add.add_argument(
        "--reverse",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="play half of them backwards",
    )
    add.set_defaults(run=run_show)


def run_show(choice: argparse.Namespace) -> None:
    """Draw, write, and say what could not be read.

    Raises:
        DataError: the output is no .png in a folder that exists, a field is out of range, or
            nothing can be read.
    """
    output = choice.output
    if output.suffix.lower() != ".png" or output.is_dir() or not output.resolve().parent.is_dir():
        raise DataError(
            f"{output}: cannot write a sheet there; give a name that ends in .png, in a folder "
            "that exists"
        )
    if choice.clips < 1:
        raise DataError(f"clips={choice.clips}; give 1 or more")
    from data.loading.contact_sheet import contact_sheet, draw_clips
    from data.loading.datamodule import (
        ClipDataModule,
    )  # Lightning and matplotlib: not for those who only ask for help

    root = choice.source[0] if len(choice.source) == 1 else choice.source
    options = {
        name: getattr(choice, name)
        for name in ("frames", "crop", "stride", "seed", "reader", "flips", "reverse")
    }
    module = ClipDataModule(root, worst_share=1.0, **options)
    clips, licences = draw_clips(module, choice.clips)
    assert module.train_clips is not None
    failed = module.train_clips.quarantine.count
    read = f"{failed} set aside, see the log" if failed else "all that were drawn could be read"
    title = (
        f"{', '.join(choice.source)}\n{len(module.train_clips)} sequences to train on, {read}\n"
        f"{choice.clips} clips of {choice.frames} frames, {choice.crop}×{choice.crop} · stride up "
        f"to {choice.stride} · "
        f"seed {choice.seed} · reader {choice.reader}"
    )
    contact_sheet(clips, title, licences).save(output)
    print(
        f"{output}: {choice.clips} clips of {len(module.train_clips)} sequences, {failed} set aside"
    )
