"""Frames as a short video that a browser shows frame by frame, near enough to lossless that no eye tells them apart."""

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
BT709, LIMITED = 1, 1
QUALITIES = (2, 10)  # crf: first choice, and where that leaves too few frames
SETTINGS = {"b": "0", "deadline": "realtime", "cpu-used": "6", "lag-in-frames": "0", "auto-alt-ref": "0"}
LOSS = "VP9 4:4:4"


@dataclass(frozen=True)
class Pack:
    """A VP9 video as its packets, one a frame, in the order of showing; only the first is intra.

    Attributes:
        packets: bytes of the frames.
        width, height: pixels.
        fps: frames a second.
        decibels: PSNR of each frame as shown against the frame that was packed.
    """

    packets: Sequence[bytes]
    width: int
    height: int
    fps: float
    decibels: Sequence[float]

    @property
    def bytes(self) -> int:
        """Of all packets."""
        return sum(map(len, self.packets))

    def first(self, frames: int) -> "Pack":
        """The same without its last frames: no packet needs a later one."""
        return replace(self, packets=self.packets[:frames], decibels=self.decibels[:frames])

    def to_json(self) -> dict[str, Any]:
        """What the page's decoder reads."""
        data = base64.b64encode(b"".join(self.packets)).decode()
        sizes = [len(packet) for packet in self.packets]
        shown = round(min(self.decibels), 1)
        return {"codec": CODEC, "width": self.width, "height": self.height, "fps": self.fps} | {
            "sizes": sizes,
            "decibels": shown,
            "data": data,
        }


def pack_frames(frames: Tensor, fps: float, crf: int = QUALITIES[0]) -> Pack:
    """Code frames as VP9 4:4:4 (no chroma is thrown away) in BT.709, and measure what that lost.

    Args:
        frames: uint8 RGB `(T, 3, H, W)`, at least one.
        fps: at which they are played.
        crf: of VP9, 0..63; lower is finer.
    """
    height, width = frames.shape[-2:]
    encoder = av.CodecContext.create(ENCODER, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv444p"
    encoder.framerate = Fraction(fps).limit_denominator(1001)
    encoder.time_base = 1 / encoder.framerate
    encoder.colorspace, encoder.color_range, encoder.thread_count = BT709, LIMITED, 1
    encoder.options = SETTINGS | {"crf": str(crf)}
    packets: list[bytes] = []
    for index, frame in enumerate(frames.permute(0, 2, 3, 1).contiguous().numpy()):
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture = picture.reformat(format="yuv444p", dst_colorspace=BT709, dst_color_range=LIMITED)
        picture.pts = index
        packets += [bytes(packet) for packet in encoder.encode(picture)]
    packets += [bytes(packet) for packet in encoder.encode(None)]
    return Pack(packets, width, height, fps, psnr(frames, unpack(packets)).tolist())


def unpack(packets: Sequence[bytes]) -> Tensor:
    """What a player shows: uint8 RGB `(T, 3, H, W)`."""
    decoder = av.CodecContext.create(ENCODER, "r")
    pictures = [picture for packet in packets for picture in decoder.decode(av.Packet(packet))] + decoder.decode(None)
    shown = [picture.reformat(format="rgb24", src_colorspace=BT709, src_color_range=LIMITED) for picture in pictures]
    return torch.from_numpy(np.stack([picture.to_ndarray() for picture in shown])).permute(0, 3, 1, 2)
