"""Frames as a short VP9 video that a browser shows frame by frame, visually lossless."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from codec.metrics import psnr

ENCODER = "libvpx-vp9"
CODEC = "vp09.01.51.08.03.01.01.01.00"  # profile 1 (4:4:4), 8 bit, BT.709, limited range
PIXEL_FORMAT = "yuv444p"
BT709 = 1
LIMITED_RANGE = 1
CRF_CHOICES = (2, 10)  # the second where the first leaves too few frames
OPTIONS = {
    "b": "0",
    "deadline": "realtime",
    "cpu-used": "6",
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
}
NAME = "VP9 4:4:4"


@dataclass(frozen=True)
class PreviewVideo:
    """A VP9 video as its packets, one per frame, in display order; only the first is intra.

    Attributes:
        packets: bytes of the frames.
        width, height: pixels.
        fps: frames per second.
        decibels: PSNR of each decoded frame against the frame that was encoded.
    """

    packets: Sequence[bytes]
    width: int
    height: int
    fps: float
    decibels: Sequence[float]

    @property
    def bytes(self) -> int:
        """Size of all packets."""
        return sum(map(len, self.packets))

    def truncated(self, frames: int) -> "PreviewVideo":
        """Only the first `frames` frames: no packet needs a later one."""
        return replace(self, packets=self.packets[:frames], decibels=self.decibels[:frames])

    def to_json(self) -> dict[str, Any]:
        """What the page's decoder reads."""
        return {
            "codec": CODEC,
            "width": self.width,
            "height": self.height,
            "fps": self.fps,
            "sizes": [len(packet) for packet in self.packets],
            "decibels": round(min(self.decibels), 1),
            "data": base64.b64encode(b"".join(self.packets)).decode(),
        }


def encode_vp9(frames: Tensor, fps: float, crf: int = CRF_CHOICES[0]) -> PreviewVideo:
    """Code frames as VP9 4:4:4 (chroma keeps its resolution) in BT.709, and measure the loss.

    Args:
        frames: uint8 RGB `(T, 3, H, W)`, at least one.
        fps: frames per second when played.
        crf: of VP9, 0..63; lower is finer.
    """
    height, width = frames.shape[-2:]
    encoder = av.CodecContext.create(ENCODER, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width = width
    encoder.height = height
    encoder.pix_fmt = PIXEL_FORMAT
    encoder.framerate = Fraction(fps).limit_denominator(1001)
    encoder.time_base = 1 / encoder.framerate
    encoder.colorspace = BT709
    encoder.color_range = LIMITED_RANGE
    encoder.thread_count = 1
    encoder.options = OPTIONS | {"crf": str(crf)}
    packets: list[bytes] = []
    for index, rgb in enumerate(frames.permute(0, 2, 3, 1).contiguous().numpy()):
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format=PIXEL_FORMAT, dst_colorspace=BT709, dst_color_range=LIMITED_RANGE
        )
        frame.pts = index
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    packets += [bytes(packet) for packet in encoder.encode(None)]
    decibels = psnr(frames, decode_vp9(packets)).tolist()
    return PreviewVideo(packets, width=width, height=height, fps=fps, decibels=decibels)


def decode_vp9(packets: Sequence[bytes]) -> Tensor:
    """What a player shows: uint8 RGB `(T, 3, H, W)`."""
    decoder = av.CodecContext.create(ENCODER, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    frames = [frame for packet in packets for frame in decoder.decode(av.Packet(packet))]
    frames += decoder.decode(None)
    shown = [
        frame.reformat(format="rgb24", src_colorspace=BT709, src_color_range=LIMITED_RANGE)
        for frame in frames
    ]
    rgb = np.stack([frame.to_ndarray() for frame in shown])
    return torch.from_numpy(rgb).permute(0, 3, 1, 2)
