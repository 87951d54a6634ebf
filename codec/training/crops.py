"""Whether crops suit the videos: smaller ones are padded by reflection, which makes sense, and fits
in memory, up to a size.
"""

from collections.abc import Sequence
from contextlib import suppress

from codec.errors import CodecError
from codec.training.stage import Stage
from data.io.readers import open_reader
from data.loading.datamodule import ClipDataModule

MOST = 2  # times the shorter side of the largest video looked at


def check_crops(data: ClipDataModule, stages: Sequence[Stage]) -> None:
    """Compare the crops of all stages, and that of validation, with the videos that validation is
    going to read.

    Raises:
        CodecError: a crop is more than `MOST` times the shorter side of each of them.
    """
    found = _sizes(data)
    if not found:  # reading them says why
        return
    width, height, path = max(found, key=lambda size: min(size[:2]))
    most = MOST * min(width, height)
    crops = [(f"schedule stage {stage.name!r}: crop", stage.crop) for stage in stages] + [
        ("data.val_crop", data.val_clips.crop)
    ]
    for field, crop in crops:
        if crop > most:
            raise CodecError(
                f"{field} is {crop}; the largest video of {len(found)} looked at, {path}, is "
                f"{width}×{height}, and videos are "
                f"padded to at most {MOST} times their shorter side: give {most} or less, or "
                "larger videos"
            )


def _sizes(data: ClipDataModule) -> list[tuple[int, int, str]]:
    """Width, height and file of videos spread over those of validation; what cannot be opened is
    left out.
    """
    sequences, found = data.val_clips.sequences, []
    count = min(data.val_clips.count, len(sequences))
    for k in range(count):
        sequence = sequences[k * len(sequences) // count]
        with suppress(
            Exception
        ):  # damaged files make libraries raise many kinds; they are set aside when they are drawn
            known = sequence.timing or open_reader(sequence, "pyav")
            found.append((known.width, known.height, str(sequence.path)))
    return found
