"""`corvid compress`, `decompress` and `info`. Each imports what it needs when it runs."""

import argparse
import sys
from pathlib import Path

from codec.errors import CodecError


def add_coding_commands(commands: argparse._SubParsersAction) -> None:
    """Add `compress`, `decompress` and `info` to the parser of `corvid`."""
    add = commands.add_parser("compress", help="a video to a .cvd file")
    add.add_argument("input", type=Path, help="a video file")
    add.add_argument("output", type=Path, help="the .cvd file to write")
    add.add_argument("--checkpoint", required=True, help="checkpoint file or run folder")
    add.add_argument(
        "--quality",
        type=int,
        default=32,
        help="0 (smallest file) to 63; default %(default)s",
    )
    add.add_argument(
        "--intra-period",
        type=int,
        default=-1,
        help="frames between intra frames; -1: only the first",
    )
    add.add_argument("--frames", type=int, default=None, help="code only so many frames")
    add.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default=None,
        help="networks compute in it; auto: what is fastest here; "
        "default: what the checkpoint says (auto, in most)",
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
    add.add_argument(
        "--checkpoint",
        default=None,
        help="by default the weights that compress kept on this machine",
    )
    add.add_argument(
        "--precision",
        choices=("stream", "auto", "fp32", "bf16", "fp16"),
        default="stream",
        help="networks compute in it; stream (default): as the encoder did, bit by bit; "
        "auto: what is fastest here",
    )
    add.set_defaults(run=run_decompress)
    add = commands.add_parser("info", help="what a .cvd file is")
    add.add_argument("input", type=Path, help="the .cvd file")
    add.set_defaults(run=run_info)


def run_compress(choice: argparse.Namespace) -> None:
    """Code a video to a .cvd file."""
    from codec.checkpoint import codec_of, model_hash, read_checkpoint
    from codec.quality import QualityPattern, check_quality
    from codec.stream import compress
    from codec.stream.models import remember_model
    from common.progress import Progress
    from common.resources import keep_freed_memory
    from data.io.source_clip import read_source

    keep_freed_memory()
    check_quality(choice.quality)
    check_output(choice.output)
    pattern = choice.offsets and QualityPattern.parse(choice.offsets)
    content = read_checkpoint(choice.checkpoint)
    codec = codec_of(content, choice.checkpoint)
    source = read_source(choice.input, choice.frames)
    warn_if_emulated(choice.precision or codec.precision)
    with Progress("compress", source.frames) as progress:
        written = compress(
            codec,
            source.rgb,
            source.fps,
            choice.quality,
            choice.output,
            intra_period=choice.intra_period,
            precision=choice.precision,
            pattern=pattern,
            progress=lambda done, total: progress.update(),
        )
    remember_model(content, model_hash(codec))
    bpp = 8 * written.bytes / (source.frames * source.width * source.height)
    kbps = 8 * written.bytes * float(source.fps) / source.frames / 1000
    print(
        f"{choice.output}: {written.bytes} bytes, "
        f"{source.frames} frames of {source.width}×{source.height}, "
        f"{bpp:.4f} bpp, {kbps:.1f} kbit/s at {float(source.fps):.3f} fps, "
        f"{written.seconds:.1f} s in {written.precision}"
    )


def run_decompress(choice: argparse.Namespace) -> None:
    """Decode a .cvd file to a video, an array, or a folder of PNGs."""
    from codec.checkpoint import load_codec
    from codec.stream import decompress
    from codec.stream.container import read_stream
    from codec.stream.models import find_model
    from common.progress import Progress
    from common.resources import keep_freed_memory
    from data.io.writer import write_video

    keep_freed_memory()
    header, _ = read_stream(choice.input)
    codec = load_codec(choice.checkpoint or find_model(header.model, choice.input))
    warn_if_emulated(header.precision if choice.precision == "stream" else choice.precision)
    with Progress("decompress", header.frames) as progress:
        clip = decompress(
            choice.input,
            codec,
            progress=lambda done, total: progress.update(),
            precision=choice.precision,
        )
    written = write_video(clip.frames, header.fps, choice.output)
    print(
        f"{written}: {header.frames} frames of {header.width}×{header.height}, "
        f"{clip.seconds:.1f} s in {clip.precision}"
    )
    if clip.precision != header.precision:
        print(
            f"pictures are not the encoder's bit by bit, which computed in {header.precision} "
            "(--precision stream follows it): 53 dB or more from them where it was measured "
            "(docs/bitstream.md)"
        )
    elif not clip.identical:
        print(
            "pictures differ from the encoder's by rounding: it ran on another device, "
            "or with other threads or versions"
        )


def run_info(choice: argparse.Namespace) -> None:
    """Print what a .cvd file's header says."""
    from codec.stream.container import read_stream

    header, payloads = read_stream(choice.input)
    own = header.qualities
    shown = dict(vars(header))
    of_frames = f"{min(own)} to {max(own)}, by the pattern"
    if shown.pop("own_qualities"):
        of_frames = f"{' '.join(map(str, own))} (the encoder's choice)"
    sizes = [len(payload) for payload in payloads]
    size = f"{choice.input.stat().st_size} (first frame {sizes[0]}, "
    size += f"largest {max(sizes)}, smallest {min(sizes)})"
    shown |= {"qualities": of_frames, "exact": header.exact, "bytes": size}
    for name, value in shown.items():
        print(f"{name:13} {value}")


def warn_if_emulated(precision: str) -> None:
    """Warn that this CPU has no instructions for a precision, so that coding takes much longer."""
    import torch

    from codec.precision import AUTO, fastest_precision, slower_here

    cpu = torch.device("cpu")
    if precision in (AUTO, "fp32", fastest_precision(cpu)):
        return
    if slower := slower_here(precision, cpu):
        print(f"{slower}; --precision auto computes in what is fastest", file=sys.stderr)


def check_output(path: Path) -> None:
    """Refuse, before the work, an output file that could not be written after it."""
    if path.suffix != ".cvd":
        raise CodecError(f"{path}: compress writes .cvd files; give a name that ends in .cvd")
    if path.is_dir() or not path.resolve().parent.is_dir():
        problem = "is a folder" if path.is_dir() else "its folder does not exist"
        raise CodecError(f"{path}: {problem}; give another name")
