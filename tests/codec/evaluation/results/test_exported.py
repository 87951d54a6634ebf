"""Results as CompressAI's JSON."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_results import points, result

from codec.errors import CodecError
from codec.evaluation import RDResult
from codec.evaluation.results.interchange import export_compressai, import_results


def test_compressai_s_plotting_command_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches a key that its plotting tool does not know, a list it cannot draw, and the wrong
    place for a file.
    """
    made = result("a", "b c")
    made = replace(
        made,
        points=[
            replace(p, metrics={**p.metrics, "ms_ssim": 0.9 + p.quality / 100}) for p in made.points
        ],
    )
    files = export_compressai(made, tmp_path)
    assert sorted(file.relative_to(tmp_path).as_posix() for file in files) == [
        *(
            "mean/a.json",
            "mean/b_c.json",
            "one/a.json",
            "one/b_c.json",
            "two/a.json",
            "two/b_c.json",
        ),
    ]
    picture = tmp_path / "ms-ssim.png"
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(
        sys,
        "argv",
        ["plot", "-f", str(files[0]), str(files[1]), "-m", "ms-ssim", "-o", str(picture)],
    )
    runpy.run_module(
        "compressai.utils.plot", run_name="__main__", alter_sys=True
    )  # python -m, in this process
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_the_tool_draws_are_our_numbers(tmp_path: Path):
    """Catches kbps for bpp, an order by quality in place of rate, and another codec's name in the
    legend.
    """
    from compressai.utils.plot.__main__ import parse_json_file

    upside_down = [replace(point, quality=-point.quality) for point in points("codec 1.5")]
    (file,) = export_compressai(RDResult({}, upside_down), tmp_path)
    drawn = parse_json_file(file, "psnr")
    assert drawn["name"] == "codec 1.5" and drawn["ys"] == [30, 33, 36, 39]
    assert drawn["xs"] == pytest.approx([8 * size / 64**2 for size in (100, 200, 400, 800)])


def test_tunings_are_files_of_their_own_with_the_metrics_they_are_fair_to(tmp_path: Path):
    """Catches a psycho-visual curve that somebody plots in PSNR, and a metric that vanishes without
    a word.
    """
    made = [*points("x", tune="psnr"), *points("x", tune="default")]
    made = [
        replace(point, metrics={**point.metrics, "lpips_alex": 0.1, "psnr_y": None})
        for point in made
    ]
    psnr, default = (
        json.loads(file.read_text()) for file in export_compressai(RDResult({}, made), tmp_path)
    )
    assert (psnr["name"], default["name"]) == ("x (psnr)", "x (default)")
    assert (
        "psnr-rgb" in psnr["results"]
        and "lpips-alex" not in psnr["results"]
        and psnr["left_out"] == ["psnr_y"]
    )
    assert "lpips-alex" in default["results"] and "psnr-rgb" not in default["results"]


def test_the_mean_is_at_equal_quality_and_only_where_every_clip_has_it(tmp_path: Path):
    """Catches a mean that pairs the rows by rate, and one over clips that lack a point."""
    second = [
        replace(p, clip="two", quality=3 - p.quality, metrics={"psnr_rgb": 40.0})
        for p in points("a", clip="one")
    ]
    files = export_compressai(RDResult({}, [*points("a", clip="one"), *second]), tmp_path)
    mean = json.loads(files[-1].read_text())["results"]
    rates = {q: bpp * 64**2 / 8 for q, bpp in zip(mean["q"], mean["bpp"], strict=True)}
    assert rates == pytest.approx({0: 450, 1: 300, 2: 300, 3: 450}) and set(mean["psnr-rgb"]) == {
        35,
        36.5,
        38,
        39.5,
    }
    assert (
        len(
            export_compressai(
                RDResult({}, [*points("a", clip="one"), *second[1:]]), tmp_path / "other"
            )
        )
        == 2
    )


def test_planes_come_with_both_weightings(tmp_path: Path):
    """Catches our 6:1:1 under the name that CompressAI gives to 4:1:1."""
    planes = {"psnr_y": 30.0, "psnr_u": 40.0, "psnr_v": 46.0, "psnr_yuv": (6 * 30 + 40 + 46) / 8}
    made = [replace(point, metrics=planes) for point in points("a")]
    (file,) = export_compressai(RDResult({}, made), tmp_path)
    found = json.loads(file.read_text())["results"]
    assert found["psnr-yuv"][0] == pytest.approx((4 * 30 + 40 + 46) / 6)
    assert found["psnr-yuv-611"][0] == pytest.approx((6 * 30 + 40 + 46) / 8)


def test_two_names_that_are_one_file_are_refused(tmp_path: Path):
    """Catches a codec that overwrites another's file."""
    with pytest.raises(CodecError, match="a_b.json: two of the codecs"):
        export_compressai(RDResult({}, [*points("a b"), *points("a_b")]), tmp_path)


def test_what_is_exported_can_be_imported(tmp_path: Path):
    """Catches sizes, frames, rates or scores that change on the way out and back."""
    files = export_compressai(result("a", clips=("one",)), tmp_path)
    back = import_results(files)
    assert [(p.bytes, p.metrics, p.clip, p.quality) for p in back.points] == [
        (p.bytes, p.metrics, p.clip, p.quality) for p in result("a", clips=("one",)).points
    ]
