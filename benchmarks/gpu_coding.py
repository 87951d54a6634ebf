"""Coding speed on a CUDA device against CompressAI's ssf2020, 720p and 1080p, in one run; exit
status 3 without a device.

Predicted frames, entropy coding included: from a frame in the device's memory to bytes, and from
bytes to a frame there. Ours in half precision; CompressAI's in float32, as it comes, on frames
padded to the multiples of 128 that it takes. Both are untrained where no checkpoint is given. A
real clip, enlarged; runs interleaved, medians of the frames behind the first.

    python benchmarks/gpu_coding.py [--checkpoint RUN] [--clip sample:city] [--repeats 7]
        [--json FILE]
"""

import argparse
import statistics
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from coding_speed import our_codec
from compressai.zoo import ssf2020
from parts.figures import report
from torch import Tensor, nn

from codec.checkpoint import load_codec
from codec.device import accelerators, count_waits, default_device, device_name, seconds_of
from codec.entropy.coding.symbol_coder import SymbolDecoder, SymbolEncoder
from codec.freeze import freeze
from codec.layers.frames import pad_frames
from codec.references import References
from codec.video import VideoCodec
from data.io.source_clip import read_source
from data.sources.discovery import find_videos

SIZES = {"720p": (720, 1280), "1080p": (1080, 1920)}
PRECISIONS = ("bf16", "fp16")
NO_GPU = 3
PEER_BLOCK = 128


class OurCoder:
    """A codec coding predicted frames, one after another, on both sides."""

    def __init__(self, codec: VideoCodec, first: Tensor, quality: int) -> None:
        self.codec, self.size = codec, tuple(first.shape[-2:])
        self.quality = torch.tensor([quality], device=first.device)
        symbol_coder = SymbolEncoder()
        self.sender = codec.code_frame(
            first, None, self.size, self.quality, symbol_coder
        ).references
        self.receiver = self.read(symbol_coder.finish_frame(), None)

    def encode(self, frame: Tensor) -> bytes:
        symbol_coder = SymbolEncoder()
        self.sender = self.codec.code_frame(
            frame, self.sender, self.size, self.quality, symbol_coder
        ).references
        return symbol_coder.finish_frame()

    def decode(self, payload: bytes) -> None:
        self.receiver = self.read(payload, self.receiver)

    def read(self, payload: bytes, references: References | None) -> References:
        """The references after one frame on the receiving side."""
        symbol_coder = SymbolDecoder(payload)
        coded = self.codec.code_frame(None, references, self.size, self.quality, symbol_coder)
        symbol_coder.finish_frame()
        return coded.references


class PeerCoder:
    """The same with CompressAI's model, by its own calls for predicted frames."""

    def __init__(self, model: nn.Module, first: Tensor) -> None:
        self.model = model
        self.sender, _ = model.encode_keyframe(pad_frames(first, PEER_BLOCK))
        self.receiver = self.sender

    def encode(self, frame: Tensor) -> dict[str, Any]:
        self.sender, coded = self.model.encode_inter(pad_frames(frame, PEER_BLOCK), self.sender)
        return coded

    def decode(self, coded: dict[str, Any]) -> None:
        self.receiver = self.model.decode_inter(self.receiver, coded["strings"], coded["shape"])


def main() -> int:
    """Measure, print, and write JSON where wanted; 0, or 3 where there is no CUDA device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--checkpoint",
        default=None,
        help="a file or run folder of a corvid_s; without it, untrained",
    )
    parser.add_argument("--clip", default="sample:city")
    parser.add_argument("--quality", type=int, default=32)
    parser.add_argument(
        "--repeats", type=int, default=7, help="predicted frames measured, at least 5"
    )
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    if choice.repeats < 5:
        parser.error(f"--repeats: {choice.repeats} given; at least 5")
    if not accelerators():
        print("no GPU")
        return NO_GPU
    device = default_device()
    rgb = read_source(find_videos(choice.clip)[0], choice.repeats + 2).rgb.to(device).float() / 255
    codec = (load_codec(choice.checkpoint) if choice.checkpoint else our_codec("corvid_s")).to(
        device
    )
    peer = ssf2020(4).eval()
    peer.update(force=True)
    peer = peer.to(device)
    print(
        f"{device_name(device)}, {len(rgb) - 2} predicted frames of {choice.clip}, quality "
        f"{choice.quality}"
    )
    figures = {}
    for name, size in SIZES.items():
        frames = nn.functional.interpolate(rgb, size, mode="bicubic", align_corners=False).clamp(
            0, 1
        )
        for precision in PRECISIONS:
            ours = freeze(codec, precision, "inductor" if choice.compile else None)
            figures |= compare(ours, peer, frames, choice.quality, f"{name}_{precision}")
    report(figures, choice.json)
    return 0


@torch.inference_mode()
def compare(
    codec: VideoCodec, peer: nn.Module, frames: Tensor, quality: int, label: str
) -> dict[str, float]:
    """Median frames a second of both on RGB `frames` `(T, 3, H, W)` in 0..1, the first intra, the
    second to warm up.
    """
    first, *rest = frames.split(1)
    coders = OurCoder(codec, first, quality), PeerCoder(peer, first)
    runs = [[seconds for coder in coders for seconds in timed(coder, frame)] for frame in rest][1:]
    encode, decode, peer_encode, peer_decode = (
        statistics.median(column) for column in zip(*runs, strict=True)
    )
    return {
        f"corvid_s_encode_waits_{label}": waits(coders[0], rest[-1]),
        f"corvid_s_encode_fps_{label}": round(1 / encode, 2),
        f"corvid_s_decode_fps_{label}": round(1 / decode, 2),
        f"ssf2020_encode_fps_beside_{label}": round(1 / peer_encode, 2),
        f"ssf2020_decode_fps_beside_{label}": round(1 / peer_decode, 2),
        f"encode_speedup_{label}": round(peer_encode / encode, 2),
        f"decode_speedup_{label}": round(peer_decode / decode, 2),
    }


def waits(coder: OurCoder, frame: Tensor) -> int:
    """How often the processor waits for the device while `frame` is coded, until the payload is
    wanted: 0 is right.
    """
    return count_waits(
        lambda: coder.codec.code_frame(
            frame, coder.sender, coder.size, coder.quality, SymbolEncoder()
        )
    )


def timed(coder: OurCoder | PeerCoder, frame: Tensor) -> tuple[float, float]:
    """Seconds to encode `frame` `(1, 3, H, W)` and to decode it."""
    encoding, coded = seconds_of(lambda: coder.encode(frame), frame.device)
    decoding, _ = seconds_of(lambda: coder.decode(coded), frame.device)
    return encoding, decoding


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    sys.exit(main())
