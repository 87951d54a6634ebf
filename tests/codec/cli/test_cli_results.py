"""`corvid results`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_results import result

from codec.cli import main
from codec.evaluation import load, save


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two results that go together, and one that does not."""
    made = [
        result("x265", "a"),
        result("x265", "b"),
        result("c", metrics={"psnr_rgb": "per plane"}),
    ]
    for name, one in zip("abc", made, strict=True):
        (tmp_path / name).mkdir()
        save(one, tmp_path / name / "rd.json")
    return [tmp_path / name for name in "abc"]


def test_check_and_merge(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Catches a check that passes what a merge refuses, and a traceback in place of a line and exit
    code 2.
    """
    main(["results", "check", str(folders[0]), str(folders[1] / "rd.json")])
    said = capsys.readouterr().out
    assert "16 points, 2 codecs, 2 clips, metrics psnr_rgb" in said and "can be merged" in said
    for words in (
        ["check", *map(str, folders)],
        ["merge", *map(str, folders), "-o", str(tmp_path / "all.json")],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["results", *words])
        assert (
            stopped.value.code == 2
            and "results mix conditions: metrics.psnr_rgb" in capsys.readouterr().err
        )
    main(["results", "merge", *map(str, folders[:2]), "-o", str(tmp_path / "all.json")])
    assert load(tmp_path / "all.json").codecs() == ["x265", "a", "b"]


def test_export_says_how_to_plot(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches files elsewhere than asked for."""
    main(
        [
            "results",
            "export",
            str(folders[0]),
            "--format",
            "compressai",
            "-o",
            str(tmp_path / "out"),
        ]
    )
    assert "python -m compressai.utils.plot -f" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "one" / "a.json").read_text())["name"] == "a"


def test_import_writes_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Catches options that do not reach the points, and a bad option that is a traceback."""
    content = {"name": "ssf", "results": {"q": [1, 2], "psnr-rgb": [30.0, 33.0], "bpp": [0.1, 0.2]}}
    (tmp_path / "ssf.json").write_text(json.dumps(content))
    words = ["results", "import", str(tmp_path / "ssf.json"), "-o", str(tmp_path / "rd.json")]
    options = ["--size", "416x240", "--fps", "50", "--frames", "100", "--name", "SSF"]
    main([*words, *options, "--clip", f"{tmp_path.name} (mean of clips)=set"])
    (point, _) = load(tmp_path / "rd.json").points
    assert (point.codec, point.clip) == ("SSF (imported)", "set")
    assert (point.width, point.height, point.fps, point.frames) == (416, 240, 50, 100)
    wrong_ones = (
        (["--size", "416"], "WxH in pixels"),
        (["--clip", "a"], "THEIRS=OURS"),
        ([], "does not say the width"),
    )
    for wrong, message in wrong_ones:
        with pytest.raises(SystemExit):
            main([*words, *wrong])
        assert message in capsys.readouterr().err
    main([*words[:-1], str(tmp_path / "new" / "folder" / "rd.json"), *options])
    assert len(load(tmp_path / "new" / "folder" / "rd.json").points) == 2
    for output, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "ssf.json" / "rd.json", "ssf.json is a file"),
    ):
        with pytest.raises(SystemExit):
            main([*words[:-1], str(output), *options])
        assert message in capsys.readouterr().err


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Catches a missing folder that is called unreadable JSON."""
    for path, message in (
        (tmp_path / "no", "no: not there; give"),
        (tmp_path, "holds no rd.json; give"),
    ):
        with pytest.raises(SystemExit):
            main(["results", "check", str(path)])
        assert message in capsys.readouterr().err


def test_merge_takes_the_metrics_that_agree(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches a rule that differs in a metric nobody asked for, a metric that slips through, and a
    folder that must be there.
    """
    for folder, rule in zip(folders, ("one", "other"), strict=False):
        made = load(folder / "rd.json")
        scored = [
            replace(p, metrics=p.metrics | {"vmaf": 90.0}, per_frame={"vmaf": [90.0]})
            for p in made.points
        ]
        rules = made.conditions["metrics"] | {"vmaf": rule}
        save(
            replace(made, points=scored, conditions=made.conditions | {"metrics": rules}),
            folder / "rd.json",
        )
    out = tmp_path / "new" / "all.json"
    words = ["results", "merge", *map(str, folders[:2]), "-o", str(out)]
    for more, message in (
        ([], "metrics.vmaf is 'one'"),
        (["--metrics", "psnr_rgb,none"], "none not in the results"),
    ):
        with pytest.raises(SystemExit):
            main([*words, *more])
        assert message in capsys.readouterr().err and not out.parent.exists()
    main([*words, "--metrics", "psnr_rgb"])
    merged = load(out)
    assert merged.metrics() == ["psnr_rgb"] == list(merged.conditions["metrics"])
    assert not any(point.per_frame for point in merged.points)


def test_what_an_import_leaves_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Catches metrics that are gone without a word."""
    content = {
        "name": "ssf",
        "source": "one",
        "width": 64,
        "height": 64,
        "fps": 1,
        "frames": 1,
        "left_out": ["vmaf"],
    }
    content["results"] = {"q": [1], "psnr-rgb": [30.0], "bpp": [0.1], "mse-rgb": [60.0]}
    (tmp_path / "ssf.json").write_text(json.dumps(content))
    main(["results", "import", str(tmp_path / "ssf.json"), "-o", str(tmp_path / "rd.json")])
    assert capsys.readouterr().err == "ssf (imported): left out mse-rgb, vmaf\n"
