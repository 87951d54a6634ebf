"""Vimeo-90k septuplets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.errors import DataError
from data.io.images import ImageReader
from data.sources.vimeo import Septuplets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three septuplets of 2x2 pixels, two of them in the train list."""
    for name in ("00001/0001", "00001/0002", "00003/0001"):
        folder = tmp_path / "sequences" / name
        folder.mkdir(parents=True)
        for number in range(1, 8):
            Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(folder / f"im{number}.png")
    (tmp_path / "sep_trainlist.txt").write_text("00003/0001\n00001/0001\n\n")
    (tmp_path / "sep_testlist.txt").write_text("00001/0002\r\n")
    return tmp_path


def test_lists_are_kept_apart_and_in_order(root: Path):
    """Catches test septuplets trained on, and an order that is not the list's."""
    train, test = Septuplets(root), Septuplets(root, "test")
    assert [str(s.path.relative_to(root)) for s in train] == [
        "sequences/00003/0001",
        "sequences/00001/0001",
    ]
    assert len(test) == 1 and test[0].path.name == "0002" and test[0].frames == 7
    assert ImageReader(train[0]).read(range(7))[:, 0, 0, 0].tolist() == list(range(1, 8))


def test_missing_septuplets_are_counted_and_named(root: Path):
    """Catches a download unpacked in part that trains on what is there."""
    with open(root / "sep_trainlist.txt", "a") as file:
        file.writelines(
            f"{name}\n" for name in ("00001/0009", "00004/0001", "00004/0002", "00004/0003")
        )
    missing = r"00001/0009, 00004/0001, 00004/0002, ..."
    said = rf"sep_trainlist.txt: 4 of its 6 septuplets are not in .*sequences \({missing}\); unpack"
    with pytest.raises(DataError, match=said):
        Septuplets(root)


def test_wrong_roots_and_lists_are_refused(root: Path):
    """Catches an empty training set and a list of something else."""
    with pytest.raises(
        DataError,
        match="sep_trainlist.txt: no list of septuplets.*give the folder that holds sequences/",
    ):
        Septuplets(root / "sequences")
    for content, said in (("", "no line"), ("a.mp4\n", "'a.mp4' where a line like 00001/0001")):
        (root / "sep_testlist.txt").write_text(content)
        with pytest.raises(DataError, match=f"sep_testlist.txt: {said}"):
            Septuplets(root, "test")
    with pytest.raises(DataError, match="subset='val'"):
        Septuplets(root, "val")
