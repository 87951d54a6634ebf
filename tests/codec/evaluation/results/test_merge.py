"""Results put together: what may differ, what may not, and what is said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up_results import points, result

from codec.errors import CodecError
from codec.evaluation import RDResult, compare, save
from codec.evaluation.results.merge import merge, merge_files


def changed(made: RDResult, part: str, name: str, **values: Any) -> RDResult:
    """A result with a clip's, codec's or metric's conditions changed."""
    own = made.conditions[part]
    return replace(
        made, conditions={**made.conditions, part: {**own, name: {**own[name], **values}}}
    )


def test_codecs_of_two_results_come_into_one_table():
    """Catches codecs or clips that are lost, an anchor that both have taken twice, and its place
    among the codecs.
    """
    merged = merge([result("x265", "a"), result("x265", "b")])
    assert merged.codecs() == ["x265", "a", "b"] and merged.clips() == ["one", "two"]
    assert len(merged.points) == 3 * 2 * 4 and list(merged.conditions["codecs"]) == [
        "x265",
        "a",
        "b",
    ]
    assert len(compare(merged, ["x265"], ["a", "b"])) == 2 * 3
    assert "results" not in merged.conditions and merged.conditions["versions"] == {"torch": "2"}


def test_versions_and_machines_stay_with_their_result():
    """Catches numbers of two machines under one machine's name."""
    merged = merge([result("a"), result("b", versions={"torch": "3"})], ["runs/one", "runs/two"])
    assert merged.conditions["results"]["1 one"]["versions"] == {"torch": "2"}
    assert merged.conditions["results"]["2 two"]["versions"] == {"torch": "3"}
    assert "versions" not in merged.conditions


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            changed(result("b"), "clips", "one", sha256="f" * 64),
            "clips.one.sha256 is '0000.* in A and 'ffff.* in B",
        ),
        (changed(result("b"), "clips", "two", frames=2), "clips.two.frames is 1 in A and 2 in B"),
        (
            changed(result("b"), "clips", "two", colour="bt601"),
            "clips.two.colour is 'bt709' in A and 'bt601' in B",
        ),
        (
            result("b", metrics={"psnr_rgb": "per plane"}),
            "metrics.psnr_rgb is 'dB per frame' in A and 'per plane' in B",
        ),
        (
            result("b", codecs={"b": {"intra_period": 32}}),
            r"codecs.\*.intra_period is -1 in A and 32 in B",
        ),
        (result("b", rate="estimated"), "rate is 'size of the file' in A and 'estimated' in B"),
        (
            result("a", codecs={"a": {"intra_period": -1, "command": "other"}}),
            "codecs.a.command .*another name",
        ),
        (result("b", clips=("one",)), "clip 'two' is in A only"),
        (result("b", clips=("one", "two", "six")), "clip 'six' is in B only"),
        (
            replace(
                result("a"), points=[replace(p, bytes=p.bytes + 1) for p in result("a").points]
            ),
            "a at 0 on one: bytes is",
        ),
    ],
)
def test_mixed_conditions_are_refused_by_name(other: RDResult, message: str):
    """Catches a table of numbers that cannot be compared: the field's oldest sin."""
    with pytest.raises(CodecError, match=f"results mix conditions: .*{message}"):
        merge([result("a"), other], ["A", "B"])


def test_causes_are_said_and_not_what_follows_from_them():
    """Catches frames 8 against 4 drowned in the bytes of every point, and a line a clip for one
    cause.
    """
    first = result("a")
    points = [replace(p, frames=2, bytes=2 * p.bytes, sha256="f" * 64) for p in first.points]
    for clip in first.clips():
        first = changed(first, "clips", clip, frames=2)
    with pytest.raises(CodecError) as refused:
        merge([result("a"), replace(first, points=points)], ["A", "B"])
    cause = "clips.one.frames is 1 in A and 2 in B (and 1 more clip)"
    assert (
        str(refused.value)
        == f"results mix conditions: {cause}; evaluate them under the same conditions"
    )
    other = replace(result("a"), points=[replace(p, bytes=p.bytes + 1) for p in result("a").points])
    with pytest.raises(
        CodecError,
        match=r"conditions: a at 0 on one: bytes is 100 in A and 101 in B \(and 7 more points\); ",
    ):
        merge([result("a"), other], ["A", "B"])


def test_all_intra_beside_predicted_and_several_periods_are_no_mixture():
    """Catches a refusal of what one evaluation does on purpose."""
    first = result(
        "a", "all_intra", codecs={"a": {"intra_period": -1}, "all_intra": {"intra_period": 1}}
    )
    second = result("b", "c", codecs={"b": {"intra_period": -1}, "c": {"intra_period": 32}})
    assert len(merge([first, second]).codecs()) == 4


def test_times_may_differ_and_metrics_are_united():
    """Catches a refusal because a second run was slower, and a metric that only one of the results
    has.
    """
    first = changed(result("a"), "codecs", "a", complexity={"encode_fps": 3.0})
    second = changed(result("a"), "codecs", "a", complexity={"encode_fps": 4.0})
    slower = [replace(p, encode_seconds=9.0, metrics={"lpips_alex": 0.1}) for p in second.points]
    merged = merge([first, replace(second, points=slower)])
    assert len(merged.points) == 8 and set(merged.points[0].metrics) == {"psnr_rgb", "lpips_alex"}
    assert merged.conditions["codecs"]["a"]["complexity"] == {"encode_fps": 3.0}


def test_imported_clips_are_held_to_what_is_known_of_them():
    """Catches published numbers of 96 frames beside ours of all, and imported conditions that hide
    a clip's hash.
    """
    theirs = RDResult(
        {
            "codecs": {"ssf (imported)": {"imported": "dcvc"}},
            "clips": {"one": {"sha256": None, "size": "64x64", "frames": 1}},
        },
        points("ssf (imported)", clip="one", imported="dcvc"),
    )
    for order in ([theirs, result("a")], [result("a"), theirs]):
        assert merge(order).conditions["clips"]["one"]["sha256"] == "0" * 64
    fewer = replace(theirs, points=[replace(point, frames=96) for point in theirs.points])
    with pytest.raises(CodecError, match="frames: 96"):
        merge([result("a"), replace(fewer, conditions={})])
    with pytest.raises(CodecError, match="clips.one.frames is 1 in result 1 and 96 in result 2"):
        merge([result("a"), changed(theirs, "clips", "one", frames=96)])


def test_files_are_named_from_the_folder_of_the_merged_result(tmp_path: Path):
    """Catches a merged report that finds no coded file, or that of another result."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(result(name), tmp_path / name / "rd.json")
    merged = merge_files([tmp_path / "a", tmp_path / "b" / "rd.json"], tmp_path / "out")
    assert {point.file for point in merged.points} == {"../a/streams/a/f", "../b/streams/b/f"}
    assert str(tmp_path) not in str(merged.conditions)
