import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from small_codec import FPS, moving_clip
from torch import Tensor

from codec.checkpoint import load_codec
from codec.cli import main
from codec.cli.coding import DAMAGED, DIFFERS
from codec.stream import compress, decompress, read_stream, write_stream
from data.io.source_clip import read_source
from data.io.writer import write_video

SIZE = (48, 64)
FRAMES = 7


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """Frames of which the fifth begins another scene."""
    first, second = moving_clip(4, *SIZE), moving_clip(3, *SIZE).flip(1)
    return torch.cat([first, 255 - second])


@pytest.fixture(scope="module")
def video(clip: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip in a lossless file."""
    return write_video(clip, FPS, tmp_path_factory.mktemp("video") / "clip.mkv")


@pytest.fixture(scope="module")
def stream(checkpoint: Path, clip: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, coded with an intra frame every third."""
    path = tmp_path_factory.mktemp("stream") / "a.cvd"
    compress(load_codec(checkpoint), clip, FPS, 40, path, intra_period=3)
    return path


def run(*arguments: object) -> int:
    """The exit code of a command in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def corvid(*arguments: object, **how: object) -> subprocess.Popen:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "codec.cli", *map(str, arguments)]
    return subprocess.Popen(command, **how)


def test_frames_from_the_nearest_intra_frame_on(stream: Path, checkpoint: Path, tmp_path: Path):
    """Catches frames off by one, and what was decoded to get there written too."""
    whole = decompress(stream, load_codec(checkpoint)).frames.permute(0, 2, 3, 1).numpy()
    for text, wanted in (("4:6", slice(4, 6)), ("5:", slice(5, None)), ("2", slice(0, 2))):
        out = tmp_path / "part.npy"
        assert not run("decompress", stream, out, "--checkpoint", checkpoint, "--frames", text)
        assert np.array_equal(np.load(out), whole[wanted])


@pytest.mark.parametrize("text", ["3:3", "5:2", "x", "-1:2", "7:9"])
def test_frames_that_are_none_are_one_line(
    text: str, stream: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches an empty file, or all frames."""
    out = tmp_path / "part.npy"
    given = ("--checkpoint", checkpoint, f"--frames={text}")
    assert run("decompress", stream, out, *given) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_scene_cuts_are_intra_frames(video: Path, checkpoint: Path, tmp_path: Path):
    """Catches a cut that is predicted from another scene, an intra frame where none is."""
    given = ("--checkpoint", checkpoint, "--scene-cuts")
    assert not run("compress", video, tmp_path / "a.cvd", *given)
    packets = read_stream(tmp_path / "a.cvd")[1]
    assert [packet.time for packet in packets if packet.intra] == [0, 4]


def test_pipes_give_the_same_as_files(video: Path, clip: Tensor, checkpoint: Path, tmp_path: Path):
    """Catches a stream or a video that needs a seekable file."""
    assert not run("decompress", "--help") and not run("compress", "--help")
    y4m = tmp_path / "clip.y4m"
    write_video(clip, FPS, y4m)
    given = ("--checkpoint", checkpoint, "--quality", 20)
    assert not run("compress", y4m, tmp_path / "a.cvd", *given)
    with y4m.open("rb") as file:
        coding = corvid("compress", "-", "-", *given, stdin=file, stdout=subprocess.PIPE)
        content, _ = coding.communicate()
    assert coding.returncode == 0 and content == (tmp_path / "a.cvd").read_bytes()
    decoding = corvid(
        *("decompress", "-", "-", "--checkpoint", checkpoint),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    shown, _ = decoding.communicate(content)
    (tmp_path / "out.y4m").write_bytes(shown)
    assert decoding.returncode == 0
    out = read_source(tmp_path / "out.y4m")
    assert (out.frames, out.fps) == (FRAMES, Fraction(30000, 1001))
    decoded = decompress(tmp_path / "a.cvd", load_codec(checkpoint)).frames
    assert (out.rgb.int() - decoded.int()).abs().float().mean() < 4  # 4:2:0 on the way


def test_an_interrupted_piped_encode_decodes_to_its_last_packet(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches packets that wait in a buffer when the encoder is killed, and an end without which
    nothing is read.
    """
    write_video(moving_clip(300, *SIZE), FPS, tmp_path / "long.y4m")
    cut = tmp_path / "cut.cvd"
    with cut.open("wb") as file:
        coding = corvid(
            "compress", tmp_path / "long.y4m", "-", "--checkpoint", checkpoint, stdout=file
        )
        while cut.stat().st_size < 3000 and coding.poll() is None:
            time.sleep(0.02)
        coding.send_signal(signal.SIGKILL)
        coding.wait()
    size = cut.stat().st_size
    assert run("decompress", cut, tmp_path / "a.npy", "--checkpoint", checkpoint) == DAMAGED
    frames = len(np.load(tmp_path / "a.npy"))
    error = capsys.readouterr().err
    assert f"after {frames} whole frames, at byte {size}: the stream is cut off" in error
    assert f"{frames} frames before it were written" in error and 0 < frames < 300


def test_damage_leaves_the_frames_before_it(
    stream: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches all frames lost for one, damaged ones written, a damaged file called whole."""
    content = bytearray(stream.read_bytes())
    content[-200] ^= 1
    bad = tmp_path / "bad.cvd"
    bad.write_bytes(content)
    assert run("decompress", bad, tmp_path / "a.npy", "--checkpoint", checkpoint) == DAMAGED
    got, error = np.load(tmp_path / "a.npy"), capsys.readouterr().err
    whole = decompress(stream, load_codec(checkpoint)).frames.permute(0, 2, 3, 1).numpy()
    assert 0 < len(got) < FRAMES and np.array_equal(got, whole[: len(got)])
    assert f"after {len(got)} whole frames" in error and error.count("\n") == 1
    assert run("verify", bad, "--checkpoint", checkpoint) == DAMAGED
    assert "whole         False" in capsys.readouterr().out
    assert run("info", bad) == DAMAGED
    assert f"frames        {len(got)}" in capsys.readouterr().out


def test_verify_says_whether_frames_are_the_encoders(
    stream: Path, video: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches a check that looks at nothing."""
    given = ("--checkpoint", checkpoint, "--json")
    assert not run("verify", stream, *given, "--source", video)
    found = json.loads(capsys.readouterr().out)
    assert found["identical"] and found["frames"] == FRAMES and found["error"] is None
    assert 25 < found["psnr"] < 60
    header, packets = read_stream(stream)
    write_stream(tmp_path / "other.cvd", header, packets, reconstruction=1)
    assert run("verify", tmp_path / "other.cvd", *given) == DIFFERS
    assert not json.loads(capsys.readouterr().out)["identical"]


def test_info_as_json(stream: Path, capsys: pytest.CaptureFixture[str]):
    """Catches fields that a script cannot read."""
    assert not run("info", stream, "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["width"], found["height"], found["fps"]) == (64, 48, "30000/1001")
    assert [one["intra"] for one in found["packets"]] == [t % 3 == 0 for t in range(FRAMES)]
    assert sum(one["bytes"] for one in found["packets"]) < found["bytes"]
    assert run("info", stream, "--max-pixels", 100) == 2
    assert "--max-pixels" in capsys.readouterr().err


@pytest.mark.parametrize("name, value", [("psnr", 32.0), ("kbps", 250.0)])
def test_targets_are_met(
    name: str,
    value: float,
    video: Path,
    clip: Tensor,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    """Catches a search that ends beside the target, and one of estimated bits."""
    out = tmp_path / "a.cvd"
    assert not run("compress", video, out, "--checkpoint", checkpoint, f"--target-{name}", value)
    assert not capsys.readouterr().err
    decoded = decompress(out, load_codec(checkpoint)).frames
    errors = (decoded.double() - clip.double()).square().mean((1, 2, 3))
    psnr = float((10 * (255**2 / errors).log10()).mean())
    kbps = 8 * out.stat().st_size * float(FPS) / FRAMES / 1000
    assert {"psnr": psnr, "kbps": kbps}[name] == pytest.approx(value, rel=0.05)


def test_a_target_out_of_reach_is_said(
    video: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches the nearest quality passed off as what was asked for."""
    out = tmp_path / "a.cvd"
    assert not run("compress", video, out, "--checkpoint", checkpoint, "--target-psnr", 90)
    assert "psnr 90 is out of reach: quality 6" in capsys.readouterr().err  # untrained: 61 to 63


def test_outputs_that_cannot_be_written_are_known_before_the_work(
    video: Path, stream: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches minutes of coding for nothing, and a traceback."""
    given = ("--checkpoint", checkpoint)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for arguments in (
        ("decompress", stream, tmp_path / "full"),
        ("decompress", stream, tmp_path / "a.avi"),
        ("compress", video, tmp_path / "none" / "a.cvd"),
        ("compress", video, tmp_path / f"{'a' * 300}.cvd"),
        ("decompress", stream, tmp_path / f"{'a' * 300}.mkv"),
    ):
        assert run(*arguments, *given) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(
    "name", ["50%d off", "a:b*", "-dash.mkv", "concat:x|y.mp4", f"{'a' * 247}.mkv"]
)
def test_names_are_taken_literally(
    name: str,
    stream: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches a name that ffmpeg takes for a pattern, an option or an address."""
    monkeypatch.chdir(tmp_path)
    assert not run("decompress", stream, "--checkpoint", checkpoint, "--", name)
    assert os.listdir(tmp_path) == [name]
    out = tmp_path / name
    if out.is_dir():
        assert sorted(os.listdir(out)) == [f"{t:05}.png" for t in range(FRAMES)]


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk is a small one mounted by root")
@pytest.mark.parametrize("suffix", [".npy", ".mkv", ".y4m", ""])
def test_a_full_disk_is_one_line(
    suffix: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches a traceback after the work, and half a file that stays."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        noise = torch.randint(256, (12, 3, 96, 128), dtype=torch.uint8)
        compress(load_codec(checkpoint), noise, FPS, 40, tmp_path / "a.cvd")
        out = disk / f"out{suffix}"
        assert run("decompress", tmp_path / "a.cvd", out, "--checkpoint", checkpoint) == 2
        error = capsys.readouterr().err
        assert "free space" in error and error.count("\n") == 1 and not list(disk.iterdir())
        video = write_video(noise, FPS, tmp_path / "noise.mkv")
        given = ("--checkpoint", checkpoint, "--quality", 63)
        assert run("compress", video, disk / "a.cvd", *given) == 2
        error = capsys.readouterr().err
        assert "Free space" in error and error.count("\n") == 1 and not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_closed_pipe_is_one_line(video: Path, checkpoint: Path, tmp_path: Path):
    """Catches a traceback for `| head`."""
    write_video(moving_clip(60, *SIZE), FPS, tmp_path / "long.mkv")
    coding = corvid(
        *("compress", tmp_path / "long.mkv", "-", "--checkpoint", checkpoint, "--quality", 63),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    coding.stdout.read(10)
    coding.stdout.close()
    error = coding.stderr.read().decode()
    assert coding.wait() == 2 and "has closed it" in error and "Traceback" not in error


def test_sound_is_kept_beside_the_stream(clip: Tensor, checkpoint: Path, tmp_path: Path):
    """Catches sound that is lost, or coded again."""
    import av

    source = tmp_path / "sound.mkv"
    with av.open(str(source), "w") as container:
        pictures = container.add_stream("ffv1", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = SIZE[1], SIZE[0], "bgr0"
        sound = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        for frame in clip:
            picture = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).numpy().copy(), "rgb24")
            container.mux(pictures.encode(picture.reformat(format="bgr0")))
        tone = av.AudioFrame(format="s16", layout="mono", samples=4096)
        tone.sample_rate = 48000
        container.mux(sound.encode(tone))
        container.mux(pictures.encode())
        container.mux(sound.encode())
    given = ("--checkpoint", checkpoint, "--audio", "copy")
    assert not run("compress", source, tmp_path / "a.cvd", *given)
    assert not run("decompress", tmp_path / "a.cvd", tmp_path / "out.mkv", *given)

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    assert packets(tmp_path / "out.mkv") == packets(source) != []
