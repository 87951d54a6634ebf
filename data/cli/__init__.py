"""The `corvid data` commands; each is a module that adds itself."""

import argparse

from data.cli.index import add_index, add_merge
from data.cli.pack import add_pack
from data.cli.show import add_show


def add_data_commands(commands: argparse._SubParsersAction) -> None:
    """Add `data` and what is under it to a program's commands; each sets `run`, which takes the
    parsed arguments.
    """
    data = commands.add_parser("data", help="index, pack and look at videos to train on")
    ours = data.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_index, add_merge, add_pack, add_show):
        add(ours)
