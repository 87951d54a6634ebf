import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_codec import FPS, moving_clip
from torch import Tensor

from codec.checkpoint import load_codec
from codec.cli import main
from codec.cli.coding import warn_if_emulated
from codec.stream import compress, frames_sha256, read_stream
from data.io.source_clip import read_source
from data.io.writer import write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short real file."""
    return write_video(moving_clip(4, 72, 88), FPS, tmp_path_factory.mktemp("video") / "clip.mkv")


@pytest.mark.parametrize("height, width, frames", [(143, 175, 3), (120, 160, 1), (96, 54, 2)])
def test_another_process_decodes_the_encoders_reconstruction(
    height: int, width: int, frames: int, checkpoint: Path, tmp_path: Path, capsys
):
    """Catches a decoder that needs anything but the file (the codec is found by its hash); and
    other threads' rounding unsaid.
    """
    video = write_video(moving_clip(frames, height, width), FPS, tmp_path / "clip.mkv")
    main(
        [
            "compress",
            str(video),
            str(tmp_path / "a.cvd"),
            "--checkpoint",
            str(checkpoint),
            "--quality",
            "20",
        ]
    )
    said = f"{(tmp_path / 'a.cvd').stat().st_size} bytes, {frames} frames of {width}×{height}"
    assert said in capsys.readouterr().out
    written = compress(load_codec(checkpoint), read_source(video).rgb, FPS, 20, tmp_path / "b.cvd")
    assert read_stream(tmp_path / "b.cvd")[1] == read_stream(tmp_path / "a.cvd")[1]

    same, _ = decoded_elsewhere(tmp_path / "a.cvd", tmp_path / "same.npy", torch.get_num_threads())
    assert frames_sha256(same) == written.reconstruction_sha256
    other, said = decoded_elsewhere(
        tmp_path / "a.cvd", tmp_path / "other.npy", torch.get_num_threads() % 2 + 1
    )
    assert torch.equal(other, same) != ("pictures differ from the encoder's by rounding" in said)
    assert (other.int() - same.int()).abs().float().mean() < 0.1


def decoded_elsewhere(file: Path, out: Path, threads: int) -> tuple[Tensor, str]:
    """Frames `(T, 3, H, W)` from a process with `threads` threads, and what it printed."""
    command = [sys.executable, "-m", "codec.cli", "decompress", str(file), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return torch.from_numpy(np.load(out)).permute(0, 3, 1, 2), done.stdout


def test_another_precision_is_said(
    video: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Catches frames that are not the encoder's, or a precision, without a word; and options that
    go nowhere.
    """
    file, out = str(tmp_path / "a.cvd"), str(tmp_path / "out.npy")
    main(["compress", str(video), file, "--checkpoint", str(checkpoint), "--precision", "bf16"])
    assert capsys.readouterr().out.endswith(" s in bf16\n")
    for precision, said in (
        ("stream", ""),
        ("bf16", ""),
        ("fp32", "not the encoder's bit by bit, which computed in bf16"),
    ):
        main(["decompress", file, out, "--precision", precision])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].endswith(" s in fp32" if said else " s in bf16") and said in "".join(
            lines[1:]
        )
        assert len(lines) == (2 if said else 1)
    with pytest.raises(SystemExit):
        main(["decompress", file, out, "--precision", "fp8"])
    assert "invalid choice" in capsys.readouterr().err


@pytest.mark.parametrize("has_bf16", [False, True])
def test_what_is_emulated_is_said_before_the_work(
    has_bf16: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """Catches an hour of emulated arithmetic without a word, and a word where nothing is slow or
    can be changed.
    """
    monkeypatch.setattr("codec.precision.multiplies_bf16", lambda device: has_bf16)
    monkeypatch.setattr("codec.precision.slower_here", lambda name, device: f"{name} is slow")
    for precision in ("auto", "fp32", "bf16"):
        warn_if_emulated(precision)
    said = capsys.readouterr()
    assert not said.out and said.err == (
        "" if has_bf16 else "bf16 is slow; --precision auto computes in what is fastest\n"
    )


def test_info_names_the_header(video: Path, checkpoint: Path, tmp_path: Path, capsys):
    """Catches a header that says something else than what was coded."""
    main(
        [
            "compress",
            str(video),
            str(tmp_path / "a.cvd"),
            "--checkpoint",
            str(checkpoint),
            "--frames",
            "2",
        ]
    )
    main(["info", str(tmp_path / "a.cvd")])
    out = capsys.readouterr().out
    assert (
        "frames        2" in out
        and "qualities     32 to 32" in out
        and "fps           30000/1001" in out
    )


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["compress", "VIDEO", "OUT", "--checkpoint", "none.ckpt"], "none.ckpt does not exist"),
        (["compress", "none.mp4", "OUT", "--checkpoint", "CHECKPOINT"], "none.mp4"),
        (["compress", "VIDEO", "OUT", "--checkpoint", "CHECKPOINT", "--quality", "64"], "from 0"),
        (["compress", "VIDEO", "OUT", "--checkpoint", "VIDEO"], "not a readable checkpoint"),
        (["decompress", "VIDEO", "OUT"], "not a .cvd file"),
        (
            ["compress", "VIDEO", "nowhere/a.cvd", "--checkpoint", "CHECKPOINT"],
            "its folder does not exist",
        ),
        (["compress", "VIDEO", "a.mp4", "--checkpoint", "CHECKPOINT"], "ends in .cvd"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], said: str, video: Path, checkpoint: Path, tmp_path: Path, capsys
):
    """Catches tracebacks, and errors that do not name the file."""
    names = {"VIDEO": video, "CHECKPOINT": checkpoint, "OUT": tmp_path / "out.cvd"}
    with pytest.raises(SystemExit) as stop:
        main([str(names.get(a, a)) for a in arguments])
    errors = capsys.readouterr().err
    assert stop.value.code == 2 and said in errors and errors.count("\n") == 1


def test_another_codec_is_refused(video: Path, checkpoint: Path, tmp_path: Path, capsys):
    """Catches decoding with the wrong weights, which would give noise; both hashes are named."""
    main(
        [
            "compress",
            str(video),
            str(tmp_path / "a.cvd"),
            "--checkpoint",
            str(checkpoint),
            "--frames",
            "1",
        ]
    )
    content = torch.load(checkpoint, weights_only=True)
    content["codec"]["residual.transform.start"][0] += 1
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(SystemExit):
        main(
            [
                "decompress",
                str(tmp_path / "a.cvd"),
                str(tmp_path / "o.npy"),
                "--checkpoint",
                str(tmp_path / "other.ckpt"),
            ]
        )
    assert "written by the codec" in capsys.readouterr().err


def test_ctrl_c_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Catches a page of traceback for something that loses nothing."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("data.index.build.build_index", stop)
    with pytest.raises(SystemExit) as ended:
        main(["data", "index", str(tmp_path), "-o", str(tmp_path / "i.parquet")])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted; run the same command again, it goes on\n"
