"""Codecs that are quick, and misbehave when asked to. Other processes import them from here."""

import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.evaluation import CodedResult
from data.io.source_clip import SourceClip


@dataclass(frozen=True)
class Zipped:
    """Pixels quantised in steps and deflated, every byte spent eight times: a codec that x265
        beats.

    Attributes:
        crop: pixels it loses at the left.
        log: file to which every point it codes is added; None: none.
        broken: a quality that fails while the file `log` with `.broken` added is there.
    """

    name: str = "zipped"
    qualities: tuple[int, ...] = (2, 4, 8, 16, 32)
    tunes: tuple[None] = (None,)
    crop: int = 0
    log: str | None = None
    broken: int = 0

    def settings(self) -> dict[str, Any]:
        return {"level": 9}

    def code(self, source: SourceClip, quality: int, tune: str | None, folder: Path) -> CodedResult:
        if quality == self.broken and Path(f"{self.log}.broken").exists():
            raise CodecError(f"zipped: quality {quality} is broken")
        if self.log:
            with open(self.log, "a") as log:
                log.write(f"{source.name} {quality}\n")
        started = time.perf_counter()
        decoded = (source.rgb // quality * quality + quality // 2).clamp(max=255)[..., self.crop :]
        file = folder / f"{source.name}_{quality}.z"
        file.write_bytes(8 * zlib.compress(decoded.numpy().tobytes(), 9))
        seconds = time.perf_counter() - started
        return CodedResult(file, file.stat().st_size, decoded, seconds, seconds)
