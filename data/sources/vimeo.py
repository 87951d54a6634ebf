"""Vimeo-90k septuplets: 91,701 clips of 7 pictures 448x256, listed in text files."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.errors import DataError
from data.sequences import Sequence

LISTS = {"train": "sep_trainlist.txt", "test": "sep_testlist.txt"}
FRAMES = 7


class Septuplets:
    """The septuplets of one list, in its order; `Sequences`. A sequence is made when asked for.

    Args:
        root: the folder that holds `sequences/` and the lists (the download's `vimeo_septuplet`).
        subset: "train" (64,612 in the original list) or "test".

    Raises:
        DataError: the list is missing, empty or malformed, or folders that it names are missing.

    Source: Xue et al., *Video Enhancement with Task-Oriented Flow*, IJCV 2019;
    http://toflow.csail.mit.edu.
    """

    def __init__(self, root: Path | str, subset: str = "train") -> None:
        if subset not in LISTS:
            raise DataError(
                f"subset={subset!r} of Vimeo-90k is unknown; choose one of {', '.join(LISTS)}"
            )
        listing = Path(root) / LISTS[subset]
        self._folder = Path(root) / "sequences"
        self._names = np.array(_listed(listing))
        _check_folders(self._folder, self._names, listing)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> Sequence:
        return Sequence(self._folder / str(self._names[number]), frames=FRAMES)

    def __iter__(self) -> Iterator[Sequence]:
        return (self[number] for number in range(len(self)))


def _listed(listing: Path) -> list[str]:
    try:
        names = listing.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        what = f"{listing}: no list of septuplets ({getattr(error, 'strerror', None) or error})"
        raise DataError(
            f"{what}; give the folder that holds sequences/, {' and '.join(LISTS.values())}"
        ) from error
    wrong = [name for name in names if name.count("/") != 1]
    if wrong or not names:
        what = f"{wrong[0]!r} where a line like 00001/0001 should be" if wrong else "no line"
        raise DataError(f"{listing}: {what}; download it again")
    return names


def _check_folders(folder: Path, names: np.ndarray, listing: Path) -> None:
    """Every name is a folder, seen by listing their 96 parents: nothing is looked up one by one."""
    there: set[str] = set()
    for parent in {name.split("/")[0] for name in names.tolist()}:
        try:
            there.update(f"{parent}/{name}" for name in os.listdir(folder / parent))
        except OSError:
            continue  # its septuplets are then missing, and said to be
    missing = [name for name in names.tolist() if name not in there]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DataError(
            f"{listing}: {len(missing)} of its {len(names)} septuplets are not in {folder} "
            f"({shown}); "
            "unpack the whole download there, or take their lines out of the list"
        )
