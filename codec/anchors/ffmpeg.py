"""The ffmpeg executable that `imageio-ffmpeg` brings: where it is, which it is, and one way to run it."""

import functools
import subprocess
from collections.abc import Sequence

import imageio_ffmpeg

from codec.errors import CodecError

SAID_LINES = 20


def executable() -> str:
    """Path of the executable; `IMAGEIO_FFMPEG_EXE` in the environment names another.

    Raises:
        CodecError: `imageio-ffmpeg` has none for this machine.
    """
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise CodecError(f"ffmpeg: {error}; reinstall imageio-ffmpeg or name one in IMAGEIO_FFMPEG_EXE") from error


@functools.cache
def version() -> str:
    """The version as the executable says it, such as `n9.0.2-17-g2a571b6068`."""
    words = run(["-version"]).stdout.decode().split()
    return words[2] if len(words) > 2 else "unknown"


def run(arguments: Sequence[str], stdin: bytes | memoryview | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run ffmpeg to its end.

    Args:
        arguments: what follows `ffmpeg`.
        stdin: what it reads from its standard input; without it the input is closed, so ffmpeg never waits for a key.

    Returns:
        The finished process with `stdout` and `stderr`.

    Raises:
        CodecError: ffmpeg ended with an error; the message holds the command and the end of its stderr.
    """
    source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run([executable(), "-hide_banner", "-nostats", *arguments], capture_output=True, **source)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-SAID_LINES:]
        raise CodecError(f"ffmpeg {' '.join(arguments)}\nended with {done.returncode}:\n" + "\n".join(said))
    return done
