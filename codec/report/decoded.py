"""Decode the coded files of a result again, to show their frames."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from codec.anchors.standard import FORMATS, read_file
from codec.checkpoint import checkpoint_file, load_codec, model_hash
from codec.errors import CodecError
from codec.evaluation.results.rd import Point, RDResult
from codec.stream import decompress, open_stream
from codec.stream.models import find_model
from codec.video import VideoCodec
from common.files import sha256_of
from data.errors import DataError
from data.io.color import ColorSpace, planes_to_rgb
from data.io.source_clip import SourceClip, read_source
from data.sequences import Sequence as VideoSequence

COLOR = re.compile(r"(bt601|bt709) (full|limited)")


class NotShown(CodecError):
    """A file or clip cannot be shown.

    Args:
        what: the file or clip.
        why: the reason, which others may share, with the remedy.
    """

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why


@dataclass(frozen=True)
class DecodedFrames:
    """Finds the coded files of a result, the sources of its clips and its codecs, and decodes.

    Args:
        result: its conditions say which color matrix and range a clip has.
        folders: where `Point.file` is looked for, such as those of the `rd.json` that were merged.
        checkpoints: files or run folders of learned codecs; needless ones do no harm.
        clips: the sources, to show the originals.
    """

    result: RDResult
    folders: Sequence[Path]
    checkpoints: Sequence[str | Path] = ()
    clips: Sequence[VideoSequence | Path | str] = ()

    def frames_of(self, point: Point, frames: int) -> Tensor:
        """The first `frames` frames of a point, uint8 RGB `(T, 3, H, W)`.

        Raises:
            CodecError: its file is missing or was changed, cannot be decoded, or its checkpoint is
                not known.
        """
        file = self._file_of(point)
        count = min(frames, point.frames)
        if file.suffix == ".cvd":
            return decompress(file, self._codec_of(file)).frames[:count]
        if file.suffix not in FORMATS:
            raise NotShown(point.codec, f"{file.suffix} files are not decoded for the report")
        y, u, v = read_file(file, point.frames, point.width, point.height).planes
        return planes_to_rgb(y[:count], u[:count], v[:count], self._color_of(point.clip))

    def source_of(self, clip: str, frames: int) -> Tensor:
        """The first frames of the original, uint8 RGB `(T, 3, H, W)`.

        Raises:
            CodecError: no source of that name was given, or its size is not that of the conditions.
        """
        named = [own for own in self.clips if clip in (_path(own).stem, _path(own).name)]
        if not named:
            raise NotShown(
                clip, "no source of that name; give it with --clips to show the original"
            )
        source = _read(named[0], frames)
        size = f"{source.width}x{source.height}"
        expected = self.result.conditions.get("clips", {}).get(clip, {}).get("size", size)
        if expected != size:
            raise CodecError(f"{clip}: the source is {size}, the result was made on {expected}")
        return source.rgb

    def _file_of(self, point: Point) -> Path:
        found = [folder / point.file for folder in self.folders if (folder / point.file).is_file()]
        unchanged = [file for file in found if not point.sha256 or sha256_of(file) == point.sha256]
        if not unchanged:
            why = "the file has changed since" if found else "the file is not there"
            raise NotShown(point.file, f"{why}; keep the streams beside rd.json, or evaluate again")
        return unchanged[0]

    def _codec_of(self, file: Path) -> VideoCodec:
        with open_stream(file) as reader:
            header = reader.header
        for checkpoint in self.checkpoints:
            codec, name = _codec(str(checkpoint_file(checkpoint)))
            if name == header.model:
                return codec
        try:
            return _codec(str(find_model(header.model, file)))[0]
        except CodecError as error:
            given = ", which is none of the checkpoints given" if self.checkpoints else ""
            why = (
                f"written by the codec {header.model}{given}; "
                "give its run or file with --checkpoint"
            )
            raise NotShown(str(file), why) from error

    def _color_of(self, clip: str) -> ColorSpace:
        text = str(self.result.conditions.get("clips", {}).get(clip, {}).get("colour", ""))
        found = COLOR.search(text)
        if not found:
            raise CodecError(
                f"conditions.clips.{clip}.colour: {text!r}; "
                "a matrix and a range expected, as eval.py writes them"
            )
        return ColorSpace(found.group(1), found.group(2) == "full", "recorded")


@functools.lru_cache(maxsize=4)
def _codec(checkpoint: str) -> tuple[VideoCodec, str]:
    codec = load_codec(checkpoint)
    return codec, model_hash(codec)


def _read(clip: VideoSequence | Path | str, frames: int) -> SourceClip:
    try:
        return read_source(clip, max_frames=frames)
    except DataError as error:
        raise CodecError(str(error)) from error


def _path(clip: VideoSequence | Path | str) -> Path:
    return clip.path if isinstance(clip, VideoSequence) else Path(clip)
