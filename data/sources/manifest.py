"""Manifest: a CSV or Parquet file that lists sequences, a row each; and how to tell an index from
one.
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import DataError
from data.io.yuv_names import exact_rate
from data.sequences import PIXEL_FORMATS, RawFormat, Sequence

if TYPE_CHECKING:
    import pyarrow as pa

INDEX_KEY = b"corvid.index"  # in the metadata of a Parquet file that is an index, and no manifest
SUFFIXES = (".csv", ".parquet")
LEAST = {"first": 0, "frames": 1, "width": 1, "height": 1}
ALIASES = {"file": "path", "license": "licence"}
COLUMNS = ("path", *LEAST, "fps", "pixel_format", "licence")
log = logging.getLogger(__name__)


class Manifest:
    """The sequences of a manifest, in its order; `Sequences`. A sequence is made when asked for.

    Columns: `path` (or `file`); if wanted `first`, `frames`, `fps` (25, 29.97 or 30000/1001),
    `width`, `height` and `pixel_format` (yuv420p when empty) of headerless YUV, `licence`. Empty
    cells say nothing, and videos know their own size and rate. Other columns are not used; a
    message at info level names them. Whether the files are there is not looked up.

    Args:
        path: the manifest, .csv (UTF-8, a line of column names first) or .parquet.
        root: folder that relative paths count from; None is the manifest's own.

    Raises:
        DataError: the file is missing or no table, it has no `path` or no row, or a cell is wrong:
            its row and column are named.
    """

    def __init__(self, path: Path | str, root: Path | str | None = None) -> None:
        self._path = Path(path)
        self._root = Path(root).expanduser() if root is not None else self._path.parent
        columns = _read(self._path)
        if "path" not in columns:
            raise DataError(f"{path}: no column path (or file) among {', '.join(columns)}; add it")
        unused = [name for name in columns if name not in COLUMNS]
        if unused:
            log.info("%s: columns not used: %s", path, ", ".join(unused))
        self._paths = columns["path"]
        if not len(self._paths):
            raise DataError(f"{path}: no row; list a sequence a line")
        if self._paths.null_count:
            self._refuse(
                self._paths.is_null().index(True).as_py(),
                name="path",
                value=None,
                remedy="give the path of a file or folder",
            )
        self._numbers = {
            name: self._whole_numbers(name, columns[name]) for name in LEAST if name in columns
        }
        self._texts: dict[str, Any] = {
            name: columns[name] for name in ("fps", "pixel_format", "licence") if name in columns
        }
        self._check_rates()
        self._check_raw()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Sequence:
        path = self._root / Path(self._paths[number].as_py()).expanduser()
        cells = {
            name: column[number].as_py() for name, column in (self._numbers | self._texts).items()
        }
        raw = None
        if path.suffix.lower() == ".yuv" and cells.get("width"):
            raw = RawFormat(
                cells["width"], cells["height"], cells.get("pixel_format") or PIXEL_FORMATS[0]
            )
        return Sequence(
            path,
            first=cells.get("first") or 0,
            frames=cells.get("frames"),
            fps=exact_rate(cells["fps"]) if cells.get("fps") else None,
            raw=raw,
            licence=cells.get("licence") or "",
        )

    def __iter__(self) -> Iterator[Sequence]:
        return (self[number] for number in range(len(self)))

    def _whole_numbers(self, name: str, column: pa.Array) -> pa.Array:
        import pyarrow as pa

        def good(value: str | None) -> bool:
            return value is None or (
                value.isascii() and value.isdigit() and LEAST[name] <= int(value) < 1 << 31
            )

        self._check_each(
            name, column=column, good=good, remedy=f"give a whole number from {LEAST[name]}"
        )
        return column.cast(pa.int32())

    def _check_rates(self) -> None:
        def good(value: str | None) -> bool:
            try:
                return value is None or exact_rate(value) > 0
            except ValueError:
                return False

        if "fps" in self._texts:
            self._check_each(
                "fps",
                column=self._texts["fps"],
                good=good,
                remedy="give frames per second, like 25 or 30000/1001",
            )

    def _check_raw(self) -> None:
        """Of headerless YUV: width and height come together, the pixel format is one that can be
        read.
        """
        columns: dict[str, Any] = {**self._numbers, **self._texts}
        if not {"width", "height", "pixel_format"} & columns.keys():
            return
        import pyarrow.compute as pc

        raw_rows = pc.indices_nonzero(
            pc.ends_with(self._paths, ".yuv", ignore_case=True)
        ).to_pylist()
        names = ("width", "height", "pixel_format")
        for row in raw_rows:
            width, height, pixels = (
                columns[name][row].as_py() if name in columns else None for name in names
            )
            if (width is None) != (height is None):
                self._refuse(
                    row,
                    name="height" if height is None else "width",
                    value=None,
                    remedy="give width and height, or neither",
                )
            if pixels is not None and (pixels not in PIXEL_FORMATS or width is None):
                remedy = (
                    "give width and height too"
                    if pixels in PIXEL_FORMATS
                    else f"choose one of {', '.join(PIXEL_FORMATS)}"
                )
                self._refuse(row, name="pixel_format", value=pixels, remedy=remedy)

    def _check_each(
        self, name: str, column: pa.Array, good: Callable[[str | None], bool], remedy: str
    ) -> None:
        """DataError naming the first row whose cell is not `good`; each different value is tried
        once.
        """
        bad = {value for value in column.unique().to_pylist() if not good(value)}
        if bad:
            row, value = next(
                (row, value) for row, value in enumerate(column.to_pylist()) if value in bad
            )
            self._refuse(row, name=name, value=value, remedy=remedy)

    def _refuse(self, row: int, name: str, value: str | None, remedy: str) -> None:
        raise DataError(
            f"{self._path}: row {row + 1}, {name}={'' if value is None else value!r}; {remedy}"
        )


def is_index(path: Path | str) -> bool:
    """Whether a file is an index: Parquet with `INDEX_KEY` in its schema's metadata."""
    if Path(path).suffix.lower() != ".parquet" or not os.path.isfile(path):
        return False
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return INDEX_KEY in (pyarrow.parquet.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: no Parquet file that can be read ({str(error).splitlines()[0]}); write it "
            "again"
        ) from error


def _read(path: Path) -> dict[str, pa.Array]:
    """Columns by our names, as texts; empty cells are null."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix.lower() == ".parquet":
            table = pyarrow.parquet.read_table(path)
        else:
            table = pyarrow.csv.read_csv(path, convert_options=_as_texts(path))
        names = [
            ALIASES.get(name.strip().lower(), name.strip().lower()) for name in table.column_names
        ]
        if len(set(names)) < len(names):
            raise DataError(
                f"{path}: two columns mean the same among {', '.join(table.column_names)}; remove "
                "one"
            )
        used = [(name, column) for name, column in zip(names, table.columns, strict=True)]
        texts = {
            name: column.cast(pa.string()).combine_chunks() if name in COLUMNS else column
            for name, column in used
        }
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0]
        raise DataError(
            f"{path}: no manifest that can be read ({said}); give CSV with column names, or Parquet"
        ) from error
    for name in set(texts) & set(COLUMNS):
        trimmed = pc.utf8_trim_whitespace(texts[name])
        texts[name] = pc.if_else(pc.equal(trimmed, ""), None, trimmed)
    return texts


def _as_texts(path: Path) -> object:
    """Convert nothing, so that a wrong cell is named by us."""
    import pyarrow as pa
    import pyarrow.csv

    with open(path, newline="", encoding="utf-8-sig") as file:
        names = next(csv.reader(file), [])
    return pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
