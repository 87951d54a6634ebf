from pathlib import Path
from typing import Any

import pytest
from small_codec import FPS, moving_clip

from codec.errors import CodecError
from codec.training.loop import check_crops
from codec.training.schedule import Stage
from data.io.writer import write_video
from data.loading.datamodule import ClipDataModule


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A damaged file and two videos, 64 and 80 pixels high."""
    folder = tmp_path_factory.mktemp("clips")
    for height in (64, 80):
        write_video(moving_clip(12, height, 96), FPS, folder / f"high{height}.mp4")
    (folder / "broken.mp4").write_bytes(b"nothing")
    return folder


def look(folder: Path, crop: int, **data: Any) -> None:
    """Check one stage."""
    module = ClipDataModule(folder, **{"val_crop": 64} | data)
    module.setup()
    check_crops(module, [Stage("pairs", 1, 2, crop, 1, 1e-3, 1e-3)])


def test_a_crop_far_larger_than_the_videos_is_refused(folder: Path):
    """Catches a slip of the hand that pads frames until the memory is full, and a damaged video
    that ends the check.
    """
    with pytest.raises(
        CodecError,
        match=r"stage 'pairs': crop is 161; .* 2 looked at, .*high80.mp4, is 96×80.* "
        "give 160 or less",
    ):
        look(folder, 161)
    with pytest.raises(CodecError, match="data.val_crop is 4096; .*high80.mp4"):
        look(folder, 64, val_crop=4096)


def test_smaller_videos_are_padded_as_before(folder: Path):
    """Catches a check that refuses what the data pads, and one that names a size where no video can
    be opened.
    """
    look(folder, 160, val_crop=160)
    look(folder / "broken.mp4", 4096)
