"""Decode in another process: what it cannot know from the file and the checkpoint, it does not
know.
"""

import functools
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codec.checkpoint import checkpoint_file, load_codec
from codec.errors import CodecError
from codec.evaluation.orphans import end_with_parent
from codec.stream import compress, decompress
from codec.video import VideoCodec
from common.resources import keep_freed_memory


@dataclass(frozen=True)
class IsolatedDecoding:
    """Frames `(T, 3, H, W)` uint8 from another process, its seconds of decoding, and whether they
    are the encoder's.
    """

    frames: Tensor
    seconds: float
    identical: bool = True


def decode_isolated(file: Path, checkpoint: str, device: str = "cpu") -> IsolatedDecoding:
    """Decode a `.cvd` file in a spawned process that gets the two paths and nothing else.

    The process is started once and kept, with as many torch threads as this one.

    Raises:
        CodecError: the decoder's own error, or the process died (memory, most often).
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "frames.npy"
        try:
            job = process().submit(
                decode_to, answer, file, checkpoint, device, torch.get_num_threads()
            )
            seconds, identical = job.result()
        except BrokenProcessPool as error:
            process.cache_clear()
            raise CodecError(
                f"{file}: the decoding process died ({error}); is there memory enough?"
            ) from error
        return IsolatedDecoding(torch.from_numpy(np.load(answer)), seconds, identical)


@functools.cache
def process() -> ProcessPoolExecutor:
    """The one decoding process, spawned (not forked: it inherits no state)."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent)


def decode_to(
    answer: Path, file: Path, checkpoint: str, device: str, threads: int
) -> tuple[float, bool]:
    """In the other process: decode `file`, leave the frames in `answer`; the seconds, and whether
    they are the encoder's.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    clip = decompress(file, codec_on(checkpoint, device))
    np.save(answer, clip.frames.cpu().numpy())
    return clip.seconds, clip.identical


def codec_on(checkpoint: str, device: str) -> VideoCodec:
    """The codec of a checkpoint, loaded again only when the file is another one."""
    file = checkpoint_file(checkpoint)
    return _loaded(str(file), device, stamp(file))


def stamp(file: Path) -> tuple[int, int, int]:
    """Differs when a file has been replaced or written to."""
    facts = file.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


@functools.lru_cache(maxsize=1)
def _loaded(file: str, device: str, stamped: tuple[int, int, int]) -> VideoCodec:
    """Used once: kernels are compiled at first use, which nobody wants to time."""
    codec = load_codec(file).to(device)
    with tempfile.TemporaryDirectory() as folder:
        compress(
            codec,
            torch.zeros(3, 3, 64, 64, dtype=torch.uint8),
            Fraction(25),
            32,
            Path(folder) / "a.cvd",
        )
        decompress(Path(folder) / "a.cvd", codec)
    return codec
