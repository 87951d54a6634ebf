"""CompressAI's zoo as codecs to evaluate: real files, decoded in another process."""

import functools
import importlib.metadata
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codec.anchors.coder import CodedResult, Decoded
from codec.errors import CodecError
from codec.evaluation.fresh import process, stamp
from codec.evaluation.zoo_models import VIDEO, load_model, qualities_of, weights_file
from codec.evaluation.zoo_stream import decode_file, encode_file, operations, quality_in
from codec.files import sha256_of
from data.io.source_clip import SourceClip

ROUNDING = 1  # levels by which two processes may differ


@dataclass(frozen=True)
class ZooCodec:
    """A model of CompressAI's zoo at each of its qualities: `ssf2020`, or an image model, which
    codes every frame as intra.

    Args:
        model: the zoo's name, such as `ssf2020` or `bmshj2018-hyperprior`.
        name: what tables call it.
        metric: what it was trained for, `mse` or `ms-ssim`.
        qualities: the zoo's, all by default.
        weights: a folder that holds the zoo's files, or a file by quality; without it the torch
            hub's cache is looked into.
        intra_period: frames from one intra frame to the next; -1: only the first is intra. Image
            models have 1.
        device: where networks run, in both processes.
    """

    model: str = VIDEO
    name: str = ""
    metric: str = "mse"
    qualities: Sequence[int] = ()
    weights: str | Mapping[Any, str] | None = None
    intra_period: int = -1
    device: str = "cpu"
    tunes: Sequence[str | None] = field(default=(None,))

    def __post_init__(self) -> None:
        there = qualities_of(self.model, self.metric)
        wrong = [quality for quality in self.qualities if quality not in there]
        if wrong:
            raise CodecError(
                f"{self.model}: qualities {wrong}; CompressAI's zoo has {there[0]} to {there[-1]}"
            )
        object.__setattr__(self, "name", self.name or f"{self.model}_{self.metric}")
        object.__setattr__(self, "qualities", tuple(dict.fromkeys(self.qualities)) or there)
        if self.model != VIDEO:
            object.__setattr__(self, "intra_period", 1)

    def file(self, quality: int) -> Path:
        """Where the weights of a quality are; CodecError says how to get them."""
        return weights_file(self.model, self.metric, quality, self.weights)

    def settings(self) -> dict[str, Any]:
        """Which weights, and how they were run."""
        return {
            "compressai": importlib.metadata.version("compressai"),
            "model": f"{self.model}, trained for {self.metric}",
            "weights": {str(quality): sha256_of(self.file(quality)) for quality in self.qualities},
            "intra_period": self.intra_period,
            "input": "RGB, padded with 0 to multiples of 128 as CompressAI's evaluation does",
            "device": self.device,
            "decoded": "in another process, from the file",
        }

    def code(self, source: SourceClip, quality: int, tune: str | None, folder: Path) -> CodedResult:
        """Compress in this process, decompress in another.

        Raises:
            CodecError: there are no weights, or the decoder's frames are not the encoder's
                reconstruction.
        """
        weights = self.file(quality)
        model = model_on(self.model, str(weights), self.device)
        file = folder / f"{source.name}_q{quality}.bin"
        started = time.perf_counter()
        reconstructed, frame_bytes = encode_file(
            model, source.rgb, file, self.intra_period, quality, self.device
        )
        encoded = time.perf_counter() - started
        decoded, seconds = decode_elsewhere(file, self.model, str(weights), self.device)
        if (decoded.int() - reconstructed.int()).abs().max() > ROUNDING:
            what = "decodes to other frames than the encoder reconstructed"
            raise CodecError(
                f"{file}: {what}; its entropy coding depends on float rounding, use device=cpu and "
                "1 thread"
            )
        return CodedResult(
            file, file.stat().st_size, decoded, encoded, seconds, frame_bytes=frame_bytes
        )

    def decode(self, file: Path, source: SourceClip) -> Decoded:
        """The frames of a file that `code` wrote, from another process."""
        decoded, _ = decode_elsewhere(
            file, self.model, str(self.file(quality_in(file))), self.device
        )
        if decoded.shape != source.rgb.shape:
            raise CodecError(
                f"{file}: {tuple(decoded.shape)} frames, {source.name} has "
                f"{tuple(source.rgb.shape)}; code it again"
            )
        return Decoded(decoded)

    def complexity(self, source: SourceClip) -> dict[str, Any]:
        """What coding `source` costs at the middle quality: operations of its last frame, counted,
        and seconds.
        """
        quality = sorted(self.qualities)[len(self.qualities) // 2]
        model = model_on(self.model, str(self.file(quality)), self.device)
        encode, decode = operations(
            model, source.rgb[-2:] if self.intra_period != 1 else source.rgb[-1:], self.device
        )
        with tempfile.TemporaryDirectory() as folder:
            made = self.code(source, quality, None, Path(folder))
        pixels = source.width * source.height
        return {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "encode_kmac": encode / pixels / 1000,
            "decode_kmac": decode / pixels / 1000,
            "encode_fps": source.frames / made.encode_seconds,
            "decode_fps": source.frames / made.decode_seconds,
            "encode_memory_mb": None,
            "decode_memory_mb": None,
            "threads": torch.get_num_threads(),
            "size": f"{source.width}x{source.height}",
            "frames": source.frames,
            "quality": quality,
        }


def model_on(model: str, weights: str, device: str) -> nn.Module:
    """A model, kept until another is asked for, or its file is another one."""
    return _loaded(model, weights, device, stamp(Path(weights)))


@functools.lru_cache(maxsize=1)
def _loaded(model: str, weights: str, device: str, stamped: tuple[int, int, int]) -> nn.Module:
    return load_model(model, Path(weights), device)


def decode_elsewhere(file: Path, model: str, weights: str, device: str) -> tuple[Tensor, float]:
    """Frames and seconds of decoding in the spawned process, which knows the file and the weights
    only.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "frames.npy"
        try:
            seconds = (
                process()
                .submit(decode_to, answer, file, model, weights, device, torch.get_num_threads())
                .result()
            )
        except BrokenProcessPool as error:
            process.cache_clear()
            raise CodecError(
                f"{file}: the decoding process died ({error}); is there memory enough?"
            ) from error
        return torch.from_numpy(np.load(answer)), seconds


def decode_to(
    answer: Path, file: Path, model: str, weights: str, device: str, threads: int
) -> float:
    """In the other process: decode `file`, leave the frames in `answer`, return the seconds."""
    torch.set_num_threads(threads)
    network = model_on(model, weights, device)
    started = time.perf_counter()
    frames = decode_file(network, file)
    seconds = time.perf_counter() - started
    np.save(answer, frames.numpy())
    return seconds
