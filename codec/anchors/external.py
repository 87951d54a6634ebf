"""Any other codec by its two commands: a lab's own, or the scripts of a publication."""

import shlex
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codec.anchors import process
from codec.anchors.coder import CodedResult, Decoded, check_intra_period
from codec.anchors.planes import Planes, from_bytes, pad_to_even, rgb_to_planes, to_bytes
from codec.errors import CodecError
from common.files import sha256_of
from data.io.color import planes_to_rgb
from data.io.source_clip import SourceClip

PIXELS = ("yuv420p", "rgb24")
FIELDS = ("input", "output", "quality", "width", "height", "fps", "frames", "intra_period")


@dataclass(frozen=True)
class External:
    """A codec that is called as two commands say, each in an empty folder, without a shell.

    Args:
        name: what tables call it.
        encoding: a command that reads raw frames from `{input}` and writes one file, `{output}`.
        decoding: a command that reads that file from `{input}` and writes raw frames to `{output}`;
            it gets no other file. Both may use `{quality} {width} {height} {fps} {frames}
            {intra_period}`.
        qualities: whole numbers in the codec's own scale.
        pixels: of raw frames: `yuv420p` (8 bits; sides padded to even ones, as `{width}` and
            `{height}` say) or `rgb24`.
        suffix: of the coded file.
        intra_period: frames from one intra frame to the next; -1: only the first is intra.
        version: what is to stand in results; files that the commands name are hashed anyway.

    Raises:
        CodecError: a command is missing, cannot be parsed or has an unknown field.
    """

    name: str
    encoding: str
    decoding: str
    qualities: Sequence[int]
    pixels: str = "yuv420p"
    suffix: str = ".bin"
    intra_period: int = -1
    version: str = ""
    tunes: Sequence[str | None] = field(default=(None,))

    def __post_init__(self) -> None:
        check_intra_period(self.name, self.intra_period)
        for what, template in (("encode", self.encoding), ("decode", self.decoding)):
            try:
                words = shlex.split(template)
                parsed = [part for word in words for _, part, _, _ in Formatter().parse(word)]
                fields = {part for part in parsed if part is not None}
            except (ValueError, AttributeError, TypeError) as error:
                what = f"{self.name}: {what}: {template!r} is no command"
                raise CodecError(f"{what} ({error})") from error
            if not words or not {"input", "output"} <= fields <= set(FIELDS):
                known = ", ".join(f"{{{part}}}" for part in FIELDS)
                message = f"{self.name}: {what}: {template!r}; {{input}} and {{output}} are needed"
                raise CodecError(f"{message}, known are {known}")
        if not self.qualities or not all(type(quality) is int for quality in self.qualities):
            raise CodecError(f"{self.name}: qualities {self.qualities}; whole numbers expected")
        object.__setattr__(self, "qualities", tuple(dict.fromkeys(self.qualities)))
        if self.pixels not in PIXELS:
            what = f"{self.name}: pixels {self.pixels!r}"
            raise CodecError(f"{what}; choose from {', '.join(PIXELS)}")
        if not self.suffix.startswith(".") or "/" in self.suffix:
            raise CodecError(f"{self.name}: suffix {self.suffix!r}; for example .bin expected")

    def settings(self) -> dict[str, Any]:
        """The commands without paths of this machine, and hashes of the files that they name."""
        files = {Path(word).name: sha256_of(path) for word, path in self._files()}
        return {
            "encode": self._quoted(self.encoding),
            "decode": self._quoted(self.decoding),
            "pixels": self.pixels,
            "intra_period": self.intra_period,
            **({"version": self.version} if self.version else {}),
            "files_sha256": files,
            "seconds": "wall time of the commands, starting them included",
        }

    def _files(self) -> list[tuple[str, Path]]:
        """Words of the commands that are files: scripts, weights, the executables."""
        found: dict[str, Path] = {}
        for template in (self.encoding, self.decoding):
            for number, word in enumerate(shlex.split(template)):
                path = Path((shutil.which(word) if number == 0 else None) or word)
                if path.is_file():
                    found[word] = path
        return sorted(found.items())

    def _quoted(self, template: str) -> str:
        """The command as a paper would quote it, files by their names."""
        words = shlex.split(template)
        return " ".join(Path(word).name if Path(word).exists() else word for word in words)

    def code(self, source: SourceClip, quality: int, tune: str | None, folder: Path) -> CodedResult:
        """Encode in one empty folder, decode in another that gets the coded file alone.

        Raises:
            CodecError: a command failed, wrote no file, or decodes to other frames.
        """
        # The suffix is all that is kept of the name: where `decode` wants the quality it is in it.
        suffix = f"{self.suffix}_q{quality}" if "{quality}" in self.decoding else self.suffix
        file = folder / f"{source.name}_q{quality}{suffix}"
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            raw = Path(scratch).absolute() / "input.raw"
            raw.write_bytes(self._to_raw(source))
            started = time.perf_counter()
            self._run(self.encoding, source, quality, raw, file.absolute(), Path(scratch))
            encoded = time.perf_counter() - started
        if not file.is_file():
            what = f"{self.name}: encode wrote no {{output}} ({file.name})"
            raise CodecError(f"{what}; correct the command")
        found, seconds = self._decoded(file, source, quality)
        return CodedResult(
            file=file,
            bytes=file.stat().st_size,
            decoded=found.rgb,
            encode_seconds=encoded,
            decode_seconds=seconds,
            extra={"command": self._quoted(self.encoding).replace("{quality}", str(quality))},
            planes=found.planes,
        )

    def decode(self, file: Path, source: SourceClip) -> Decoded:
        """The frames of a file that `code` wrote."""
        quality = file.suffix.rpartition("_q")[2]
        return self._decoded(file, source, int(quality) if quality.isdecimal() else 0)[0]

    def _decoded(self, file: Path, source: SourceClip, quality: int) -> tuple[Decoded, float]:
        with tempfile.TemporaryDirectory() as scratch:
            coded, raw = Path(scratch) / f"coded{self.suffix}", Path(scratch) / "output.raw"
            shutil.copyfile(file, coded)
            started = time.perf_counter()
            self._run(self.decoding, source, quality, coded, raw, Path(scratch))
            seconds = time.perf_counter() - started
            if not raw.is_file():
                raise CodecError(f"{self.name}: decode wrote no {{output}}; correct the command")
            return self._from_raw(raw.read_bytes(), source), seconds

    def _run(
        self,
        template: str,
        source: SourceClip,
        quality: int,
        read: Path,
        written: Path,
        folder: Path,
    ) -> None:
        process.run(self._command(template, source, quality, read, written), folder=folder)

    def _command(
        self,
        template: str,
        source: SourceClip,
        quality: int,
        read: Path,
        written: Path,
    ) -> list[str]:
        width, height = self._size(source)
        values = {
            "input": str(read),
            "output": str(written),
            "quality": quality,
            "width": width,
            "height": height,
            "fps": str(float(source.fps)),
            "frames": source.frames,
            "intra_period": self.intra_period,
        }
        return [word.format(**values) for word in shlex.split(template)]

    def _size(self, source: SourceClip) -> tuple[int, int]:
        if self.pixels == "rgb24":
            return source.width, source.height
        return source.width + source.width % 2, source.height + source.height % 2

    def _to_raw(self, source: SourceClip) -> bytes:
        if self.pixels == "rgb24":
            return source.rgb.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
        return to_bytes(pad_to_even(source.planes or rgb_to_planes(source.rgb, source.color_space)))

    def _from_raw(self, raw: bytes, source: SourceClip) -> Decoded:
        if self.pixels == "rgb24":
            return Decoded(_rgb(raw, source, self.name))
        planes: Planes = from_bytes(raw, source.frames, source.height, source.width)
        return Decoded(planes_to_rgb(*planes, source.color_space), planes)

    def complexity(self, source: SourceClip) -> dict[str, Any]:
        """Speed and memory of the two commands at the middle quality, starting them included."""
        quality = sorted(self.qualities)[len(self.qualities) // 2]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch).absolute()
            raw, file, out = (folder / name for name in ("input.raw", f"a{self.suffix}", "out.raw"))
            raw.write_bytes(self._to_raw(source))
            encoding = self._command(self.encoding, source, quality, raw, file)
            encoded = process.measure(encoding, folder)
            decoding = self._command(self.decoding, source, quality, file, out)
            decoded = process.measure(decoding, folder)
        return {
            **dict.fromkeys(("parameters", "encode_kmac", "decode_kmac")),
            "encode_fps": float(f"{source.frames / max(encoded.seconds, 1e-3):.3g}"),
            "decode_fps": float(f"{source.frames / max(decoded.seconds, 1e-3):.3g}"),
            "encode_memory_mb": round(encoded.memory_mb, 1),
            "decode_memory_mb": round(decoded.memory_mb, 1),
            "threads": torch.get_num_threads(),
            "size": f"{source.width}x{source.height}",
            "frames": source.frames,
            "quality": quality,
        }


def external(encode: str, decode: str, **fields: Any) -> External:
    """An `External` by the names that YAML files use for its commands."""
    return External(encoding=encode, decoding=decode, **fields)


def _rgb(raw: bytes, source: SourceClip, name: str) -> Tensor:
    """uint8 `(T, 3, H, W)` of raw `rgb24`."""
    shape = (source.frames, source.height, source.width, 3)
    if len(raw) != np.prod(shape):
        frame = source.height * source.width * 3
        what = f"decode gave {len(raw) / frame:g} frames of {source.width}x{source.height}"
        raise CodecError(f"{name}: {what}, {source.frames} were encoded")
    pixels = torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(shape).copy())
    return pixels.permute(0, 3, 1, 2).contiguous()
