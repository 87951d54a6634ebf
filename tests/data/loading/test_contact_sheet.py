"""Contact sheets: what is on them, and the command that draws them."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.cli.show import add_show
from data.errors import DataError
from data.loading.clip import Clip
from data.loading.contact_sheet import contact_sheet

COLOURS = [(250, 10, 20), (30, 240, 50), (60, 70, 230)]


def flat(names: list[str], side: int = 32, frames: int = 3) -> Clip:
    """A batch whose frame t is all of `COLOURS[t]`."""
    pictures = (
        torch.tensor(COLOURS[:frames], dtype=torch.uint8)
        .view(1, frames, 3, 1, 1)
        .expand(len(names), -1, -1, side, side)
    )
    return Clip(pictures, names, [12.5] * len(names), ["bt709"] * len(names))


def runs(sheet: Image.Image) -> list[tuple[int, int, int]]:
    """The colours of frames met along the sheet's lines, each once a row of frames, in the order of
    reading.
    """
    met: list[list[tuple[int, int, int]]] = []
    for line in np.asarray(sheet):
        colours = [tuple(int(value) for value in pixel) for pixel in line]
        found = list(dict.fromkeys(color for color in colours if color in COLOURS))
        if found and (not met or met[-1] != found):
            met.append(found)
        elif not found and met and met[-1]:
            met.append([])
    return [color for row in met for color in row]


@pytest.fixture
def command() -> Callable[..., None]:
    """`command(...)` runs `show` as `corvid data` does."""
    parser = argparse.ArgumentParser()
    add_show(parser.add_subparsers())

    def run(*words: object) -> None:
        choice = parser.parse_args(["show", *map(str, words)])
        choice.run(choice)

    return run


def test_frames_stand_in_order_from_left_to_right():
    """Catches channels swapped, frames out of order, and clips of a batch left out."""
    sheet = contact_sheet([flat(["a.mp4:0..2/1", "b.mp4:9..5/2"]), flat(["c.mp4:4..6/1"])], "title")
    assert runs(sheet) == COLOURS * 3


@pytest.mark.parametrize(("side", "frames"), [(16, 1), (256, 3), (1200, 3)])
def test_sheet_is_of_a_size_to_look_at(side: int, frames: int):
    """Catches pages too wide for a screen, and stamps too small to see."""
    sheet = contact_sheet([flat([f"a.mp4:0..{frames - 1}/1"], side, frames)], "title\nmore")
    assert 900 < sheet.width < 2600


def test_what_is_said_changes_the_sheet_and_the_rest_does_not():
    """Catches a name, licence, rate, matrix or title that is not on the sheet, and sheets that
    differ from run to run.
    """
    clip = flat(["a.mp4:0..2/1"])
    sheet = contact_sheet([clip], "title", ["CC0"])
    assert contact_sheet([clip], "title", ["CC0"]).tobytes() == sheet.tobytes()
    renamed, slower, other = (
        Clip(clip.frames, clip.names, clip.fps, clip.matrices) for _ in range(3)
    )
    renamed.names, slower.fps, other.matrices = ["b.mp4:0..2/1"], [25.0], ["bt601"]
    numbered = flat(["a.mp4:1..3/1"])
    said = [([one], "title", ["CC0"]) for one in (renamed, slower, other, numbered)]
    for changed in (*said, ([clip], "title", ["CC BY"]), ([clip], "other", ["CC0"])):
        assert contact_sheet(*changed).tobytes() != sheet.tobytes()


def test_long_names_stay_on_the_sheet():
    """Catches names that push the rest off the page, and ones that cannot be drawn."""
    sheet = contact_sheet(
        [flat(["Ünïcode " * 60 + ".mp4:0..2/1"])], "a very long title " * 60, ["a licence " * 60]
    )
    assert sheet.width < 2600


def test_the_command_draws_the_clips_of_training(
    videos: Path, tmp_path: Path, command: Callable[..., None]
):
    """Catches options that do not reach the data module, and a sheet that differs from run to
    run.
    """
    first, again, other = (tmp_path / f"{number}.png" for number in range(3))
    options = ["--clips", 3, "--frames", 4, "--crop", 48, "--stride", 2]
    command(videos, "-o", first, *options)
    command(videos, "-o", again, *options)
    command(videos, "-o", other, *options, "--seed", 5)
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    assert Image.open(first).format == "PNG"


def test_files_that_cannot_be_read_are_said(
    videos: Path,
    bad_videos: Path,
    tmp_path: Path,
    command: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
):
    """Catches a sheet of good clips that hides the bad ones."""
    sources = [videos / "h264.mp4", bad_videos / "text.mp4"]
    command(*sources, "-o", tmp_path / "sheet.png", "--frames", 2, "--crop", 32, "--clips", 4)
    assert "1 set aside" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["-o", "sheet.jpg"], r"sheet\.jpg.*\.png"),
        (["-o", "nowhere/sheet.png"], "folder that exists"),
        (["-o", "sheet.png", "--clips", "0"], "clips=0"),
        (["-o", "sheet.png", "--reader", "cv2"], "reader"),
    ],
)
def test_wrong_words_are_refused(
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., None],
    words: list[str],
    match: str,
):
    """Catches errors that come after the work, or without a remedy."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=match):
        command(videos, *words)
