"""Mutated .cvd streams through the decoder: the frames before the damage, or one StreamError.

Streams of a trained codec are flipped, cut, spliced, reordered, their sizes and counts set to
extremes, or given another model's header; half of them with checksums that fit, so that the damage
reaches the entropy decoder and the networks. Each batch is decoded in a process of its own, with
512 MB more memory than it starts with and 5 seconds a stream.

    python benchmarks/stream_fuzz.py [--streams 20000] [--batch 500] [--seed 0] [--keep FOLDER]
        [--json FILE]

Figures: `streams_tried`; `unexpected_exceptions`: anything but a CodecError, or frames before the
damage that are not the encoder's; `hangs`; `crashes`: ended by a signal. What failed is kept in
`--keep`.
"""

import argparse
import io
import multiprocessing
import random
import resource
import signal
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from parts.figures import report

from codec.checkpoint import load_codec
from codec.errors import CodecError
from codec.stream import Decoder, Encoder, Limits, Packet, StreamHeader, StreamReader, StreamWriter
from codec.stream.container import header_bytes
from codec.video import VideoCodec

CHECKPOINT = Path(__file__).parents[1] / "docs" / "results" / "corvid_s" / "corvid_s.ckpt"
MEMORY = 512 << 20  # bytes beside what a process starts with
SECONDS = 5
LIMITS = Limits(max_pixels=1 << 16, max_frames=64)
EXTREMES = (0, 1, 2, 127, 128, 16383, 16384, (1 << 20), (1 << 31), (1 << 62))


class Hang(BaseException):
    """A stream took too long."""


def main() -> None:
    """Mutate, decode, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default=str(CHECKPOINT), help="file or run folder")
    parser.add_argument("--streams", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None, help="a folder for what failed")
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    report(
        fuzz(choice.checkpoint, choice.streams, choice.batch, choice.seed, choice.keep), choice.json
    )


def fuzz(
    checkpoint: str, streams: int, batch: int, seed: int = 0, keep: Path | None = None
) -> dict[str, int]:
    """The figures; processes are spawned one after another."""
    found: Counter[str] = Counter()
    context = multiprocessing.get_context("spawn")
    for first in range(0, streams, batch):
        numbers = range(first, min(streams, first + batch))
        while numbers:
            ours, theirs = context.Pipe()
            child = context.Process(target=decode_batch, args=(theirs, checkpoint, numbers, seed))
            child.start()
            theirs.close()
            number, ended = numbers.start, False
            try:
                while not ended:
                    number, outcome = ours.recv()
                    ended = outcome == "end"
                    found[outcome] += not ended
                    if keep and outcome not in ("frames", "refused", "end"):
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{seed}_{number}.txt").write_text(outcome)
            except EOFError:
                number += 1  # the one after the last answer ended the process
                found["crash"] += 1
            child.join()
            numbers = range(numbers.stop if ended else number + 1, numbers.stop)
        print(f"{min(streams, first + batch)} of {streams}: {dict(found)}", flush=True)
    return {
        "streams_tried": sum(found.values()),
        "streams_refused": found["refused"],
        "unexpected_exceptions": sum(
            count for what, count in found.items() if what.startswith("unexpected")
        ),
        "hangs": found["hang"],
        "crashes": found["crash"],
    }


def decode_batch(answers: Connection, checkpoint: str, numbers: range, seed: int) -> None:
    """In the other process: what became of each mutated stream."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    codec = load_codec(checkpoint)
    originals = [coded(codec, *size) for size in ((2, 48, 64), (3, 33, 70))]
    for header, packets, _ in originals:
        list(Decoder(codec, header).decode_all(packets))  # kernels are compiled, tables made
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGALRM, hang)
    for number in numbers:
        draw = random.Random(f"{seed} {number}")
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            outcome = outcome_of(codec, originals, draw)
        except Hang:
            outcome = "hang"
        except Exception as error:
            outcome = f"unexpected {type(error).__name__}: {error}"[:300]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        answers.send((number, outcome))
    answers.send((numbers.stop, "end"))


def hang(*_: object) -> None:
    """Called when the seconds are over."""
    raise Hang


Coded = tuple[StreamHeader, list[Packet], list[torch.Tensor]]


def coded(codec: VideoCodec, frames: int, height: int, width: int) -> Coded:
    """A stream, and the frames that it decodes to."""
    clip = torch.randint(256, (frames, 3, height // 4 + 1, width // 4 + 1)).float()
    clip = torch.nn.functional.interpolate(clip, (height, width), mode="bilinear").to(torch.uint8)
    encoder = Encoder(codec, width=width, height=height, fps=Fraction(25), precision="fp32")
    packets, pictures = [], []
    for frame in clip:
        packets.append(encoder.encode(frame))
        pictures.append(encoder.reconstruction)
    return encoder.header, packets, pictures


def outcome_of(codec: VideoCodec, originals: list[Coded], draw: random.Random) -> str:
    """Mutate one of the streams and decode it: `frames`, `refused` or what is wrong."""
    header, packets, pictures = originals[draw.randrange(len(originals))]
    other = originals[draw.randrange(len(originals))]
    fitting = draw.random() < 0.5  # checksums
    if fitting:
        content = with_sums(header, packets, other, draw)
    else:
        content = bytearray(stream(header, packets))
        draw.choice(BYTES)(content, draw, stream(*other[:2]))
    decoded = []
    try:
        reader = StreamReader(io.BytesIO(content), "fuzzed", LIMITS)
        decoder = Decoder(codec, reader.header, name="fuzzed")
        for packet in reader:
            decoded.append(decoder.decode(packet))
    except CodecError:
        refused = True
    else:
        refused = False
    own = pictures if reader_is(header, content) else other[2]
    if not fitting and not all(
        any(frame.shape == one.shape and torch.equal(frame, one) for one in (*own, *pictures))
        for frame in decoded
    ):
        return "unexpected frames: not the encoder's before the damage"
    return "refused" if refused else "frames"


def reader_is(header: StreamHeader, content: bytes) -> bool:
    """Whether the content begins with this header's size."""
    try:
        return StreamReader(io.BytesIO(content), "fuzzed").header.width == header.width
    except CodecError:
        return True


def stream(header: StreamHeader, packets: list[Packet]) -> bytes:
    """A whole one."""
    file = io.BytesIO()
    writer = StreamWriter(file, header)
    for packet in packets:
        writer.write(packet)
    writer.finish(draw_crc(packets))
    return file.getvalue()


def draw_crc(packets: list[Packet]) -> int:
    """Any checksum of frames: readers take it as it is."""
    return len(packets)


def flip(content: bytearray, draw: random.Random, other: bytes) -> None:
    """Bits."""
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def cut(content: bytearray, draw: random.Random, other: bytes) -> None:
    """The end."""
    del content[draw.randrange(len(content)) :]


def splice(content: bytearray, draw: random.Random, other: bytes) -> None:
    """The beginning of one and the end of another."""
    content[draw.randrange(len(content)) :] = other[draw.randrange(len(other)) :]


def repeat(content: bytearray, draw: random.Random, other: bytes) -> None:
    """A stretch, or leave it out."""
    start = draw.randrange(len(content))
    stop = draw.randrange(start, len(content))
    content[start:stop] = content[start:stop] * draw.choice((0, 2, 3))


def overwrite(content: bytearray, draw: random.Random, other: bytes) -> None:
    """With what numbers like least."""
    start = draw.randrange(len(content))
    content[start : start + 9] = draw.choice((b"\xff" * 9, b"\x80" * 9, bytes(9), b"\x7f" * 9))


BYTES: tuple[Callable[[bytearray, random.Random, bytes], None], ...] = (
    flip,
    cut,
    splice,
    repeat,
    overwrite,
)


def with_sums(
    header: StreamHeader, packets: list[Packet], other: Coded, draw: random.Random
) -> bytes:
    """A stream whose checksums fit and whose content does not."""
    packets = list(packets)
    kind = draw.randrange(7)
    victim = draw.randrange(len(packets))
    payload = bytearray(packets[victim].payload or b"\0")
    if kind == 0:
        flip(payload, draw, b"")
    elif kind == 1:
        cut(payload, draw, b"")
    elif kind == 2:
        payload[:] = draw.randbytes(draw.choice((0, 1, 7, 100, 5000)))
    elif kind == 3:
        draw.shuffle(packets)
        payload[:] = packets[victim].payload
    elif kind == 4:
        packets.extend(other[1])
        payload[:] = packets[victim].payload
    elif kind == 5:
        name = draw.choice(("width", "height", "padding", "threads", "intra_period"))
        extreme = replace(header, **{name: draw.choice(EXTREMES)})
        try:
            header_bytes(extreme)
            header = extreme
        except CodecError:  # no writer makes it: readers are tried with bytes of it elsewhere
            header = replace(header, width=draw.randrange(1, 300), height=draw.randrange(1, 300))
    else:
        changed = draw.choice(({"model": "00" * 8}, {"precision": "bf16"}, {"reordered": True}))
        header = replace(header, **changed)
    quality = draw.choice((packets[victim].quality, draw.randrange(64)))
    intra = draw.choice((packets[victim].intra, True, False))
    packets[victim] = replace(packets[victim], payload=bytes(payload), quality=quality, intra=intra)
    return stream(header, packets)


if __name__ == "__main__":
    main()
