"""`corvid compress`, `decompress`, `info`, `verify` and `play`. Each imports what it needs when it
runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from codec.errors import CodecError

if TYPE_CHECKING:
    from torch import Tensor

    from codec.stream import Decoder, StreamHeader, StreamReader
    from codec.video import VideoCodec
    from data.io.source_stream import SourceStream

PIPE = "-"
DIFFERS, DAMAGED = 1, 3  # exit codes
MS_SSIM_SIDE = 160  # pixels: five scales need more
EXIT_CODES = """exit codes: 0 done; 1 verify found a difference, doctor or reproduce something that
fails; 2 bad input, or output that cannot be written: one line says what, nothing is left
half-written; 3 the stream is damaged or cut off: what came before was decoded and written;
130 interrupted."""
PLAYERS = (("mpv", "-"), ("ffplay", "-loglevel error -autoexit -"), ("vlc", "-"))

_COMPRESS = """examples:
  corvid compress in.mp4 out.cvd --checkpoint runs/demo --quality 20
  corvid compress in.mp4 out.cvd --checkpoint runs/demo --target-kbps 300
  ffmpeg -i in.mp4 -f yuv4mpegpipe - | corvid compress - - --checkpoint runs/demo > out.cvd"""
_DECOMPRESS = """examples:
  corvid decompress in.cvd out.mkv                  # lossless
  corvid decompress in.cvd out.mp4 --crf 18         # to look at
  corvid decompress in.cvd frames/ --frames 100:140 # PNGs, from the nearest intra frame on
  cat in.cvd | corvid decompress - - | mpv -        # Y4M"""


def add_coding_commands(commands: argparse._SubParsersAction) -> None:
    """Add `compress`, `decompress`, `info`, `verify` and `play` to the parser of `corvid`."""
    _add_compress(commands)
    _add_decompress(commands)
    add = commands.add_parser("info", help="what a .cvd file is")
    add.add_argument("input", type=Path, help="the .cvd file")
    add.add_argument("--json", action="store_true", help="as JSON, each frame too")
    _add_limits(add)
    add.set_defaults(run=run_info)
    add = commands.add_parser("verify", help="decode a .cvd file and compare with its checksums")
    add.add_argument("input", type=Path, help="the .cvd file")
    add.add_argument(
        "--source",
        type=Path,
        default=None,
        help="also PSNR and (above 160 pixels) MS-SSIM against it",
    )
    add.add_argument("--checkpoint", default=None, help="as of decompress")
    add.add_argument("--json", action="store_true", help="as JSON")
    _add_limits(add)
    add.set_defaults(run=run_verify)
    add = commands.add_parser("play", help="decode a .cvd file into a player (mpv, ffplay or vlc)")
    add.add_argument("input", type=Path, help="the .cvd file")
    add.add_argument("--checkpoint", default=None, help="as of decompress")
    add.add_argument("--precision", default="stream", help="as of decompress")
    add.add_argument("--player", default=None, help="a command that reads Y4M from its input")
    _add_limits(add)
    add.set_defaults(run=run_play)


def _add_compress(commands: argparse._SubParsersAction) -> None:
    add = commands.add_parser(
        "compress",
        help="a video to a .cvd file",
        epilog=f"{_COMPRESS}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.add_argument("input", help="a video, a folder of pictures, or - (Y4M, Matroska, MPEG-TS)")
    add.add_argument("output", help="the .cvd file to write, or -")
    add.add_argument("--checkpoint", required=True, help="checkpoint file or run folder")
    rate = add.add_mutually_exclusive_group()
    rate.add_argument(
        "--quality", type=int, default=32, help="0 (smallest file) to 63; default %(default)s"
    )
    for name, unit in (("kbps", "kbit/s"), ("psnr", "dB PSNR in RGB"), ("lpips", "LPIPS (alex)")):
        rate.add_argument(
            f"--target-{name}",
            type=float,
            default=None,
            metavar="N",
            help=f"the quality that comes nearest to so many {unit}, or so much; codes six or "
            "seven times",
        )
    add.add_argument(
        "--intra-period",
        type=int,
        default=-1,
        help="frames between intra frames; -1: only the first",
    )
    add.add_argument("--scene-cuts", action="store_true", help="intra frames at scene cuts, too")
    add.add_argument(
        "--frames", default=None, metavar="A:B", help="of the source: 100:140, 100:, or 40 (first)"
    )
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
    add.add_argument(
        "--audio",
        choices=("drop", "copy"),
        default="drop",
        help="copy: keep the sound in OUTPUT.mka, where decompress --audio copy finds it",
    )
    add.set_defaults(run=run_compress)


def _add_decompress(commands: argparse._SubParsersAction) -> None:
    add = commands.add_parser(
        "decompress",
        help="a .cvd file to a video",
        epilog=f"{_DECOMPRESS}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.add_argument("input", help="the .cvd file, or -")
    add.add_argument(
        "output",
        help=".mkv (lossless), .mp4, .y4m, .yuv, .npy, a folder for PNGs, or - (Y4M)",
    )
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
    add.add_argument(
        "--frames", default=None, metavar="A:B", help="only these: 100:140, 100:, or 40 (first)"
    )
    add.add_argument(
        "--crf", type=int, default=12, help="of .mp4: 0 (lossless) to 51; default %(default)s"
    )
    add.add_argument(
        "--audio",
        choices=("drop", "copy"),
        default="drop",
        help="copy: put INPUT.mka back into .mkv and .mp4",
    )
    _add_limits(add)
    add.set_defaults(run=run_decompress)


def _add_limits(add: argparse.ArgumentParser) -> None:
    add.add_argument("--max-pixels", type=int, default=None, help="a frame; more is refused")
    add.add_argument("--max-frames", type=int, default=None, help="a stream; more is refused")


def run_compress(choice: argparse.Namespace) -> None:
    """Code a video to a .cvd file, frame by frame."""
    from codec.checkpoint import codec_of, model_hash, read_checkpoint
    from codec.quality import QualityPattern, check_quality
    from codec.stream.models import remember_model
    from codec.stream.targets import WITHIN, find_quality
    from common.resources import keep_freed_memory
    from data.io.source_stream import open_source

    keep_freed_memory()
    check_quality(choice.quality)
    if choice.output != PIPE:
        check_output(Path(choice.output))
    _check_audio(choice, choice.input, choice.output)
    first, count = _range(choice.frames)
    choice.pattern = choice.offsets and QualityPattern.parse(choice.offsets)
    content = read_checkpoint(choice.checkpoint)
    codec = codec_of(content, choice.checkpoint)
    source = open_source(choice.input, first, count)
    warn_if_emulated(choice.precision or codec.precision)
    quality, target = choice.quality, _target(choice)
    if target:
        if choice.input == PIPE:
            raise CodecError("-: a target is found by coding several times; give a file")
        measured = _measuring(codec, source, choice, target.name)
        quality, value = find_quality(target, measured)
        if abs(value / target.value - 1) > WITHIN:
            print(
                f"{target.name} {target.value:g} is out of reach: quality {quality} comes nearest, "
                f"{value:.4g}",
                file=sys.stderr,
            )
    with _stream_output(choice.output) as file:
        coded = _Coded(codec, source, choice, quality)
        coded.write(file, "compress")
    remember_model(content, model_hash(codec))
    if choice.audio == "copy":
        _copy_audio(Path(choice.input), Path(choice.output))
    print(coded.summary(choice.output), file=sys.stderr if choice.output == PIPE else sys.stdout)


class _Coded:
    """A source that is coded to a stream once."""

    def __init__(
        self, codec: VideoCodec, source: SourceStream, choice: argparse.Namespace, quality: int
    ) -> None:
        from codec.stream import Encoder

        self.source, self._choice = source, choice
        self.encoder = Encoder(
            codec,
            width=source.width,
            height=source.height,
            fps=source.fps,
            quality=quality,
            intra_period=choice.intra_period,
            precision=choice.precision,
            pattern=choice.pattern or None,
            model_name=_model_name(choice.checkpoint),
            matrix=source.color_space.matrix,
            full_range=source.color_space.full_range,
        )
        self.bytes, self.seconds = 0, 0.0

    def write(self, file: BinaryIO, title: str, each: Any = None) -> None:
        """Code all frames; `each` is called with a source's frame and its reconstruction."""
        from codec.stream import StreamWriter
        from codec.stream.scene_cuts import with_scene_cuts
        from common.progress import Progress

        start = time.perf_counter()
        frames: Iterator[tuple[Tensor, bool]] = ((frame, False) for frame in self.source)
        if self._choice.scene_cuts:
            frames = with_scene_cuts(self.source)
        writer = StreamWriter(file, self.encoder.header)
        with Progress(title, self.source.frames) as progress:
            for frame, cut in frames:
                writer.write(self.encoder.encode(frame, intra=cut))
                if each:
                    each(frame, self.encoder.reconstruction)
                progress.update()
        if not self.encoder.frames:
            raise CodecError(f"{self.source.name}: holds no frame; give another source")
        writer.finish(self.encoder.crc32)
        self.bytes, self.seconds = writer.bytes, time.perf_counter() - start

    @property
    def kbps(self) -> float:
        return 8 * self.bytes * float(self.source.fps) / self.encoder.frames / 1000

    def summary(self, output: str) -> str:
        """One line for who watches."""
        source, frames = self.source, self.encoder.frames
        bpp = 8 * self.bytes / (frames * source.width * source.height)
        return (
            f"{output}: {self.bytes} bytes, {frames} frames of {source.width}×{source.height}, "
            f"quality {self.encoder.quality}, {bpp:.4f} bpp, {self.kbps:.1f} kbit/s at "
            f"{float(source.fps):.3f} fps, {self.seconds:.1f} s in {self.encoder.header.precision}"
        )


def _measuring(
    codec: VideoCodec, source: SourceStream, choice: argparse.Namespace, name: str
) -> Any:
    """What codes at a quality and gives the value of a target."""
    import statistics

    def measure(quality: int) -> float:
        score = _score(name) if name != "kbps" else None
        values: list[float] = []
        coded = _Coded(codec, source, choice, quality)
        with tempfile.TemporaryFile() as file:
            each = score and (lambda frame, own: values.append(score(frame, own)))
            coded.write(file, f"quality {quality}", each)
        return statistics.mean(values) if values else coded.kbps

    return measure


def _score(name: str) -> Any:
    """A metric of two frames uint8 `(3, H, W)`."""
    if name == "psnr":
        from codec.metrics.fidelity import psnr

        return lambda frame, own: float(psnr(frame[None], own[None]))
    if name == "ms_ssim":
        from codec.metrics.fidelity import ms_ssim

        return lambda frame, own: float(ms_ssim(frame[None], own[None]))
    from codec.metrics.lpips import load_lpips

    lpips = load_lpips()
    return lambda frame, own: float(lpips(frame[None].float() / 255, own[None].float() / 255))


def run_decompress(choice: argparse.Namespace) -> None:
    """Decode a .cvd file to a video, an array, a folder of PNGs or a pipe, frame by frame."""
    from codec.stream import StreamError
    from common.progress import Progress
    from common.resources import keep_freed_memory
    from data.io.writer import check_target

    keep_freed_memory()
    first, count = _range(choice.frames)
    start = time.perf_counter()
    with _stream_input(choice) as reader:
        if choice.output != PIPE:
            check_target(choice.output)
        _check_audio(choice, choice.output, choice.input)
        decoder = _decoder(reader, choice)
        end = reader.read_end()
        stop = None if count is None else first + count
        total = None if end is None else len(range(end.frames)[first:stop])
        if end and choice.frames and not total:
            raise CodecError(f"{choice.input}: no frame from {first} on, it holds {end.frames}")
        audio = Path(f"{choice.input}.mka") if choice.audio == "copy" else None
        error = None
        with (
            _video_output(choice, reader.header, audio) as writer,
            Progress("decompress", total) as progress,
        ):
            try:
                for frame in _frames(reader, decoder, first, count):
                    writer.write(frame)
                    progress.update()
            except StreamError as damage:
                error = damage
                if not writer.frames:
                    raise
            if not writer.frames:
                raise CodecError(f"{choice.input}: no frame from {first} on")
        _report_decoded(choice, reader, decoder, writer.frames, error, time.perf_counter() - start)


def _report_decoded(
    choice: argparse.Namespace,
    reader: StreamReader,
    decoder: Decoder,
    frames: int,
    error: CodecError | None,
    seconds: float,
) -> None:
    header = reader.header
    out = sys.stderr if choice.output == PIPE else sys.stdout
    print(
        f"{choice.output}: {frames} frames of {header.width}×{header.height}, {seconds:.1f} s in "
        f"{decoder.precision}",
        file=out,
    )
    if error is not None:
        print(f"error: {error}; {frames} frames before it were written", file=sys.stderr)
        sys.exit(DAMAGED)
    end = reader.end
    whole = end is not None and decoder.frames == end.frames
    if decoder.precision != header.precision:
        print(
            f"pictures are not the encoder's bit by bit, which computed in {header.precision} "
            "(--precision stream follows it): 53 dB or more from them where it was measured "
            "(docs/bitstream.md)",
            file=out,
        )
    elif end is not None and whole and not decoder.check_end(end):
        print(
            "pictures differ from the encoder's by rounding: it ran on another device, "
            "or with other threads or versions",
            file=out,
        )


def run_info(choice: argparse.Namespace) -> None:
    """Print what a .cvd file's header and packets say; no codec is needed."""
    from codec.stream import StreamError

    packets: list[tuple[int, int, bool, int]] = []
    error = None
    with _stream_input(choice) as reader:
        try:
            packets.extend((len(p.payload), p.quality, p.intra, p.time) for p in reader)
        except StreamError as damage:
            error = damage
    header, size = reader.header, choice.input.stat().st_size
    shown: dict[str, Any] = {
        name: value if isinstance(value, int | bool | str) else str(value)
        for name, value in vars(header).items()
    }
    shown |= {"exact": header.exact, "coded_size": "x".join(map(str, header.coded_size))}
    shown |= {"frames": len(packets), "bytes": size}
    sizes, qualities = [one[0] for one in packets], [one[1] for one in packets]
    if choice.json:
        fields = ("bytes", "quality", "intra", "time")
        shown["packets"] = [dict(zip(fields, one, strict=True)) for one in packets]
        shown["error"] = error and str(error)
        print(json.dumps(shown, indent=2))
    else:
        if packets:
            seconds = len(packets) / float(header.fps)
            shown["seconds"] = f"{seconds:.3f}"
            shown["kbps"] = f"{8 * size / seconds / 1000:.1f}"
            shown["bpp"] = f"{8 * size / (len(packets) * header.width * header.height):.4f}"
            shown["qualities"] = f"{min(qualities)} to {max(qualities)}"
            shown["intra_frames"] = sum(one[2] for one in packets)
            shown["payloads"] = f"first {sizes[0]}, largest {max(sizes)}, smallest {min(sizes)}"
        for name, value in shown.items():
            print(f"{name:13} {value}")
    if error is not None:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(DAMAGED)


def run_verify(choice: argparse.Namespace) -> None:
    """Decode a whole file; exit code 1 where its frames are not the encoder's, 3 where it is
    damaged.
    """
    import statistics

    from codec.stream import StreamError
    from common.progress import Progress
    from common.resources import keep_freed_memory
    from data.io.source_stream import open_source

    keep_freed_memory()
    choice.precision = "stream"
    source = choice.source and open_source(choice.source)
    metrics = {name: _score(name) for name in ("psnr", "ms_ssim")} if source else {}
    if source and min(source.width, source.height) <= MS_SSIM_SIDE:
        del metrics["ms_ssim"]
    values: dict[str, list[float]] = {name: [] for name in metrics}
    error = None
    with _stream_input(choice) as reader:
        decoder, header = _decoder(reader, choice), reader.header
        if source and (source.width, source.height) != (header.width, header.height):
            raise CodecError(f"{choice.source}: {source.width}x{source.height}, another size")
        end = reader.read_end()
        given = iter(source or ())
        with Progress("verify", end.frames if end else None) as progress:
            try:
                for frame in _frames(reader, decoder, 0, None):
                    progress.update()
                    if source:
                        own = next(given, None)
                        if own is None:
                            raise CodecError(f"{choice.source}: has fewer frames than the stream")
                        for name, score in metrics.items():
                            values[name].append(score(own, frame))
            except StreamError as damage:
                error = damage
        identical = reader.end is not None and decoder.check_end(reader.end)
    found: dict[str, Any] = {
        "frames": decoder.frames,
        "whole": error is None,
        "identical": identical,
    }
    for name, scores in values.items():
        if scores:
            found[name] = round(statistics.mean(scores), 4)
    if choice.json:
        print(json.dumps(found | {"error": error and str(error)}, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:13} {value}")
    if error is not None:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(DAMAGED)
    sys.exit(0 if identical else DIFFERS)


def run_play(choice: argparse.Namespace) -> None:
    """Decode into a player's input."""
    player = choice.player and choice.player.split()
    if not player:
        found = [[name, *options.split()] for name, options in PLAYERS if shutil.which(name)]
        if not found:
            names = ", ".join(name for name, _ in PLAYERS)
            raise CodecError(f"play: none of {names} is installed; install one, or give --player")
        player = found[0]
    command = [sys.executable, "-m", "codec.cli", "decompress", str(choice.input), PIPE]
    command += ["--precision", choice.precision]
    for name in ("checkpoint", "max_pixels", "max_frames"):
        if (value := getattr(choice, name)) is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as decoding:
        shown = subprocess.run(player, stdin=decoding.stdout, check=False)
        if decoding.stdout is not None:
            decoding.stdout.close()
        if shown.returncode or decoding.poll():
            decoding.terminate()
    sys.exit(shown.returncode or max(0, decoding.returncode))


def _frames(
    reader: StreamReader, decoder: Decoder, first: int, count: int | None
) -> Iterator[Tensor]:
    """Frames `first` .. `first + count - 1`, decoded from the nearest intra frame before."""
    number = reader.seek(first) if first else 0
    stop = None if count is None else first + count
    for packet in reader:
        frame = decoder.decode(packet)
        if number >= first:
            yield frame
        number += 1
        if number == stop:
            return


def _decoder(reader: StreamReader, choice: argparse.Namespace) -> Decoder:
    from codec.checkpoint import load_codec
    from codec.stream import Decoder
    from codec.stream.models import find_model

    header = reader.header
    codec = load_codec(choice.checkpoint or find_model(header.model, Path(choice.input)))
    warn_if_emulated(header.precision if choice.precision == "stream" else choice.precision)
    decoder = Decoder(codec, header, name=str(choice.input), precision=choice.precision)
    if end := reader.read_end():
        decoder.check_chains(reader.index() or (), end.frames)
    return decoder


@contextlib.contextmanager
def _stream_input(choice: argparse.Namespace) -> Iterator[StreamReader]:
    """The stream that is named, within the limits that are given."""
    from codec.stream import Limits, StreamReader, open_stream

    given = {"max_pixels": choice.max_pixels, "max_frames": choice.max_frames}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    if str(choice.input) == PIPE:
        yield StreamReader(sys.stdin.buffer, PIPE, limits)
    else:
        with open_stream(Path(choice.input), limits) as reader:
            yield reader


@contextlib.contextmanager
def _stream_output(output: str) -> Iterator[BinaryIO]:
    """A file that is whole or not there, or standard output."""
    from common.files import new_version

    if output != PIPE:
        with new_version(Path(output)) as file:
            yield file
        return
    if sys.stdout.isatty():
        raise CodecError("-: a stream is no text for a terminal; give a file, or a pipe")
    try:
        yield sys.stdout.buffer
    except BrokenPipeError:
        # what is left in the buffer must not be written again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CodecError("-: whoever reads the pipe has closed it") from None


def _video_output(choice: argparse.Namespace, header: StreamHeader, audio: Path | None) -> Any:
    from data.io.color import ColorSpace
    from data.io.writer import VideoWriter

    known = header.matrix in ("bt601", "bt709")
    return VideoWriter(
        choice.output,
        width=header.width,
        height=header.height,
        fps=header.fps,
        color_space=ColorSpace(header.matrix, header.full_range, "stream") if known else None,
        crf=choice.crf,
        audio=audio,
    )


def _range(text: str | None) -> tuple[int, int | None]:
    """The first frame and their number of `A:B` (B not among them), `A:` or `B`."""
    if text is None:
        return 0, None
    start, colon, stop = text.partition(":")
    if not colon:
        start, stop = "0", start
    try:
        first, last = int(start or 0), int(stop) if stop else None
    except ValueError:
        first, last = -1, None
    if first < 0 or (last is not None and last <= first):
        raise CodecError(f"--frames {text}: give A:B with B above A, as 100:140, or 100:, or 40")
    return first, None if last is None else last - first


def _target(choice: argparse.Namespace) -> Any:
    from codec.stream.targets import Target

    for name in ("kbps", "psnr", "lpips"):
        value = getattr(choice, f"target_{name}")
        if value is not None:
            if value <= 0:
                raise CodecError(f"--target-{name} {value:g}: give a number above 0")
            return Target(name, value)
    return None


def _model_name(checkpoint: str) -> str:
    """What people call a checkpoint: its file's name, or its run's."""
    path = Path(checkpoint)
    generic = path.stem in ("best", "last") or path.stem.startswith(("last-", "stage_"))
    name = (path.absolute().parent.name if generic else path.stem) if path.suffix else path.name
    return "".join(c for c in name if c.isascii() and c.isprintable())[:64]


def _check_audio(choice: argparse.Namespace, video: str, stream: str) -> None:
    if choice.audio == "copy" and PIPE in (video, stream):
        raise CodecError("--audio copy: sound lies beside the stream's file; give files, no pipe")
    beside = Path(f"{stream}.mka")
    if choice.audio == "copy" and choice.run is run_decompress and not beside.is_file():
        raise CodecError(f"--audio copy: {beside} is not there; compress with --audio copy")


def _copy_audio(source: Path, stream: Path) -> None:
    """Put a video's sound, as it is, into a file beside the stream."""
    import imageio_ffmpeg

    beside = Path(f"{stream}.mka")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-nostdin", "-y"]
    command += ["-protocol_whitelist", "file,pipe", "-i", f"file:{source.absolute()}"]
    command += ["-vn", "-sn", "-dn", "-c:a", "copy", f"file:{beside.absolute()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        beside.unlink(missing_ok=True)
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CodecError(f"{source}: its sound cannot be copied ({said}); leave --audio copy out")


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
    folder = path.absolute().parent
    try:
        problem = "is a folder" if path.exists() and path.is_dir() else ""
        problem = problem or ("" if folder.is_dir() else "its folder does not exist")
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise CodecError(f"{path}: {problem}; give another name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CodecError(f"{path}: its folder cannot be written to; give another one")
