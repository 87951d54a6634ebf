"""Points kept, made in several processes, interrupted, and made on a cluster (a stand-in)."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up_codecs import Zipped

from codec.anchors import X265
from codec.errors import CodecError
from codec.evaluation import Evaluation, evaluate, memory
from codec.evaluation.measure import Measure
from codec.evaluation.points import executor
from codec.evaluation.points.cache import Store
from codec.evaluation.points.executor import Forecast, Running
from codec.evaluation.points.task import Task
from common.resources import free_memory
from data.io.writer import write_video

ANCHOR = X265(qualities=(20, 30, 40), preset="ultrafast", tunes=("psnr",))
TIMES = ("encode_seconds", "decode_seconds")


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with nothing kept."""
    monkeypatch.setenv("CORVID_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def measure() -> Measure:
    return Measure(["psnr_rgb"])


@pytest.fixture
def own_clips(clips: list[Path], tmp_path: Path) -> list[Path]:
    """Copies that a test may change."""
    return [Path(shutil.copy(clip, tmp_path)) for clip in clips]


@pytest.fixture
def zipped(tmp_path: Path) -> Zipped:
    """Writes down what it codes."""
    return Zipped(log=str(tmp_path / "log"))


def coded(zipped: Zipped) -> list[str]:
    """What it has coded since this was last asked."""
    log = Path(zipped.log)
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def without_times(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """An `rd.json` less seconds, and the files."""
    result = json.loads((folder / "rd.json").read_text())
    for point in result["points"]:
        assert all(point.pop(name) >= 0 for name in TIMES)
    return result, {
        str(file.relative_to(folder)): file.read_bytes() for file in folder.glob("streams/*/*")
    }


def test_the_second_time_nothing_is_coded(
    own_clips: list[Path], zipped: Zipped, measure: Measure, tmp_path: Path
):
    """Catches points that are made again, results that change by being kept, and seconds of finding
    in place of coding.
    """
    first = evaluate([zipped], [ANCHOR], own_clips, tmp_path / "a", measure)
    assert len(coded(zipped)) == 10
    second = evaluate([zipped], [ANCHOR], own_clips, tmp_path / "b", measure)
    assert coded(zipped) == []
    assert (tmp_path / "a" / "rd.json").read_bytes() == (tmp_path / "b" / "rd.json").read_bytes()
    assert (
        without_times(tmp_path / "a")[1] == without_times(tmp_path / "b")[1]
        and second.comparisons == first.comparisons
    )


def test_it_says_what_it_will_do_and_for_how_long(
    own_clips: list[Path],
    zipped: Zipped,
    measure: Measure,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
):
    """Catches an evaluation that is silent until its first point, one that forgets what points
    took, and a line a point.
    """
    evaluate([zipped], [], own_clips[:1], tmp_path / "a", measure)
    plan, time_left = capsys.readouterr().err.splitlines()
    assert plan == "evaluate: 5 points of 1 codec on 1 clip, 0 of them kept from before, 5 to make"
    assert re.fullmatch(
        r"about \d+ s with 1 at once, a guess until each codec has made a point", time_left
    )
    evaluate([zipped], [], own_clips, tmp_path / "b", measure)
    plan, time_left = capsys.readouterr().err.splitlines()
    assert (
        plan == "evaluate: 10 points of 1 codec on 2 clips, 5 of them kept from before, 5 to make"
    )
    assert time_left.endswith("as these codecs took before")
    evaluate([zipped], [], own_clips, tmp_path / "b", measure)
    assert capsys.readouterr().err.splitlines() == [
        plan.replace(" 5 of", " 10 of").replace("5 to make", "0 to make")
    ]


def test_a_forecast_follows_the_points(tmp_path: Path):
    """Catches time left by number of points: those of a slow codec and a large clip come last."""
    store = Store(tmp_path)
    tasks = [
        Task(coder, None, None, quality, None, f"{coder.name}{pixels}{quality}", {}, pixels)
        for coder, pixels in ((ANCHOR, 100), (ANCHOR, 400), (Zipped(), 100))
        for quality in (1, 2)
    ]
    forecast = Forecast(tasks, store, jobs=1)
    assert (
        forecast.is_a_guess()
        and 0 < forecast.seconds() < 3
        and forecast.seconds_once_measured() is None
    )
    before = forecast.seconds()
    forecast.made(tasks[0], 1.0)
    assert forecast.seconds() > before  # this machine is slower than guessed
    forecast.made(tasks[4], 10.0)
    assert not forecast.is_a_guess() and forecast.seconds() == pytest.approx(1 + 4 + 4 + 10)
    later = Forecast(tasks, store, jobs=4)
    assert not later.is_a_guess() and later.seconds() == pytest.approx(
        (1 + 1 + 4 + 4 + 10 + 10) / 4
    )


def test_only_what_has_changed_is_made_again(
    own_clips: list[Path], zipped: Zipped, measure: Measure, tmp_path: Path
):
    """Catches a changed clip that is not seen, and one that makes others be made again; a new
    metric needs no new coding.
    """
    evaluate([zipped], [ANCHOR], own_clips, tmp_path / "a", measure)
    coded(zipped)
    own_clips[1].touch()
    evaluate([zipped], [ANCHOR], own_clips, tmp_path / "a", measure)
    assert coded(zipped) == []
    write_video(torch.full((3, 3, 32, 32), 90, dtype=torch.uint8), Fraction(25), own_clips[1])
    evaluate([zipped], [ANCHOR], own_clips, tmp_path / "a", measure)
    assert coded(zipped) == [f"odd {quality}" for quality in zipped.qualities]
    evaluate([replace(zipped, qualities=(2, 3))], [], own_clips[:1], tmp_path / "a", measure)
    assert coded(zipped) == ["even 3"]


def test_a_new_metric_decodes_what_is_kept(
    own_clips: list[Path], measure: Measure, tmp_path: Path, monkeypatch
):
    """Catches hours of coding for a metric that was forgotten, and scores of the old metrics under
    the new rules.
    """
    evaluate([], [ANCHOR], own_clips[:1], tmp_path / "a", measure)
    monkeypatch.setattr(X265, "code", lambda *arguments: pytest.fail("coded again"))
    result = evaluate(
        [], [ANCHOR], own_clips[:1], tmp_path / "a", Measure(["psnr_rgb", "psnr_y"])
    ).result
    assert result.metrics() == ["psnr_rgb", "psnr_y"] and all(
        len(point.per_frame["psnr_y"]) == 4 for point in result.points
    )


def test_a_metric_more_scores_only_that(
    own_clips: list[Path], zipped: Zipped, tmp_path: Path, monkeypatch
):
    """Catches slow metrics computed again because another one was added, and their notes and frames
    lost.
    """
    evaluate([], [ANCHOR], own_clips[:1], tmp_path / "a", Measure(["psnr_rgb", "ms_ssim"]))
    asked, score = [], Measure.score
    monkeypatch.setattr(
        Measure, "score", lambda self, *pair: asked.append(self.metrics) or score(self, *pair)
    )
    result = evaluate(
        [], [ANCHOR], own_clips[:1], tmp_path / "a", Measure(["ms_ssim", "psnr_y", "psnr_rgb"])
    ).result
    assert asked == [["psnr_y"]] * 3
    for point in result.points:
        assert (
            list(point.metrics) == ["ms_ssim", "psnr_y", "psnr_rgb"]
            and point.metrics["ms_ssim"] is None
        )
        assert len(point.per_frame["psnr_rgb"]) == 4 and "below" in point.extra["notes"][0]


def test_a_kept_file_that_decodes_otherwise_here_is_coded_again(
    own_clips: list[Path], measure: Measure, tmp_path: Path, monkeypatch
):
    """Catches a store shared with another kind of machine that ends every evaluation
    with an error.
    """
    evaluate([], [ANCHOR], own_clips[:1], tmp_path / "a", measure)

    def other_frames(*arguments: Any) -> None:
        raise CodecError("decodes to other frames")

    monkeypatch.setattr(X265, "decode", other_frames)
    result = evaluate([], [ANCHOR], own_clips[:1], tmp_path / "a", Measure(["psnr_y"])).result
    assert len(result.points) == 3 and all(point.metrics["psnr_y"] for point in result.points)


def test_nothing_is_kept_where_nothing_shall_be(
    own_clips: list[Path], zipped: Zipped, measure: Measure, tmp_path: Path
):
    """Catches `cache=false` that writes into the home folder, or leaves its points in
    the output.
    """
    for _ in range(2):
        evaluate([zipped], [], own_clips[:1], tmp_path / "a", measure, running=Running(cache=False))
        assert len(coded(zipped)) == 5
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "bd_rate.json",
        "rd.json",
        "streams",
    ]
    assert not (Path(os.environ["CORVID_HOME"]) / "evaluation").exists()


def test_any_number_of_processes_gives_the_same(
    own_clips: list[Path], zipped: Zipped, measure: Measure, tmp_path: Path
):
    """Catches points in the order they were finished, and floats that depend on how many are made
    at once.
    """
    found: list[Evaluation] = []
    for jobs in (1, 3):
        how = Running(jobs=jobs, cache=tmp_path / f"cache{jobs}")
        found.append(
            evaluate([zipped], [ANCHOR], own_clips, tmp_path / str(jobs), measure, running=how)
        )
        assert len(coded(zipped)) == 10
    assert without_times(tmp_path / "1") == without_times(tmp_path / "3")
    assert found[0].comparisons == found[1].comparisons


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_keeps_what_was_finished(
    jobs: int, own_clips: list[Path], zipped: Zipped, measure: Measure, tmp_path: Path
):
    """Catches an evaluation that starts from the beginning after an error, and an error without the
    codec's words.
    """
    fragile, broken = replace(zipped, broken=32), Path(f"{zipped.log}.broken")
    broken.touch()
    for _ in range(2):
        with pytest.raises(CodecError, match="zipped: quality 32 is broken"):
            evaluate(
                [fragile], [], own_clips[:1], tmp_path / "a", measure, running=Running(jobs=jobs)
            )
    assert sorted(coded(fragile)) == ["even 16", "even 2", "even 4", "even 8"]
    broken.unlink()
    evaluate([fragile], [], own_clips[:1], tmp_path / "a", measure, running=Running(jobs=jobs))
    assert coded(fragile) == ["even 32"]


KILLED = """
import sys, time
from pathlib import Path
from made_up_codecs import Zipped
from common.resources import free_memory
from codec.evaluation import evaluate
from codec.evaluation.measure import Measure
from codec.evaluation.points.executor import Running
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    zipped = Zipped(log=str(folder / "log"), qualities=tuple(range(2, 100)))
    measure = Measure(["psnr_rgb"])
    evaluate([zipped], [], [sys.argv[2]], folder / "a", measure, running=Running(jobs=2))
"""


def test_a_killed_evaluation_leaves_no_process_and_goes_on(
    clips: list[Path], zipped: Zipped, measure: Measure, tmp_path: Path
):
    """Catches workers that go on after their parent was killed, and points that are
    lost with it.
    """
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    paths = os.pathsep.join([str(Path(__file__).parents[3]), str(Path(__file__).parents[4])])
    run = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(clips[0])],
        env={**os.environ, "PYTHONPATH": paths},
    )
    while not Path(zipped.log).exists() or len(Path(zipped.log).read_text().splitlines()) < 5:
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    before = -1
    while before != len(Path(zipped.log).read_text()):
        before = len(Path(zipped.log).read_text())
        time.sleep(2)
    finished = len(coded(zipped))
    assert 5 <= finished < 98
    many = replace(zipped, qualities=tuple(range(2, 100)))
    evaluate([many], [], clips[:1], tmp_path / "a", measure)
    assert 98 - finished <= len(coded(zipped)) <= 98 - finished + 3


def test_jobs_of_a_cluster_fill_the_store(
    own_clips: list[Path], zipped: Zipped, measure: Measure, tmp_path: Path, monkeypatch
):
    """Catches points that no part makes, parts of one codec each, and a result other than that of
    one process.
    """
    parts: list[list[str]] = []

    def stand_in(function, arguments, launcher, folder, at_once, **options):
        assert (launcher, at_once, options) == ("slurm", 2, {"cpus_per_task": 1, "time": 5})
        for each in arguments:
            function(*each)
            parts.append(coded(zipped))

    monkeypatch.setattr(executor, "run_parts", stand_in)
    how = Running(
        launcher="slurm", slurm={"parts": 3, "at_once": 2, "time": 5}, cache=tmp_path / "shared"
    )
    evaluate([zipped], [ANCHOR], own_clips, tmp_path / "slurm", measure, running=how)
    assert len(parts) == 3 and all(parts) and sum(map(len, parts)) == 10
    evaluate(
        [zipped],
        [ANCHOR],
        own_clips,
        tmp_path / "here",
        measure,
        running=Running(cache=tmp_path / "own"),
    )
    assert without_times(tmp_path / "slurm") == without_times(tmp_path / "here")


def test_complexity_is_measured_apart_and_once(
    own_clips: list[Path], zipped: Zipped, measure: Measure, tmp_path: Path
):
    """Catches speeds of parallel runs in the table, codecs without figures that stop everything,
    and measuring every time.
    """
    how = Running(complexity=True)
    first, second = (
        evaluate([zipped], [ANCHOR], own_clips, tmp_path, measure, running=how).result
        for _ in range(2)
    )
    cost = first.conditions["codecs"]["x265_medium"]["complexity"]
    assert cost["encode_fps"] > 0 and cost["clip"] == "even.mp4" and cost["machine"]
    assert first.conditions["codecs"]["zipped"]["complexity"] is None
    assert second.conditions == first.conditions


def test_jobs_fit_into_memory(monkeypatch: pytest.MonkeyPatch):
    """Catches processes that are killed because there are as many as cores, and none at all where
    memory is short.
    """
    needed = memory.need(1920, 1080, 96)
    assert 4e9 < needed < 12e9 and memory.need(1920, 1080, 96, processes=2) == 2 * needed
    assert free_memory() is None or free_memory() > 1 << 26
    for room, jobs in ((16e9, 16e9 // needed), (1e9, 1), (None, 64), (1e15, 64)):
        monkeypatch.setattr(memory, "free_memory", lambda room=room: room)
        assert memory.fitting(64, needed) == jobs
