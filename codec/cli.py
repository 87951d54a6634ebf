"""The `corvid` command: code videos, measure, check, reproduce, prepare data. Each imports what it needs when it runs."""

import argparse
import json
import sys
from pathlib import Path

from codec.cli_report import add_report_commands
from codec.cli_results import add_results_commands
from codec.errors import CodecError
from codec.registry import use_plugins
from codec.threads import prepare_threads
from data.cli import add_data_commands
from data.errors import DataError

_COMPLEXITY = """Measure a codec: words as for train.py describe it (codec=demo motion=implicit width=96; untrained), or
checkpoint=FILE_OR_RUN. Others: size=WxH (1280x720), clip=VIDEO (a synthetic one that moves), quality=32, threads=N,
precision=auto (or bf16, fp16, fp32; by default the codec's own), repeats=3 (timed runs), json=FILE. The last line printed is
the header of the codec's file in conf/codec."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command; bad input is one line on stderr and exit code 2."""
    prepare_threads()
    choice = _parser().parse_args(arguments)
    try:
        use_plugins(choice.plugins)
        choice.run(choice)
    except (CodecError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"interrupted{choice.again if 'again' in choice else ''}", file=sys.stderr)
        sys.exit(130)


def run_compress(choice: argparse.Namespace) -> None:
    """A video to a .cvd file."""
    from codec.allocator import keep_freed_memory
    from codec.checkpoint import codec_of, model_hash, read_checkpoint
    from codec.quality import QualityPattern, check_quality
    from codec.stream import compress
    from codec.stream.models import remember_model
    from data.progress import Progress
    from data.source import read_source

    keep_freed_memory()
    check_quality(choice.quality)
    check_output(choice.output)
    pattern = choice.offsets and QualityPattern.parse(choice.offsets)
    content = read_checkpoint(choice.checkpoint)
    codec = codec_of(content, choice.checkpoint)
    source = read_source(choice.input, choice.frames)
    say_if_emulated(choice.precision or codec.precision)
    with Progress("compress", source.frames) as progress:
        how = {"intra_period": choice.intra_period, "precision": choice.precision}
        how["pattern"] = pattern
        how["progress"] = lambda done, total: progress.update()
        written = compress(codec, source.rgb, source.fps, choice.quality, choice.output, **how)
    remember_model(content, model_hash(codec))
    bpp = 8 * written.bytes / (source.frames * source.width * source.height)
    kbps = 8 * written.bytes * float(source.fps) / source.frames / 1000
    print(
        f"{choice.output}: {written.bytes} bytes, {source.frames} frames of {source.width}×{source.height}, "
        f"{bpp:.4f} bpp, {kbps:.1f} kbit/s at {float(source.fps):.3f} fps, {written.seconds:.1f} s in {written.precision}"
    )


def run_decompress(choice: argparse.Namespace) -> None:
    """A .cvd file to a video, an array, or a folder of pictures."""
    from codec.allocator import keep_freed_memory
    from codec.checkpoint import load_codec
    from codec.stream import decompress
    from codec.stream.container import read_stream
    from codec.stream.models import find_model
    from data.progress import Progress
    from data.writer import write_video

    keep_freed_memory()
    header, _ = read_stream(choice.input)
    codec = load_codec(choice.checkpoint or find_model(header.model, choice.input))
    say_if_emulated(header.precision if choice.precision == "stream" else choice.precision)
    with Progress("decompress", header.frames) as progress:
        clip = decompress(choice.input, codec, lambda done, total: progress.update(), choice.precision)
    written = write_video(clip.frames, header.fps, choice.output)
    print(f"{written}: {header.frames} frames of {header.width}×{header.height}, {clip.seconds:.1f} s in {clip.precision}")
    if clip.precision != header.precision:
        print(
            f"pictures are not the encoder's bit by bit, which computed in {header.precision} (--precision stream follows it): "
            "53 dB or more from them where it was measured (docs/bitstream.md)"
        )
    elif not clip.identical:
        print("pictures differ from the encoder's by rounding: it ran on another device, or with other threads or versions")


def run_info(choice: argparse.Namespace) -> None:
    """What a .cvd file's header says."""
    from codec.stream.container import read_stream

    header, payloads = read_stream(choice.input)
    own, shown = header.qualities, dict(vars(header))
    of_frames = f"{min(own)} to {max(own)}, by the pattern"
    if shown.pop("own_qualities"):
        of_frames = f"{' '.join(map(str, own))} (the encoder's choice)"
    sizes = [len(payload) for payload in payloads]
    size = f"{choice.input.stat().st_size} (first frame {sizes[0]}, "
    size += f"largest {max(sizes)}, smallest {min(sizes)})"
    shown |= {"qualities": of_frames, "exact": header.exact, "bytes": size}
    for name, value in shown.items():
        print(f"{name:13} {value}")


def run_complexity(choice: argparse.Namespace) -> None:
    """Parameters, operations and time by part of a codec."""
    from rich.console import Console

    from codec.allocator import keep_freed_memory
    from codec.evaluation.complexity import header_line
    from codec.evaluation.complexity_job import job_of
    from codec.report.complexity import complexity_json, complexity_tables, conditions

    keep_freed_memory()
    job = job_of([*choice.settings, *([f"json={choice.json}"] if choice.json else [])])
    if job.json and not Path(job.json).resolve().parent.is_dir():
        raise CodecError(f"json={job.json}: its folder does not exist; give another name")
    found = job.run()
    console = Console()
    console.print(f"{job.title}: {conditions(found)}", highlight=False, soft_wrap=True)
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
    said = f"{report['failing']} of {len(items)} failing" if report["failing"] else "nothing fails: ready for a long run"
    print(f"{said}; {warnings} warnings")
    sys.exit(1 if report["failing"] else 0)


def run_reproduce(choice: argparse.Namespace) -> None:
    """Train a run's config again and compare; exit code 1 when figures are further apart than the tolerance."""
    from rich.console import Console

    from codec.training import reproduce as ours
    from codec.training.stopped import TRY_AGAIN, Stopped

    folder = choice.output or choice.of / "reproduction"
    console = Console()
    for line in ours.changes(choice.of):
        console.print(f"changed since: {line}", highlight=False, soft_wrap=True)
    try:
        ours.reproduce(choice.of, folder)
    except Stopped:
        sys.exit(TRY_AGAIN)
    figures = ours.compare_figures(choice.of, folder, choice.tolerance)
    console.print(ours.figures_table(figures))
    print(ours.compare_weights(choice.of, folder))
    if command := ours.evaluation_command(choice.of, folder):
        print(f"its evaluation again: {command}")
    far = [figure.name for figure in figures if not figure.holds]
    print(f"not reproduced: {', '.join(far)}" if far else f"reproduced: every figure within {choice.tolerance:.1%}")
    sys.exit(1 if far else 0)


def say_if_emulated(precision: str) -> None:
    """Say before the work, which takes many times as long then, that this CPU has no instructions for a precision."""
    import torch

    from codec.precision import AUTO, fastest_precision, slower_here

    cpu = torch.device("cpu")
    if precision in (AUTO, "fp32", fastest_precision(cpu)):
        return
    if slower := slower_here(precision, cpu):
        print(f"{slower}; --precision auto computes in what is fastest", file=sys.stderr)


def check_output(path: Path) -> None:
    """Refuse, before the work, a file that could not be written after it."""
    if path.suffix != ".cvd":
        raise CodecError(f"{path}: compress writes .cvd files; give a name that ends in .cvd")
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise CodecError(f"{path}: {'is a folder' if path.is_dir() else 'its folder does not exist'}; give another name")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="corvid", description="Code videos with trained neural codecs.")
    parser.add_argument(
        "--plugins",
        type=lambda text: [name for name in text.split(",") if name],
        default=[],
        metavar="A,B",
        help="packages of your own that register networks, metrics, ...; before the command",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("compress", help="a video to a .cvd file")
    add.add_argument("input", type=Path, help="a video file")
    add.add_argument("output", type=Path, help="the .cvd file to write")
    add.add_argument("--checkpoint", required=True, help="checkpoint file or run folder")
    add.add_argument("--quality", type=int, default=32, help="0 (smallest file) to 63; default %(default)s")
    add.add_argument("--intra-period", type=int, default=-1, help="frames between intra frames; -1: only the first")
    add.add_argument("--frames", type=int, default=None, help="code only so many frames")
    add.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default=None,
        help="networks compute in it; auto: what is fastest here; default: what the checkpoint says (auto, in most)",
    )
    add.add_argument(
        "--offsets",
        default=None,
        metavar="INTRA:PREDICTED,…",
        help="added to the quality of the intra frame, and of predicted frames one after another, "
        "repeated; for example --offsets=4:-4,-4,-4,3; default: the checkpoint's",
    )
    add.set_defaults(run=run_compress)
    add = commands.add_parser("decompress", help="a .cvd file to a video")
    add.add_argument("input", type=Path, help="the .cvd file")
    add.add_argument("output", type=Path, help=".mkv (lossless), .mp4, .npy, or a folder for PNGs")
    add.add_argument("--checkpoint", default=None, help="by default the weights that compress kept on this machine")
    add.add_argument(
        "--precision",
        choices=("stream", "auto", "fp32", "bf16", "fp16"),
        default="stream",
        help="networks compute in it; stream (default): as the encoder did, bit by bit; auto: what is fastest here",
    )
    add.set_defaults(run=run_decompress)
    add = commands.add_parser("info", help="what a .cvd file is")
    add.add_argument("input", type=Path, help="the .cvd file")
    add.set_defaults(run=run_info)
    add = commands.add_parser("complexity", help="parameters, operations and time of a codec", description=_COMPLEXITY)
    add.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    add.add_argument("--json", default=None, help="also write the numbers to this file; as json=FILE")
    add.set_defaults(run=run_complexity)
    add = commands.add_parser("doctor", help="check this node before a long run")
    add.add_argument("--data", default=None, metavar="PATH", help="also read a sample of it; as data.root (default: the run's)")
    add.add_argument("--run", dest="run_folder", type=Path, default=Path("runs"), metavar="DIR", help="the run's folder")
    add.add_argument("--workers", type=int, default=None, help="reading processes (default: the run's, else 2)")
    add.add_argument("--json", type=Path, default=None, metavar="FILE", help="also write the findings to this file")
    add.set_defaults(run=run_doctor)
    add = commands.add_parser("reproduce", help="train a run's config again and compare the figures")
    add.add_argument("of", type=Path, metavar="RUN", help="the folder of a finished run")
    add.add_argument("-o", "--output", type=Path, default=None, metavar="DIR", help="where to train; default RUN/reproduction")
    add.add_argument(
        "--tolerance", type=float, default=0.02, help="share by which figures may differ (0.02: 2 %%, PSNR 0.1 dB); default 0.02"
    )
    add.set_defaults(run=run_reproduce, again="; the same command goes on")
    add_results_commands(commands)
    add_report_commands(commands)
    add_data_commands(commands)
    return parser


if __name__ == "__main__":
    main()
