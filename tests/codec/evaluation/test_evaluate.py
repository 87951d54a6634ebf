"""The loop from clips to rd.json and bd_rate.json, with a real anchor and a made-up codec."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_up_codecs import Zipped

from codec.anchors import X265
from codec.errors import CodecError
from codec.evaluation import Evaluation, evaluate, load
from codec.evaluation.measure import Measure
from data.sequences import Sequence

QPS = (20, 26, 32, 38)


@pytest.fixture(scope="module")
def measure() -> Measure:
    return Measure(["psnr_rgb", "lpips_alex"], every=3)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def found(output: Path, clips: list[Path], measure: Measure) -> Evaluation:
    return evaluate([Zipped()], [X265(qualities=QPS)], clips, output, measure, frames=4)


def test_every_codec_clip_quality_and_tuning_has_a_point(found: Evaluation, output: Path):
    """Catches points that are skipped, bytes that are not the file's, and paths of the machine in
    results.
    """
    result = load(output / "rd.json")
    assert result == found.result
    assert len(result.points) == 2 * (5 + 2 * len(QPS))
    for point in result.points:
        content = (output / point.file).read_bytes()
        assert point.bytes == len(content) and point.sha256 == hashlib.sha256(content).hexdigest()
        assert point.frames == 4 and set(point.metrics) == {"psnr_rgb", "lpips_alex"}
        assert (point.width, point.height) == {"even": (64, 48), "odd": (45, 33)}[point.clip]
    assert str(output) not in (output / "rd.json").read_text()


def test_bd_rate_file_has_the_documented_fields(found: Evaluation, output: Path):
    """Catches anchor and codec swapped: the made-up codec needs far more rate than x265, in every
    metric and clip.
    """
    rows = json.loads((output / "bd_rate.json").read_text())
    assert rows == [comparison.to_json() for comparison in found.comparisons]
    assert [(row["metric"], row["clip"]) for row in rows] == [
        (metric, clip) for metric in ("psnr_rgb", "lpips_alex") for clip in ("even", "odd", "mean")
    ]
    for row in rows:
        assert {"anchor", "codec", "metric", "clip", "bd_rate_percent", "overlap"} <= row.keys()
        assert (row["anchor"], row["codec"]) == ("x265_medium", "zipped")
        assert row["bd_rate_percent"] > 100 and 0 < row["overlap"] <= 1


def test_conditions_let_a_stranger_repeat_it(found: Evaluation):
    """Catches conditions that leave out versions, the colour path, the backbone or the chosen
    frames.
    """
    conditions = found.result.conditions
    assert (
        conditions["versions"]["torch"] == torch.__version__.split("+")[0]
        and conditions["git_commit"]
    )
    assert (
        conditions["clips"]["even"]["read"].startswith("4:2:0")
        and "bt601" in conditions["clips"]["even"]["colour"]
    )
    assert (
        conditions["clips"]["odd"]["read"].startswith("RGB")
        and len(conditions["clips"]["odd"]["sha256"]) == 64
    )
    assert (
        "sha256" in conditions["metrics"]["lpips_alex"]
        and "0, 3, 6" in conditions["metrics"]["lpips_alex"]
    )
    assert "x265" in conditions["codecs"]["x265_medium"] and conditions["frames_per_clip"] == 4


def test_anchors_alone_are_compared_with_the_first(
    clips: list[Path], measure: Measure, tmp_path: Path
):
    """Catches an evaluation that needs a checkpoint to compare standard codecs; HEVC against itself
    is 0.00 %.
    """
    twice = [X265(qualities=QPS), X265(name="again", qualities=QPS)]
    comparisons = evaluate([], twice, clips[:1], tmp_path, measure, frames=2).comparisons
    assert {(c.anchor, c.codec) for c in comparisons} == {("x265_medium", "again")}
    assert all(
        c.bd_rate_percent == pytest.approx(0, abs=1e-9) and c.overlap == 1 for c in comparisons
    )


def test_frames_of_another_size_are_an_error(clips: list[Path], measure: Measure, tmp_path: Path):
    """Catches a codec that crops: its missing pixels would count as perfect, or shift
    every other.
    """
    with pytest.raises(CodecError, match="zipped: even at quality 2 was decoded to"):
        evaluate([replace(Zipped(), crop=1)], [], clips[:1], tmp_path, measure)


def test_names_are_keys(clips: list[Path], measure: Measure, tmp_path: Path):
    """Catches two clips or codecs of one name that overwrite each other's files and
    share a curve.
    """
    with pytest.raises(CodecError, match="clips share the name .*_even_0"):
        evaluate([Zipped()], [], [clips[0], clips[0]], tmp_path, measure)
    with pytest.raises(CodecError, match="codecs share the name zipped"):
        evaluate([Zipped()], [Zipped()], clips, tmp_path, measure)
    with pytest.raises(CodecError, match="no codec or no clip"):
        evaluate([], [], clips, tmp_path, measure)


def test_clips_of_one_name_get_fuller_names(clips: list[Path], measure: Measure, tmp_path: Path):
    """Catches sets whose files are told apart by their folders (Vimeo's septuplets), and parts of
    one file, that are refused.
    """
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        shutil.copy(clips[0], tmp_path / folder / "im.mp4")
    two = [tmp_path / folder / "im.mp4" for folder in ("first", "second")]
    parts = [Sequence(clips[1], first=0, frames=2), Sequence(clips[1], first=2, frames=2)]
    given = [*two, *parts]
    result = evaluate(
        [Zipped(qualities=(2,))], [], given, tmp_path / "out", measure, classes=["A", "A", "B", "B"]
    ).result
    folder = clips[1].resolve().parent.name
    assert result.clips() == ["first_im", "second_im", f"{folder}_odd_0", f"{folder}_odd_2"]
    assert [clip["class"] for clip in result.conditions["clips"].values()] == ["A", "A", "B", "B"]
    assert all((tmp_path / "out" / point.file).is_file() for point in result.points)
