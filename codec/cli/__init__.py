"""The `corvid` command: code videos, measure, check, reproduce, report, prepare data."""

import argparse
import sys

from codec.cli.checks import add_check_commands
from codec.cli.coding import add_coding_commands
from codec.cli.report import add_report_commands
from codec.cli.results import add_results_commands
from codec.registry import use_plugins
from common.errors import CorvidError
from common.progress import prepare_output
from common.resources import prepare_threads
from data.cli import add_data_commands


def main(arguments: list[str] | None = None) -> None:
    """Run one command; bad input is one line on stderr and exit code 2."""
    prepare_output()
    prepare_threads()
    choice = _parser().parse_args(arguments)
    try:
        use_plugins(choice.plugins)
        choice.run(choice)
    except CorvidError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"interrupted{choice.again if 'again' in choice else ''}", file=sys.stderr)
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="corvid", description="Code videos with trained neural codecs."
    )
    parser.add_argument(
        "--plugins",
        type=lambda text: [name for name in text.split(",") if name],
        default=[],
        metavar="A,B",
        help="packages of your own that register networks, metrics, ...; before the command",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_coding_commands(commands)
    add_check_commands(commands)
    add_results_commands(commands)
    add_report_commands(commands)
    add_data_commands(commands)
    return parser
