"""`corvid complexity`, `doctor` and `reproduce`: measure a codec, check a node, repeat a run.

Each imports what it needs when it runs.
"""

import argparse
import json
import sys
from pathlib import Path

from codec.errors import CodecError

_COMPLEXITY = """Measure a codec: words as for train.py describe it (codec=demo motion=implicit
width=96; untrained), or checkpoint=FILE_OR_RUN. Others: size=WxH (1280x720),
clip=VIDEO (a synthetic one that moves), quality=32, threads=N, precision=auto (or
bf16, fp16, fp32; by default the codec's own), repeats=3 (timed runs), json=FILE.
The last line printed is the header of the codec's file in conf/codec."""


def add_check_commands(commands: argparse._SubParsersAction) -> None:
    """Add `complexity`, `doctor` and `reproduce` to the parser of `corvid`."""
    add = commands.add_parser(
        "complexity",
        help="parameters, operations and time of a codec",
        description=_COMPLEXITY,
    )
    add.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    add.add_argument(
        "--json", default=None, help="also write the numbers to this file; as json=FILE"
    )
    add.set_defaults(run=run_complexity)
    add = commands.add_parser("doctor", help="check this node before a long run")
    add.add_argument(
        "--data",
        default=None,
        metavar="PATH",
        help="also read a sample of it; as data.root (default: the run's)",
    )
    add.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="the run's folder",
    )
    add.add_argument(
        "--workers",
        type=int,
        default=None,
        help="reading processes (default: the run's, else 2)",
    )
    add.add_argument(
        "--json",
        type=Path,
        default=None,
        metavar="FILE",
        help="also write the findings to this file",
    )
    add.set_defaults(run=run_doctor)
    add = commands.add_parser(
        "reproduce", help="train a run's config again and compare the figures"
    )
    add.add_argument("of", type=Path, metavar="RUN", help="the folder of a finished run")
    add.add_argument(
        "-o",
        "--output",
        type=Path,
        default=None,
        metavar="DIR",
        help="where to train; default RUN/reproduction",
    )
    add.add_argument(
        "--tolerance",
        type=float,
        default=0.02,
        help="share by which figures may differ (0.02: 2 %%, PSNR 0.1 dB); default 0.02",
    )
    add.set_defaults(run=run_reproduce, again="; the same command goes on")


def run_complexity(choice: argparse.Namespace) -> None:
    """Measure parameters, operations and time by part of a codec."""
    from rich.console import Console

    from codec.evaluation.complexity.job import job_of
    from codec.evaluation.complexity.profiler import header_line
    from codec.report.terminal import complexity_json, complexity_tables, measuring_conditions
    from common.resources import keep_freed_memory

    keep_freed_memory()
    job = job_of([*choice.settings, *([f"json={choice.json}"] if choice.json else [])])
    if job.json and not Path(job.json).resolve().parent.is_dir():
        raise CodecError(f"json={job.json}: its folder does not exist; give another name")
    found = job.run()
    console = Console()
    console.print(f"{job.title}: {measuring_conditions(found)}", highlight=False, soft_wrap=True)
    console.print(*complexity_tables(found), sep="\n")
    if job.json:
        Path(job.json).write_text(json.dumps(complexity_json(found, job.title), indent=2) + "\n")
        console.print(job.json, highlight=False, soft_wrap=True)
    print(header_line(found))


def run_doctor(choice: argparse.Namespace) -> None:
    """Check this node before a long run; exit code 1 when something would fail."""
    from rich.console import Console

    from codec.doctor import examine, report_json, report_table
    from codec.doctor.plan import plan_of

    if choice.json and not choice.json.resolve().parent.is_dir():
        raise CodecError(f"--json {choice.json}: its folder does not exist; give another name")
    console = Console()
    with console.status("") as status:
        items = []
        for item in examine(plan_of(choice.run_folder, choice.data, choice.workers)):
            items.append(item)
            status.update(f"{item.name}: {item.state}")
    console.print(report_table(items))
    report = report_json(items)
    if choice.json:
        choice.json.write_text(json.dumps(report, indent=2) + "\n")
        console.print(str(choice.json), highlight=False, soft_wrap=True)
    warnings = sum(item.state == "warning" for item in items)
    verdict = "nothing fails: ready for a long run"
    if report["failing"]:
        verdict = f"{report['failing']} of {len(items)} failing"
    print(f"{verdict}; {warnings} warnings")
    sys.exit(1 if report["failing"] else 0)


def run_reproduce(choice: argparse.Namespace) -> None:
    """Train a run's config again and compare; exit code 1 when a figure differs too much."""
    from rich.console import Console

    from codec.training import reproduce as reproduction
    from codec.training.shutdown import TRY_AGAIN, Stopped

    folder = choice.output or choice.of / "reproduction"
    console = Console()
    for line in reproduction.changes(choice.of):
        console.print(f"changed since: {line}", highlight=False, soft_wrap=True)
    try:
        reproduction.reproduce(choice.of, folder)
    except Stopped:
        sys.exit(TRY_AGAIN)
    figures = reproduction.compare_figures(choice.of, folder, choice.tolerance)
    console.print(reproduction.figures_table(figures))
    print(reproduction.compare_weights(choice.of, folder))
    if command := reproduction.evaluation_command(choice.of, folder):
        print(f"its evaluation again: {command}")
    far = [figure.name for figure in figures if not figure.holds]
    if far:
        print(f"not reproduced: {', '.join(far)}")
        sys.exit(1)
    print(f"reproduced: every figure within {choice.tolerance:.1%}")
    sys.exit(0)
