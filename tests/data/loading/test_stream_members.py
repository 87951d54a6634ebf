"""Streaming real videos from a shard."""

from itertools import islice
from pathlib import Path

import numpy as np
import torch

from data.io.probe import probe
from data.io.readers import Reader, open_reader
from data.loading.clip import Clip
from data.loading.stream import ShardStream
from data.sequences import Sequence, Timing


def first_frames(sequence: Sequence, reader: Reader, rng: np.random.Generator) -> Clip:
    return Clip(reader.read([0, reader.frames - 1])[None], [sequence.label], [reader.fps])


def test_real_members(tmp_path: Path, videos: Path):
    """Catches members in memory read otherwise than the same members in their shard."""
    shard, sequences = tmp_path / "a.tar", []
    names = ("h264.mp4", "hevc.mp4")
    shard.write_bytes(b"front" + b"".join((videos / name).read_bytes() for name in names))
    offset = 5
    for name, first, frames in zip(names, (0, 10), (40, 20), strict=True):
        length = (videos / name).stat().st_size
        found = probe(shard, (offset, length))
        step = int(found.pts[1] - found.pts[0])
        keys = tuple(((found.key_pts - found.pts[0]) // step).tolist())
        color_space = found.color_space
        timing = Timing(
            int(found.pts[0]),
            step,
            keys,
            found.frames,
            found.fps,
            found.width,
            found.height,
            found.pixel_format,
            color_space.matrix,
            color_space.full_range,
            color_space.origin,
            found.plain,
            found.codec,
        )
        sequences.append(Sequence(shard, first, frames, byte_range=(offset, length), timing=timing))
        offset += length
    clips = {clip.names[0]: clip for clip in islice(ShardStream(sequences, first_frames, 1), 2)}
    for sequence in sequences:
        expected = open_reader(sequence, "pyav").read([0, sequence.frames - 1])
        assert torch.equal(clips[sequence.label].frames[0], expected)
