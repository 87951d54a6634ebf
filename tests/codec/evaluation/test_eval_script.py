"""`eval.py` as a user calls it."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script from the root of the repository."""
    return subprocess.run(
        [sys.executable, "eval.py", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_one_command_writes_everything(clips: list[Path], tmp_path: Path):
    """Catches a config that does not compose, a file that is not written, and a path that is not
    printed.
    """
    anchor = "anchors=[{x265_medium: {qualities: [20, 24, 28, 32, 36, 40]}}]"
    done = call(
        f"clips={clips[0]}",
        "frames=2",
        f"output={tmp_path}",
        "metrics=[psnr_rgb]",
        anchor,
        "jobs=2",
    )
    assert done.returncode == 0, done.stderr
    for name in ("rd.json", "bd_rate.json", "report.html"):
        assert (tmp_path / name).is_file() and str(tmp_path / name) in done.stdout
    assert (tmp_path / "rd_psnr_rgb.png").is_file() and "rd_psnr_rgb.png" in done.stdout
    assert all(
        "nothing to compare it with" in text
        for text in (done.stdout, (tmp_path / "report.html").read_text())
    )
    assert (
        len(json.loads((tmp_path / "rd.json").read_text())["points"]) == 6
    )  # in the tuning for PSNR alone
    assert (tmp_path / "config.yaml").is_file() and (tmp_path / "record.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["anchors=[hevc]"], "no 'hevc' in conf/anchor; choose from all_intra, "),
        (
            ["anchors=[{x265_medium: {qp: 3}}]"],
            "x265_medium has no field qp; conf/anchor/x265_medium.yaml has family, name, preset",
        ),
        (["anchors=[hm]"], "hm: encoder: not given; give paths of your build of HM"),
        (["jobs=0"], "jobs: 0; give 1 or more"),
        (["launcher=pbs"], "launcher: 'pbs' is unknown; choose one of local, slurm"),
        (["device=cuda:99"], "device: 'cuda:99' cannot be used"),
        (
            ["anchors=[{x265_medium: {qualities: [22.5, 30]}}]"],
            "give QPs, whole numbers between 0 and 51",
        ),
        (["output=/dev/null/below"], "/dev/null"),
        (["anchors=null"], "no codec or no clip"),
        (["checkpoint=a.ckpt", "qualities=[0,64]"], "corvid: qualities: quality: 64 given"),
        (["anchors=[all_intra]"], "all_intra: no checkpoint; name one with checkpoint=FILE_OR_RUN"),
        (["metrics=[ssimulacra]"], "choose from psnr_rgb"),
        (["clips=no/such/clip.mp4"], "no/such/clip.mp4"),
        (["clips=???"], "clips"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    clips: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Catches a traceback where a line with the remedy is enough, and an exit code of success."""
    monkeypatch.setattr(
        sys, "argv", ["eval.py", f"clips={clips[0]}", f"output={tmp_path}", *arguments]
    )
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "eval.py"), run_name="__main__")
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and message in said and said.count("\n") == 1
