"""HM and VTM, the reference encoders of HEVC and VVC, in low delay and main10."""

import functools
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from codec.anchors.standard import Shot, StandardCodec
from codec.errors import CodecError
from common.files import sha256_of


@dataclass(frozen=True)
class Reference(StandardCodec):
    """A reference encoder that the user has built, at the conditions that DCVC suggests for 4:2:0
    sources.

    8 bits are fed, 10 are coded; decoded pictures are rounded to 8.

    Args:
        encoder: path of the executable, `TAppEncoderStatic` or `EncoderAppStatic`.
        config: path of its `encoder_lowdelay_main10.cfg` (HM) or `encoder_lowdelay_vtm.cfg` (VTM).
        options: further ones, after all others.

    Source: https://github.com/microsoft/DCVC/blob/main/test_conditions.md
    """

    tunes: Sequence[str | None] = (None,)
    encoder: str | None = None
    config: str | None = None
    options: Sequence[str] = ()

    measured_frames: ClassVar[int] = 5
    title: ClassVar[str]
    usual_config: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, value in (("encoder", self.encoder), ("config", self.config)):
            if not value or not Path(value).is_file():
                what = f"{value}: no such file" if value else "not given"
                example = (
                    f"'anchors=[{{{self.name}: {{encoder: FILE, config: {self.usual_config}}}}}]'"
                )
                raise CodecError(
                    f"{self.name}: {field}: {what}; give paths of your build of {self.title}: "
                    f"{example}"
                )

    def _files(self) -> tuple[Path, Path]:
        """The executable and its configuration, which were checked when this was made."""
        assert self.encoder and self.config
        return Path(self.encoder), Path(self.config)

    def versions(self) -> dict[str, str]:
        """Of the encoder as it says it, and hashes of the executable and the configuration."""
        encoder, config = self._files()
        return {
            self.title: said_version(str(encoder)),
            "encoder_sha256": sha256_of(encoder),
            "config": config.name,
            "config_sha256": sha256_of(config),
        }

    def command(self, shot: Shot, quality: str, tune: str | None, output: str) -> list[str]:
        """DCVC's line; sizes that are no multiple of the smallest block are padded and cropped by
        the encoder.
        """
        width, height = shot.size.split("x")
        rate = str(round(Fraction(shot.fps))) if shot.fps[0].isdigit() else shot.fps
        quoting = not Path(output).is_absolute()
        encoder, config = self._files()
        return [
            *(encoder.name if quoting else str(encoder.absolute()), "-c"),
            *(
                config.name if quoting else str(config.absolute()),
                "-f",
                shot.frames,
                "-q",
                quality,
            ),
            *(f"--IntraPeriod={self.intra_period}", f"--InputFile={shot.file}"),
            *(
                f"--SourceWidth={width}",
                f"--SourceHeight={height}",
                f"--FrameRate={rate}",
                "--Level=6.2",
            ),
            *(
                "--InputBitDepth=8",
                "--OutputBitDepth=8",
                "--OutputBitDepthC=8",
                "--InputChromaFormat=420",
            ),
            *("--DecodingRefreshType=2", "--ConformanceWindowMode=1", "--SEIDecodedPictureHash=0"),
            *(*self.options, "-b", output, "-o", "/dev/null"),
        ]


@dataclass(frozen=True)
class HM(Reference):
    """The HEVC test model, 16.25 or newer."""

    name: str = "hm"

    suffix: ClassVar[str] = ".hevc"
    coarsest: ClassVar[int] = 51
    title: ClassVar[str] = "HM"
    usual_config: ClassVar[str] = "encoder_lowdelay_main10.cfg"


@dataclass(frozen=True)
class VTM(Reference):
    """The VVC test model, 17.0 or newer."""

    name: str = "vtm"

    suffix: ClassVar[str] = ".vvc"
    coarsest: ClassVar[int] = 63
    title: ClassVar[str] = "VTM"
    usual_config: ClassVar[str] = "encoder_lowdelay_vtm.cfg"


@functools.cache
def said_version(encoder: str) -> str:
    """What the encoder prints about itself before it complains that it was given nothing."""
    try:
        done = subprocess.run(
            [Path(encoder).absolute()], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CodecError(
            f"{encoder}: cannot be run ({error}); give the path of an executable"
        ) from error
    found = re.search(rb"Version \[?([\w.\-]+)", done.stdout + done.stderr)
    return found.group(1).decode() if found else "unknown"
