"""Unusual inputs: each read rightly, or refused with its reason, or warned of."""

import logging
import socket
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from data.errors import DataError, OutOfMemory
from data.io import container
from data.io.probe import probe
from data.io.readers import open_reader
from data.io.source_clip import read_source
from data.sources.discovery import find_videos

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]


def pattern(size: str, seconds: float = 1) -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d={seconds}"]


def check_is_video(path: Path, width: int = 128, height: int = 96, frames: int = 25) -> None:
    """Every way of reading gives the same frames, of the right size and number."""
    found = probe(path)
    assert (found.width, found.height, found.frames) == (width, height, frames)
    clip = read_source(path)
    assert (clip.width, clip.height, clip.frames) == (width, height, frames)
    for reader in ("auto", "decord", "pyav"):
        opened = open_reader(path, reader)
        assert opened.frames == frames
        assert opened.read([frames - 1, 0]).shape == (2, 3, height, width)
    picks = [frames - 1, 3, 4]
    assert torch.equal(open_reader(path, "pyav").read(picks), clip.rgb[picks])


def test_a_cover_is_not_the_video(tmp_path: Path, ffmpeg):
    """Catches a picture in front of the video taken for it: a track of one picture, and MP4's
    `covr` before the tracks.
    """
    video, cover = tmp_path / "base.mp4", tmp_path / "cover.png"
    ffmpeg(*pattern("128x96"), *X264, video)
    ffmpeg("-f", "lavfi", "-i", "color=red:s=320x320", "-frames:v", "1", cover)
    track = tmp_path / "cover_first.mkv"
    ffmpeg("-i", video, "-i", cover, "-map", "1", "-map", "0", "-c", "copy", track)
    check_is_video(track)
    attached = tmp_path / "covr.mp4"
    cover_last = ["-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic"]
    ffmpeg("-i", video, "-i", cover, *cover_last, attached)
    whole = attached.read_bytes()
    start = whole.index(b"moov") - 4
    moov = whole[start : start + int.from_bytes(whole[start : start + 4], "big")]
    at = moov.rindex(b"udta") - 4
    size = int.from_bytes(moov[at : at + 4], "big")
    first = moov.index(b"trak") - 4
    moved = moov[:first] + moov[at : at + size] + moov[first:at] + moov[at + size :]
    attached.write_bytes(whole.replace(moov, moved))
    check_is_video(attached)


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_track_is_read(tmp_path: Path, ffmpeg, default: int):
    """Catches the first or the largest track read where another is the default."""
    path = tmp_path / "two.mkv"
    marks = ["-disposition:v:0", "0", "-disposition:v:1", "0"]
    marks[2 * default + 1] = "default"
    maps = ["-map", "0", "-map", "1"]
    ffmpeg(*pattern("64x48"), *pattern("128x96"), *maps, *X264, *marks, path)
    width, height = ((64, 48), (128, 96))[default]
    check_is_video(path, width=width, height=height)


def test_recordings_behind_each_other_keep_their_order(tmp_path: Path, ffmpeg, caplog):
    """Catches frames sorted by time stamps that start again: red, blue, red, blue."""
    for color, offset in (("red", "0"), ("blue", "0.013")):
        scene = ["-f", "lavfi", "-i", f"color={color}:s=128x96:r=25:d=2"]
        ffmpeg(*scene, *X264, "-output_ts_offset", offset, tmp_path / f"{color}.mkv")
    path = tmp_path / "two_recordings.mkv"
    parts = [(tmp_path / f"{color}.mkv").read_bytes() for color in ("red", "blue")]
    path.write_bytes(b"".join(parts))
    means = open_reader(path).read(range(100)).float().mean((2, 3))
    assert (means[:50, 0] > 250).all() and (means[:50, 2] < 5).all()
    assert (means[50:, 2] > 250).all() and (means[50:, 0] < 5).all()
    assert "time stamps start again" in caplog.text


WARNED = {
    "interlaced": ["-x264opts", "interlaced=1:tff=1"],
    "4:3, not square": ["-vf", "setsar=4/3"],
    "rate varies": ["-vf", "select='not(eq(mod(n,5),1))'", "-fps_mode", "passthrough"],
}


@pytest.mark.parametrize("said", WARNED)
def test_what_is_read_otherwise_than_meant_is_said_once(tmp_path: Path, ffmpeg, caplog, said: str):
    """Catches flags of interlacing, aspect and rate passed over in silence."""
    path = tmp_path / "unusual.mp4"
    ffmpeg(*pattern("128x96"), *X264, *WARNED[said], path)
    read_source(path)
    read_source(path)
    messages = [record.message for record in caplog.records if said in record.message]
    assert len(messages) == 1 and str(path) in messages[0]


@pytest.mark.parametrize(("pixels", "said"), [("yuva420p", "transp"), ("yuv420p10le", "10 bits")])
def test_dropped_alpha_and_bits_are_said(tmp_path: Path, ffmpeg, caplog, pixels: str, said: str):
    """Catches transparency and depth lost in silence."""
    path = tmp_path / "deep.mkv"
    ffmpeg(*pattern("64x48", 0.4), "-pix_fmt", pixels, "-c:v", "ffv1", path)
    read_source(path)
    assert said in caplog.text


def test_good_files_are_read_without_a_word(videos: Path, caplog: pytest.LogCaptureFixture):
    """Catches warnings at regular files, whose times are rounded to a clock's ticks."""
    caplog.set_level(logging.WARNING)
    for name in ("h264.mp4", "h264_open.mkv", "hevc.mp4", "av1.mkv", "odd.mkv"):
        probe(videos / name)
    assert caplog.text == ""


@pytest.mark.parametrize("turn", [["-display_rotation", "90"], ["-display_rotation", "180"],
                                  ["-display_hflip", "-display_rotation", "90"]])  # fmt: skip
def test_turned_videos_are_upright(tmp_path: Path, ffmpeg, turn: list[str]):
    """Catches pictures that lie on their side, and turned the wrong way: as ffmpeg turns them."""
    ffmpeg(*pattern("128x96", 0.4), *X264, tmp_path / "base.mp4")
    path = tmp_path / "turned.mp4"
    ffmpeg(*turn, "-i", tmp_path / "base.mp4", "-c", "copy", path)
    sides = (128, 96) if "180" in turn else (96, 128)
    check_is_video(path, *sides, frames=10)
    planes = read_source(path).planes
    frames = zip(*(plane.flatten(1).numpy() for plane in planes), strict=True)
    dump = ffmpeg("-i", path, "-f", "rawvideo", "-")
    assert np.concatenate([np.concatenate(frame) for frame in frames]).tobytes() == dump


def test_exif_orientation_is_applied(tmp_path: Path):
    """Catches pictures of a camera that was held upright lying on their side."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, :24] = 255  # left, so it is on top
    for number in range(2):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png", exif=exif)
    rgb = open_reader(tmp_path).read([0, 1])
    assert rgb.shape == (2, 3, 48, 32)
    assert (rgb[:, :, :24] == 255).all() and not rgb[:, :, 24:].any()


CONTAINERS = {
    **dict.fromkeys((".ts", ".m2ts", ".mts"), ["mpegts", "libx264"]),
    ".vob": ["vob", "mpeg2video"],
    ".flv": ["flv", "libx264"],
    ".wmv": ["asf", "wmv2"],
    ".3gp": ["3gp", "libx264"],
}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_every_container_is_found_and_read(tmp_path: Path, ffmpeg, suffix: str):
    """Catches suffixes that a folder's search leaves out, and random access that is wrong there."""
    path = tmp_path / f"recording{suffix}"
    form, encoder = CONTAINERS[suffix]
    coding = ["-c:v", encoder, "-pix_fmt", "yuv420p", "-g", "12"]
    ffmpeg(*pattern("128x96", 1.6), *coding, "-f", form, path)
    assert find_videos(tmp_path) == [path]
    clip = read_source(path)
    assert clip.frames == 40
    for picks in ([39, 3, 4], [30], [0]):
        assert torch.equal(open_reader(path).read(picks), clip.rgb[picks])


def test_left_out_files_are_named_by_their_suffixes(tmp_path: Path, caplog):
    """Catches "1 files left out" that does not say which, nor what to do."""
    for name in ("a.mp4", "b.strange", "c.strange", "d.txt"):
        (tmp_path / name).touch()
    find_videos(tmp_path)
    assert ".strange 2, .txt 1" in caplog.text and "by its name" in caplog.text


NAMES = ["50%d off.mp4", "a:b.mp4", "concat:c.mp4", "http:d.mp4", "-e.mp4", "f*.mp4", "[g]?.mp4",
         "sample:h.mp4", "~i.mp4", "uvg:j.mp4"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_as_named(tmp_path: Path, videos: Path, monkeypatch, name: str):
    """Catches names taken for patterns, addresses or options."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes((videos / "h264.mp4").read_bytes())
    assert find_videos(name) == [Path(name)]
    for reader in ("decord", "pyav"):
        assert open_reader(Path(name), reader).frames == 40
    assert read_source(name, max_frames=2).frames == 2


def test_a_numbered_picture_pattern_is_a_name(tmp_path: Path):
    """Catches `x%d.gif` opened as x1.gif, x2.gif, ..."""
    pictures = [Image.new("RGB", (32, 32), color) for color in ("red", "lime", "blue")]
    pictures[0].save(tmp_path / "x%d.gif", save_all=True, append_images=pictures[1:], duration=40)
    Image.new("RGB", (16, 16)).save(tmp_path / "x1.gif")
    clip = read_source(tmp_path / "x%d.gif")
    assert (clip.width, clip.frames) == (32, 3)


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
    "renamed.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
    "list.txt": "ffconcat version 1.0\nfile '{url}'\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
}


@pytest.mark.parametrize("protocol", ["http", "tcp", "subfile,,start,0,end,9,,:http"])
@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_opens_no_address(tmp_path: Path, name: str, protocol: str):
    """Catches a crafted file that makes the reader call a server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        url = f"{protocol}://127.0.0.1:{port}/a.ts"
        (tmp_path / name).write_text(PLAYLISTS[name].format(url=url, port=port))
        for read in (read_source, open_reader, lambda path: open_reader(path, "decord")):
            with pytest.raises(DataError, match=name):
                read(tmp_path / name)
        with pytest.raises(TimeoutError):
            server.accept()


def test_bytes_of_a_member_open_no_address(tmp_path: Path):
    """Catches a playlist inside a shard."""
    import io

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        text = PLAYLISTS["list.m3u8"].format(url=url)
        with pytest.raises((av.error.FFmpegError, OSError)):
            container.opened_bytes(io.BytesIO(text.encode()))
        with pytest.raises(TimeoutError):
            server.accept()


def test_want_of_memory_is_told_as_the_machines(videos: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches a good file called damaged when memory runs out."""
    found = probe(videos / "h264.mp4")
    no_memory = av.error.MemoryError(12, "Cannot allocate memory")

    def fail(*_: object, **__: object) -> None:
        raise no_memory

    monkeypatch.setattr("data.io.container.av.open", fail)
    for read in (read_source, lambda path: open_reader(path, "pyav").read([0])):
        with pytest.raises(OutOfMemory, match=r"h264\.mp4.*memory.*may be good.*allow more"):
            read(found.path)
    assert probe(videos / "h264.mp4").fps == Fraction(25)


def test_an_error_is_told_of_its_own_file_only(tmp_path: Path):
    """Catches ffmpeg's repeated messages about one file told as those of the next."""
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    address = PLAYLISTS["list.m3u8"].format(url="http://127.0.0.1:9/a.ts")
    (tmp_path / "list.m3u8").write_text(address)
    for _ in range(3):
        for name, said in (("list.m3u8", "list"), ("list.m3u8", "list"), ("text.mp4", "no video")):
            with pytest.raises(DataError, match=said) as error:
                probe(tmp_path / name)
        assert "protocol" not in str(error.value)
