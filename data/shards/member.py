"""Making one member of a shard: encoded in short GOPs and compared with its source, or read as it
is.
"""

from __future__ import annotations

import errno
import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import xxhash

from data.errors import REPAIR, DataError
from data.io.container import file_url, opened_bytes
from data.io.probe import Probe, probe
from data.io.video import PLANAR
from data.sequences import RawFormat, Sequence
from data.shards.frames import PackSource, Picture, pack_source
from data.shards.options import PackOptions
from data.shards.plan import Member, Row

TAGS = {"bt601": "smpte170m", "bt709": "bt709"}  # x264's names
CONSTANT_RATE = 1001  # the largest denominator of a member's frame rate
LEAST_FREE = 2**26  # bytes on the scratch disk, below which it is to blame
BEST = 100.0  # dB, of equal pictures


@dataclass(frozen=True, eq=False)
class Packed:
    """A finished member.

    Attributes:
        member: what it was made from.
        data: its bytes.
        suffix: of its name, with the dot.
        rows: of the index of shards, but for path, offset and mtime_ns.
        facts: written beside it in the shard.
        psnr: dB, mean over frames of the luma's against the source; None for a copy.
    """

    member: Member
    data: bytes
    suffix: str
    rows: list[Row]
    facts: dict[str, Any]
    psnr: float | None


def pack_member(member: Member, root: Path, options: PackOptions, scratch: Path) -> Packed:
    """Make one member; files in `scratch` are gone afterwards.

    Raises:
        DataError: the source cannot be read, or what was made is not what it should be.
        OSError: `scratch` cannot be written.
    """
    return (
        _copied(member, root)
        if options.copy
        else _encoded(member, root=root, options=options, scratch=scratch)
    )


def _copied(member: Member, root: Path) -> Packed:
    row = member.rows[0]
    path = root / row["path"]
    if row["kind"] != "video":
        raise DataError(
            f"{path}: no video file, and only those can be stored as they are; leave out --copy"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    content = xxhash.xxh3_128_hexdigest(data)
    if content != row["content"]:
        raise DataError(f"{path}: its bytes are not those that were indexed; index again")
    rows = [row | {"source": row["path"], "bytes": len(data)} for row in member.rows]
    facts = _facts(row) | {
        "sequences": [[row["first"], row["frames"]] for row in member.rows],
        "content": content,
    }
    return Packed(
        member, data=data, suffix=path.suffix.lower() or ".mp4", rows=rows, facts=facts, psnr=None
    )


def _facts(row: Row) -> dict[str, Any]:
    names = ("width", "height", "pixel_format", "matrix", "full_range", "colour_origin", "licence")
    return {
        "source": row["path"],
        "fps": f"{row['fps_num']}/{row['fps_den']}",
        **{name: row[name] for name in names},
    }


def _encoded(member: Member, root: Path, options: PackOptions, scratch: Path) -> Packed:
    row = member.rows[0]
    raw = (
        RawFormat(row["width"], row["height"], row["pixel_format"])
        if row["kind"] == "raw"
        else None
    )
    fps = Fraction(row["fps_num"], row["fps_den"])
    sequence = Sequence(
        root / row["path"], first=member.first, frames=member.frames, fps=fps, raw=raw
    )
    source = pack_source(sequence, options.short_side)
    fps = source.fps.limit_denominator(CONSTANT_RATE)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        file = Path(folder) / f"{member.key}.mp4"
        _encode(source, fps=fps, options=options, target=file)
        found = probe(file)
        data = file.read_bytes()
    _check(found, source=source, fps=fps, options=options)
    psnr = _psnr(data, source)
    if psnr < options.least_psnr:
        raise DataError(
            f"{sequence.path}: {psnr:.1f} dB after encoding, least_psnr={options.least_psnr:g}; "
            "lower that or crf"
        )
    content = xxhash.xxh3_128_hexdigest(data)
    facts = {
        **_facts(row),
        "fps": f"{fps.numerator}/{fps.denominator}",
        "width": source.width,
        "height": source.height,
    }
    facts |= {
        "first": member.first,
        "frames": member.frames,
        "content": content,
        "psnr_y": round(psnr, 2),
    }
    facts |= {"crf": options.crf, "gop": options.gop, "untouched": source.untouched}
    return Packed(
        member,
        data=data,
        suffix=".mp4",
        rows=[_row(row, member=member, found=found, data=data, content=content)],
        facts=facts,
        psnr=psnr,
    )


def _row(row: Row, member: Member, found: Probe, data: bytes, content: str) -> Row:
    """The row of the packed video."""
    assert found.pts is not None  # x264 in MP4: `_check` has seen the times of all frames
    step = int(found.pts[1] - found.pts[0]) if found.frames > 1 else 1
    color_space = found.color_space
    made = {
        "source": row["path"],
        "first": 0,
        "frames": member.frames,
        "file_frames": member.frames,
        "kind": "video",
        "codec": found.codec,
        "pixel_format": found.pixel_format,
        "plain": found.plain,
        "width": found.width,
        "height": found.height,
        "fps_num": found.fps.numerator,
        "fps_den": found.fps.denominator,
        "matrix": color_space.matrix,
        "full_range": color_space.full_range,
        "colour_origin": color_space.origin,
        "pts_first": int(found.pts[0]),
        "pts_step": step,
        "key_frames": ((found.key_pts - found.pts[0]) // step).tolist(),
        "bytes": len(data),
        "content": content,
    }
    return row | made


def _encode(source: PackSource, fps: Fraction, options: PackOptions, target: Path) -> None:
    """Pipe planes into x264. Its `fastdecode` costs a tenth more bytes and gives 1.7 times as many
    frames/s back.
    """
    raw = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-s",
        f"{source.width}x{source.height}",
        "-r",
        str(fps),
        "-i",
        "-",
    ]
    full_range = "on" if source.color_space.full_range else "off"
    tags = f"colormatrix={TAGS[source.color_space.matrix]}:fullrange={full_range}"
    x264 = [
        "-c:v",
        "libx264",
        "-preset",
        "fast",
        "-tune",
        "fastdecode",
        "-crf",
        str(options.crf),
        "-g",
        str(options.gop),
    ]
    rest = [
        "-x264-params",
        f"{tags}:open-gop=0",
        "-threads",
        "1",
        "-video_track_timescale",
        str(fps.numerator),
    ]
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-loglevel",
        "error",
        "-y",
        *raw,
        *x264,
        *rest,
        "-movflags",
        "+faststart",
    ]
    with tempfile.TemporaryFile() as messages:
        with subprocess.Popen(
            [*command, file_url(target)], stdin=subprocess.PIPE, stderr=messages
        ) as process:
            assert process.stdin is not None
            try:
                for picture in source.frames():
                    for plane in picture:
                        process.stdin.write(np.ascontiguousarray(plane).data)
                process.stdin.close()
            except BrokenPipeError:
                pass  # ffmpeg ended early; its exit code says so below
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            messages.seek(0)
            said = messages.read().decode(errors="replace").strip().splitlines()[-1:] or [
                "no message"
            ]
            if shutil.disk_usage(target.parent).free < LEAST_FREE:
                raise OSError(errno.ENOSPC, f"{said[0]}", str(target.parent))
            raise DataError(
                f"{source.sequence.path}: ffmpeg could not encode it: {said[0]}; exclude it, or "
                "pack with --copy"
            )


def _check(found: Probe, source: PackSource, fps: Fraction, options: PackOptions) -> None:
    """DataError unless the encoded file is what was asked for."""
    path = source.sequence.path
    frames = source.frame_count
    expected: tuple[object, ...] = (
        frames,
        source.width,
        source.height,
        fps,
        source.color_space.matrix,
        source.color_space.full_range,
        True,
    )
    color_space = found.color_space
    made: tuple[object, ...] = (
        found.frames,
        found.width,
        found.height,
        found.fps,
        color_space.matrix,
        color_space.full_range,
        found.plain,
    )
    if frames == 1:
        # one frame has no rate
        expected = (*expected[:3], *expected[4:])
        made = (*made[:3], *made[4:])
    if made != expected:
        raise DataError(
            f"{path}: packed as (frames, width, height, fps, matrix, full range, plain) {made}, "
            f"not {expected}"
        )
    if found.pts is None:
        raise DataError(f"{path}: packed without the time of every frame")
    steps = np.unique(np.diff(found.pts))
    if len(steps) > 1:
        raise DataError(f"{path}: packed with frame times that vary ({steps.tolist()})")
    keys = (found.key_pts - found.pts[0]) // (int(steps[0]) if len(steps) else 1)
    gaps = np.diff(np.append(keys, frames))
    if keys[0] != 0 or gaps.max() > options.gop:
        raise DataError(
            f"{path}: packed with {gaps.max()} frames from keyframe to keyframe, gop={options.gop}"
        )


def _psnr(data: bytes, source: PackSource) -> float:
    """Mean over frames of the luma's PSNR in dB; DataError when a packed frame is missing or
    damaged.
    """
    values = []
    try:
        for packed, original in zip(_decoded(data, source.sequence), source.frames(), strict=True):
            error = float(np.square(packed[0].astype(np.float32) - original[0]).mean())
            values.append(min(BEST, 10 * np.log10(255**2 / error)) if error else BEST)
    except (ValueError, av.error.FFmpegError) as error:
        raise DataError(
            f"{source.sequence.path}: what was packed cannot be decoded ({error}); {REPAIR}"
        ) from error
    return float(np.mean(values))


def _decoded(data: bytes, sequence: Sequence) -> Iterator[Picture]:
    with opened_bytes(io.BytesIO(data)) as container:
        for frame in container.decode(video=0):
            if frame.is_corrupt or frame.format.name not in PLANAR:
                raise DataError(f"{sequence.path}: what was packed does not decode well; {REPAIR}")
            y, u, v = (
                np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
                    : plane.height, : plane.width
                ]
                for plane in frame.planes
            )
            yield y, u, v
