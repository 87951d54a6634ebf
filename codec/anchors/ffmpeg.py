"""The ffmpeg executable that `imageio-ffmpeg` brings: where it is, which it is, and one way to run
it.
"""

import functools
import re
import subprocess
from collections.abc import Sequence

import imageio_ffmpeg

from codec.anchors import process
from codec.errors import CodecError


def executable() -> str:
    """Path of the executable; `IMAGEIO_FFMPEG_EXE` in the environment names another.

    Raises:
        CodecError: `imageio-ffmpeg` has none for this machine.
    """
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise CodecError(
            f"ffmpeg: {error}; reinstall imageio-ffmpeg or name one in IMAGEIO_FFMPEG_EXE"
        ) from error


def command(arguments: Sequence[str]) -> list[str]:
    """The executable with `arguments`, quiet about itself."""
    return [executable(), "-hide_banner", "-nostats", *arguments]


def run(
    arguments: Sequence[str], stdin: bytes | memoryview | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run ffmpeg to its end.

    Args:
        arguments: what follows `ffmpeg`.
        stdin: what it reads from its standard input; without it the input is closed, so ffmpeg
            never waits for a key.

    Returns:
        The finished process with `stdout` and `stderr`.

    Raises:
        CodecError: ffmpeg ended with an error; the message holds the command and the end of its
            stderr.
    """
    return process.run(command(arguments), stdin)


@functools.cache
def version() -> str:
    """The version as the executable says it, such as `n9.0.2-17-g2a571b6068`."""
    words = run(["-version"]).stdout.decode().split()
    return words[2] if len(words) > 2 else "unknown"


@functools.cache
def library_version(encoder: str, pattern: str) -> str:
    """The version of an encoder inside ffmpeg, such as `4.3+49-020d7054`, as it says when it
    encodes.

    Args:
        encoder: ffmpeg's name, such as `libx265`.
        pattern: a regular expression whose group is the version.

    Returns:
        The version; that of ffmpeg, of which it is a part, where the encoder does not say its own.
    """
    picture = ["-f", "lavfi", "-i", "color=s=64x64", "-frames:v", "1"]
    said = run([*picture, "-c:v", encoder, "-f", "null", "-"]).stderr.decode(errors="replace")
    found = re.search(pattern, said)
    return found.group(1) if found else f"of ffmpeg {version()}"
