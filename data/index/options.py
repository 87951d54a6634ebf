"""Options of indexing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from data.errors import DataError, check_at_least


@dataclass(frozen=True)
class ScanOptions:
    """How one file becomes sequences; other values mean scanning it again.

    Attributes:
        min_frames: shorter sequences are dropped.
        black: mean luma, 0..255, below which a frame is black.
        static: mean difference of neighbouring frames, luma 0..255, below which a stretch is
            near-static.
        cut: mean change over hue, saturation and luma, 0..255, from which a frame may begin a new
            scene.
        licence: of all files that no manifest states one for.
    """

    min_frames: int = 16
    black: float = 12.0
    static: float = 0.1
    cut: float = 15.0
    licence: str = ""

    def __post_init__(self) -> None:
        check_at_least(1, min_frames=self.min_frames)
        check_at_least(0, black=self.black, static=self.static, cut=self.cut)


@dataclass(frozen=True)
class IndexOptions:
    """All that decides what is in an index.

    Attributes:
        scan: see `ScanOptions`.
        duplicates: bits of 64 in which the hashes of near duplicates may differ on average; -1
            keeps near duplicates.
        exclude: test sets whose pictures must not be trained on, as `find_sequences` takes them.
        exclude_bits: bits of 64 in which a frame may differ from a test set's frame and count as
            the same picture.
    """

    scan: ScanOptions = field(default_factory=ScanOptions)
    duplicates: float = 3.0
    exclude: tuple[str, ...] = ()
    exclude_bits: int = 8

    def __post_init__(self) -> None:
        check_at_least(-1, duplicates=self.duplicates)
        check_at_least(0, exclude_bits=self.exclude_bits)

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def read(text: str | bytes) -> IndexOptions:
        """From JSON; DataError when it is of another version."""
        try:
            found: dict[str, Any] = json.loads(text)
            scan = ScanOptions(**found.pop("scan"))
            return IndexOptions(scan=scan, **{**found, "exclude": tuple(found["exclude"])})
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(
                f"options of an index cannot be read ({error}); make the index again"
            ) from error


def said(options: IndexOptions | ScanOptions) -> dict[str, Any]:
    """Names and values for a reader, one level."""
    values = {one.name: getattr(options, one.name) for one in fields(options)}
    scan = values.pop("scan", None)
    return {**(said(scan) if scan else {}), **values}
