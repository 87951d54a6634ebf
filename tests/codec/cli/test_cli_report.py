"""`corvid report` and `corvid study` from the command line."""

import json
import re
from pathlib import Path

import pytest
from report_results import result

from codec.cli import main
from codec.evaluation import RDResult, save
from codec.report import default_codecs


@pytest.fixture
def halves(tmp_path: Path) -> list[Path]:
    """One result in two folders, a codec each; its coded files are gone."""
    whole = result(1)
    for codec in whole.codecs():
        (tmp_path / codec).mkdir()
        save(
            RDResult(whole.conditions, [p for p in whole.points if p.codec == codec]),
            tmp_path / codec / "rd.json",
        )
    return [tmp_path / codec for codec in whole.codecs()]


def test_results_become_one_report(
    halves: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Catches results that are not merged, the wrong anchor, and pictures that are missing in
    silence or in a line a file.
    """
    main(
        [
            "report",
            *map(str, halves),
            "-o",
            str(tmp_path / "out"),
            "--anchor",
            "x265",
            "--title",
            "Ours & theirs",
        ]
    )
    said = capsys.readouterr()
    assert (
        "not shown: ../ours/ours_None and 5 more: the file is not there; keep the streams"
        in said.err
    )
    assert "give it with --clips" in said.err and str(tmp_path / "out" / "report.html") in said.out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h1>Ours &amp; theirs</h1>" in page and "+50.0 %" in page and "Not shown" in page
    assert {
        row["anchor"] for row in json.loads((tmp_path / "out" / "bd_rate.json").read_text())
    } == {"x265"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "nowhere", "-o", "OUT"], "nowhere: not there"),
        (
            ["report", "ours", "-o", "OUT", "--anchor", "nobody"],
            "nobody: not in the results; choose from ours",
        ),
        (["study", "ours"], "give -o DIR"),
        (
            ["study", "ours", "x265", "-o", "OUT"],
            "no pair within 10% of rate, .*differ by 36% in rate; code .*qualities=",
        ),
        (
            ["study", "ours", "x265", "-o", "OUT", "--rate-tolerance", "0.5"],
            "nothing to compare .*--clips.* 5 more: .*there",
        ),
        (["study", "score", "votes.json"], "--key study_key.json"),
    ],
)
def test_bad_words_are_said(
    halves: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list,
    said: str,
):
    """Catches a traceback, and an error without what to do."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert re.search(said, capfd.readouterr().err)


def test_votes_are_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Catches a table or a file without the scores."""
    pair = {
        "clip": "c",
        "rate_ratio": 1.0,
        "one": {"video": "v0", "codec": "a"},
        "other": {"video": "v1", "codec": "b"},
    }
    (tmp_path / "key.json").write_text(
        json.dumps({"study": "s", "codecs": ["a", "b"], "pairs": [pair]})
    )
    vote = {"pair": 0, "left": "v1", "right": "v0", "choice": "right"}
    (tmp_path / "ann.json").write_text(json.dumps({"study": "s", "voter": "Ann", "votes": [vote]}))
    key, out = str(tmp_path / "key.json"), tmp_path / "scores.json"
    main(["study", "score", str(tmp_path / "ann.json"), "--key", key, "-o", str(out)])
    assert "100 %" in capsys.readouterr().out
    assert [score["codec"] for score in json.loads(out.read_text())["scores"]] == ["a", "b"]


def test_an_anchor_is_always_shown():
    """Catches pictures of five codecs, or of codecs alone."""
    assert default_codecs(["a", "b", "c", "d", "x"], ["x"]) == ["a", "b", "c", "x"]
    assert default_codecs(["a", "x", "y"], ["x", "y"]) == ["a", "x", "y"]
