import json
from pathlib import Path

import pytest
import torch
from small_codec import FPS, moving_clip

from codec.cli import main
from codec.evaluation.complexity import job
from codec.evaluation.complexity.job import ComplexityJob, job_of
from codec.evaluation.complexity.profiler import panning_clip
from data.io.writer import write_video


def test_the_command_prints_and_writes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Catches tables that cannot be drawn, a total that is not the sum of its parts, and JSON that
    is none.
    """
    file = tmp_path / "complexity.json"
    before = torch.get_num_threads()
    main(
        [
            "complexity",
            "motion=implicit",
            "width=16",
            "size=64x48",
            "repeats=1",
            "threads=1",
            f"json={file}",
        ]
    )
    out = capsys.readouterr().out
    content = json.loads(file.read_text())
    assert out.splitlines()[-1] == content["header"] and content["header"].endswith(
        "(predicted frame, 64x48)"
    )
    assert (
        "residual entropy" in out
        and "Symbols a frame" in out
        and f"{content['predicted']['coded']['residual']:,}" in out
    )
    assert (content["threads"], torch.get_num_threads()) == (1, before)
    for kind in ("intra", "predicted"):
        for direction in ("encoding", "decoding"):
            for name, value in content[kind]["total"][direction].items():
                assert value == pytest.approx(
                    sum(part[name] for part in content[kind][direction].values())
                )


def test_the_precision_is_said(
    checkpoint: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """Catches milliseconds of which nobody knows the arithmetic, and auto that stays a word."""
    monkeypatch.setattr("codec.precision.multiplies_bf16", lambda device: False)
    for words, said in (
        (["width=16"], "fp32"),
        ([f"checkpoint={checkpoint}", "precision=bf16"], "bf16"),
    ):
        main(["complexity", *words, "size=64x48", "repeats=0"])
        assert f"quality 32, {said} on the CPU" in capsys.readouterr().out


def test_a_checkpoint_and_a_clip_are_measured(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Catches overrides that replace a checkpoint's networks, and a clip that is not cropped to the
    size.
    """
    video = write_video(moving_clip(4, 50, 70), FPS, tmp_path / "clip.mkv")
    main(["complexity", f"checkpoint={checkpoint}", f"clip={video}", "repeats=0"])
    assert capsys.readouterr().out.endswith("(predicted frame, 70x50)\n")
    assert ComplexityJob(clip=str(video), size=(33, 20)).frames().shape == (3, 3, 20, 33)


@pytest.mark.parametrize(
    "words, said",
    [
        (["size=64"], "WIDTHxHEIGHT expected"),
        (["size=8x8"], "8×8 given"),
        (["codec=nothing"], "Could not find 'codec/nothing'"),
        (["widht=16"], "widht=16: Could not override 'widht'"),
        (["motion.smallest=12"], "motion.smallest: 12, largest: 64; choose from"),
        (["width=[16"], "width=[16"),
        (["demo"], "demo: not understood"),
        (["quality=64", "size=32x32", "width=16"], "quality: 64 given"),
        (["threads=0"], "at least 1"),
        (["precision=bf17"], "precision: 'bf17' given; choose from auto"),
        (["checkpoint=none.ckpt"], "none.ckpt does not exist"),
        (["checkpoint=none.ckpt", "width=3"], "leave out width=3"),
        (["clip=none.mp4"], "none.mp4"),
        (["clip=CLIP"], "at least 3 of"),
        (["json=nowhere/a.json"], "its folder does not exist"),
        (["clip="], "clip=: empty"),
    ],
)
def test_bad_words_are_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Catches tracebacks and Hydra's pages for what a user can put right."""
    if words == ["clip=CLIP"]:
        words = [f"clip={write_video(moving_clip(2, 32, 32), FPS, tmp_path / 'short.mkv')}"]
    with pytest.raises(SystemExit) as stop:
        main(["complexity", *words])
    errors = capsys.readouterr().err
    assert stop.value.code == 2 and said in errors and errors.count("\n") == 1


def test_without_a_checkout_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """Catches an installed package that looks for configs beside it and says something else."""
    monkeypatch.setattr(job, "CONF", tmp_path)
    with pytest.raises(SystemExit):
        main(["complexity", "codec=demo", "size=32x32"])
    assert f"{tmp_path}: no train.yaml" in capsys.readouterr().err


def test_the_synthetic_clip_pans():
    """Catches a clip that stands still, or one that is another every time."""
    clip = panning_clip(3, 96, 64)
    assert clip.shape == (3, 3, 64, 96) and torch.equal(clip, panning_clip(3, 96, 64))
    still = (clip[0].int() - clip[1].int()).abs().float().mean()
    moved = (clip[0, :, 2:, 3:].int() - clip[1, :, :-2, :-3].int()).abs().float().mean()
    assert moved < 2 < still and clip.float().std() > 20
    assert job_of([]).size is None
