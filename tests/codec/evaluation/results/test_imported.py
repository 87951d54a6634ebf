"""Published JSON as labelled codecs."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from made_up_results import result

from codec.errors import CodecError
from codec.evaluation import compare, load, save
from codec.evaluation.results.interchange import Given, exact_fps, export_compressai, import_results
from codec.evaluation.results.merge import merge

# Excerpts of CompressAI's results/video/UVG-1080p, of two of its codecs: BSD 3-Clause Clear,
# InterDigital.
SSF = {
    "name": "ssf2020-mse-ans-vimeo",
    "description": "Inference (ans), trained on Vimeo90k",
    "results": {
        "q": [
            f"ssf2020-mse-{q}-ans" for q in ("1-c1ac1a47", "2-79ed4e19", "3-9c8b998d", "4-577c1eda")
        ],
        "psnr-y": [33.89679527282715, 35.271600995744976, 36.71926007952009, 38.15092250279018],
        "psnr-u": [39.196537017822266, 40.0105470929827, 41.05528041294643, 42.1939582824707],
        "psnr-v": [39.77818298339844, 40.64488329206194, 41.650538853236604, 42.54618399483817],
        "psnr-yuv": [35.76031766619001, 36.95697293962751, 38.26381138392857, 39.557306562151226],
        "ms-ssim-rgb": [
            0.9263219237327576,
            0.9405102218900409,
            0.9540486335754395,
            0.9645396896771022,
        ],
        "psnr-rgb": [32.464655194963726, 33.65162113734654, 34.96870912824358, 36.30309077671596],
        "bitrate": [10416.947199999999, 16466.6752, 24604.407771428574, 35834.82788571429],
    },
}
X265 = {
    "name": "x265-medium-tune-zerolatency",
    "results": {
        "qp": [22, 27, 32, 37],
        "psnr-rgb": [
            38.082635051648296,
            36.217707555419395,
            34.301478511731304,
            32.298893577496685,
        ],
        "bitrate": [31624.63245714286, 11316.149257142857, 5242.852114285714, 2402.074742857142],
    },
}


def write(folder: Path, name: str, content: Any) -> Path:
    """A published file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def dcvc(
    bpp: float, psnr: float, frames: tuple[int, int] = (1, 95), planes: bool = True, **more: Any
) -> dict[str, Any]:
    """What DCVC's generate_log_json says of a sequence at one rate."""
    found = {
        "frame_pixel_num": 99840,
        "i_frame_num": frames[0],
        "p_frame_num": frames[1],
        "ave_all_frame_bpp": bpp,
    }
    found |= {
        "ave_all_frame_psnr": psnr,
        "ave_all_frame_msssim": 0.0,
        "ave_i_frame_bpp": 9.0,
        "test_time": 3.0,
    }
    if planes:
        found |= {
            f"ave_all_frame_psnr_{plane}": psnr + more_
            for plane, more_ in (("y", -1), ("u", 3), ("v", 3))
        }
    return found | more


def test_compressai_s_published_video_results(tmp_path: Path):
    """Catches kilobits of 1024, quality out of a hash, CompressAI's 4:1:1 taken for 6:1:1, and a
    codec without its label.
    """
    found = import_results(
        [write(tmp_path, "UVG-1080p/ssf.json", SSF), write(tmp_path, "UVG-1080p/x265.json", X265)]
    )
    assert found.codecs() == [
        "ssf2020-mse-ans-vimeo (imported)",
        "x265-medium-tune-zerolatency (imported)",
    ]
    assert found.clips() == ["UVG-1080p (mean of clips)"]
    first = found.points[0]
    assert (first.width, first.height, first.fps, first.quality, first.imported) == (
        1920,
        1080,
        120,
        1,
        "compressai",
    )
    assert (
        first.kbps == pytest.approx(SSF["results"]["bitrate"][0], rel=1e-6)
        and first.file == first.sha256 == ""
    )
    for ours, theirs in (
        ("psnr_rgb", "psnr-rgb"),
        ("ms_ssim", "ms-ssim-rgb"),
        ("psnr_u", "psnr-u"),
    ):
        assert first.metrics[ours] == SSF["results"][theirs][0]
    assert first.metrics["psnr_yuv"] == pytest.approx(
        (6 * 33.89679527 + 39.19653702 + 39.77818298) / 8
    )
    settings = found.conditions["codecs"][first.codec]
    assert (
        settings["imported"] == "compressai"
        and list(settings["sources"]) == ["ssf.json"]
        and settings["description"]
    )
    x265, ssf = found.codecs()[::-1]
    assert (
        compare(found, [x265], [ssf])[0].bd_rate_percent > 50
    )  # published: ssf2020 is far behind x265 there
    save(found, tmp_path / "rd.json")
    assert load(tmp_path / "rd.json") == found


def test_compressai_s_evaluation_of_one_sequence(tmp_path: Path):
    """Catches scalars taken for curves, and the frames that only the user knows left out."""
    one = {
        "source": "BQSquare_416x240_60",
        "name": "ssf2020",
        "results": {"psnr-rgb": 31.5, "bitrate": 480.0, "mse-rgb": 46.0},
    }
    path = write(tmp_path, "BQSquare_416x240_60-ssf2020-mse-3-ans.json", one)
    with pytest.raises(
        CodecError, match="does not say the frames of BQSquare_416x240_60; give --frames N"
    ):
        import_results([path])
    (point,) = import_results(
        [path], Given(frames=30, clips={"BQSquare_416x240_60": "square"})
    ).points
    assert (point.clip, point.quality, point.fps, point.frames, point.bytes) == (
        "square",
        3,
        60,
        30,
        30000,
    )


def test_dcvc_s_results(tmp_path: Path):
    """Catches bits of intra frames only, frames that lack the first, planes taken for RGB, and a
    set that is not a class.
    """
    content = {
        "HEVC_D": {
            "BQSquare_416x240_60.yuv": {"000": dcvc(0.1, 30.0), "001": dcvc(0.2, 33.0, qp=22)}
        },
        "Other": {"RaceHorses_416x240_30": {"000": dcvc(0.1, 30.0), "001": dcvc(0.3, 33.5)}},
    }
    found = import_results([write(tmp_path, "dcvc_fm.json", content)])
    assert found.codecs() == ["dcvc_fm (imported)"] and found.clips() == [
        "BQSquare_416x240_60",
        "RaceHorses_416x240_30",
    ]
    first, second = found.points[:2]
    assert (first.frames, first.width, first.height, first.fps) == (96, 416, 240, 60)
    assert (first.quality, second.quality) == (0, 22)
    assert first.bpp == pytest.approx(0.1, rel=1e-4) and first.tune is None
    assert first.metrics == {"psnr_yuv": 30.0, "psnr_y": 29.0, "psnr_u": 33.0, "psnr_v": 33.0}
    assert found.class_of("BQSquare_416x240_60") == "HEVC_D"


def test_dcvc_s_frames_and_rgb(tmp_path: Path):
    """Catches bits a pixel for bytes a frame, MS-SSIM of 0 that was not computed, and an unnamed
    size.
    """
    detail = {
        "frame_bpp": [0.5, 0.1, 0.1],
        "frame_psnr": [33.0, 31.0, 32.0],
        "avg_frame_encoding_time": 0.5,
    }
    content = {"D": {"square": {"000": dcvc(0.7 / 3, 32.0, (1, 2), planes=False, **detail)}}}
    path = write(tmp_path, "rt.json", content)
    with pytest.raises(CodecError, match="does not say the fps of square; give --fps"):
        import_results([path])
    (point,) = import_results([path], Given(fps=29.97, name="DCVC-RT")).points
    assert point.codec == "DCVC-RT (imported)" and (point.width, point.height) == (416, 240)
    assert point.frame_bytes == [6240, 1248, 1248] and point.per_frame == {
        "psnr_rgb": [33.0, 31.0, 32.0]
    }
    assert sum(point.frame_bytes) == point.bytes and point.metrics == {"psnr_rgb": 32.0}
    assert (point.encode_seconds, point.decode_seconds) == (1.5, 0) and point.fps == pytest.approx(
        30000 / 1001
    )


def test_our_own_export_comes_back_whole(tmp_path: Path):
    """Catches metrics that CompressAI does not have lost on the way, and those that were left out
    forgotten.
    """
    made = result("ours", clips=("one",))
    scores = {"lpips_alex": 0.2, "vmaf_neg": 80.0, "psnr_yuv": 33.0, "temporal_difference": 31.0}
    points = [replace(p, metrics=p.metrics | scores | {"ms_ssim": None}) for p in made.points]
    (file,) = export_compressai(replace(made, points=points), tmp_path)
    found = import_results([file])
    assert [point.metrics for point in found.points] == [p.metrics | scores for p in made.points]
    assert found.conditions["codecs"]["ours (imported)"]["left_out"] == ["ms_ssim"]


def test_imported_beside_measured(tmp_path: Path):
    """Catches published numbers that cannot be merged with ours, or lose their label there."""
    content = {"name": "theirs", "source": "one", "width": 64, "height": 64, "fps": 1, "frames": 1}
    content["results"] = {
        "q": [1, 2, 3, 4],
        "bpp": [0.25, 0.5, 1.0, 2.0],
        "psnr-rgb": [30, 33, 36, 39],
    }
    merged = merge([result("x265"), import_results([write(tmp_path, "theirs.json", content)])])
    rows = compare(merged, ["x265"], ["theirs (imported)"])
    assert (
        rows[0].bd_rate_percent == pytest.approx(28) and "imported from compressai" in rows[0].note
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "list, an object as CompressAI or DCVC writes it"),
        ({"results": {"psnr-rgb": [30.0]}, "name": "x"}, "lacks 'bitrate'; give a file of"),
        ({"D": {"a_416x240_50": {"000": {"i_frame_num": 1}}}}, "lacks 'p_frame_num'"),
        (
            {"D": {"a_832x480_50": {"000": dcvc(0.1, 30.0)}}},
            "frame_pixel_num is 99840, its name says 832x480",
        ),
        ({"a": 3}, "not as CompressAI or DCVC writes it"),
    ],
)
def test_files_that_are_neither(tmp_path: Path, content: Any, message: str):
    """Catches a traceback, or numbers from a file that was not understood."""
    with pytest.raises(CodecError, match=message):
        import_results([write(tmp_path, "file.json", content)])
    with pytest.raises(CodecError, match="not readable JSON"):
        import_results([tmp_path / "missing.json"])


def test_frame_rates_that_are_rounded():
    """Catches 29.97 that is another rate than the clip's 30000/1001."""
    assert exact_fps(29.97) == Fraction(30000, 1001) and exact_fps(23.976) == Fraction(24000, 1001)
    assert exact_fps(30) == 30 and exact_fps(50.0) == 50 and exact_fps(12.5) == Fraction(25, 2)
