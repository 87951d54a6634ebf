"""The commands, their report, and parts through submitit."""

import argparse
import csv
from pathlib import Path

import pytest

from common.cluster import run_parts
from common.errors import CorvidError
from data.cli import add_data_commands
from data.cli.index import slurm_options
from data.errors import DataError
from data.index.report import _replacing
from data.index.store import read_index


def corvid(*words: str | Path) -> None:
    """Run a command in this process."""
    parser = argparse.ArgumentParser()
    add_data_commands(parser.add_subparsers())
    choice = parser.parse_args(["data", *map(str, words)])
    choice.run(choice)


def test_index_command_says_what_there_is(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Catches numbers that the files do not hold, and a report without the rejected file, its
    reason or its remedy.
    """
    corvid("index", collection, "-o", tmp_path / "i.parquet", "--workers", 1, "--licence", "CC0")
    said = capsys.readouterr().out
    assert (
        "4 sequences" in said
        and "2 of 5 files" in said
        and "1 unreadable" in said
        and str(tmp_path / "i.report.html") in said
    )
    page = (tmp_path / "i.report.html").read_text()
    for words in (
        "bad.mp4",
        "no video that ffmpeg can open",
        "download it again",
        "128×72",
        "CC0",
        "data:image/png;base64",
    ):
        assert words in page
    assert "http" not in page.replace("http-equiv", "")
    with (tmp_path / "i.rejected.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["reason"] for row in rows} == {
        "unreadable",
        "black",
        "near-static",
        "duplicate",
        "near duplicate",
    }
    assert all(row["detail"] and row["remedy"] for row in rows)


def test_reports_written_at_once_do_not_mix(tmp_path: Path):
    """Catches two runs of one output that write into one temporary file, or of which the slower
    finds it gone.
    """
    page = tmp_path / "i.report.html"
    with _replacing(page) as one, _replacing(page) as other:
        one.write_text("one")
        other.write_text("other")
    assert page.read_text() == "one" and list(tmp_path.iterdir()) == [page]


def test_parts_through_submitit_are_merged(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """Catches parts that do not find the files from another folder, and an index that is not the
    whole.
    """
    options = ("--parts", 2, "--at-once", 2, "--workers", 1, "--exclude", collection / "zoom.mp4")
    corvid("index", collection, "-o", tmp_path / "i.parquet", "--launcher", "local", *options)
    stored = read_index(tmp_path / "i.parquet")
    assert stored.part is None and len(stored.rows) + len(stored.dropped) == 9
    assert "in a test set" in stored.dropped["reason"].to_pylist()
    corvid(
        "merge", tmp_path / "j.parquet", *sorted(tmp_path.glob("i.part-*.parquet"))
    )  # as the help says
    assert "in a test set" not in read_index(tmp_path / "j.parquet").dropped["reason"].to_pylist()


def test_an_index_of_nothing_fails(tmp_path: Path):
    """Catches a script that goes on to pack and train when nothing could be read."""
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(
        DataError, match=r"i\.parquet: no sequence is left.*i\.rejected\.csv says why"
    ):
        corvid("index", tmp_path / "text.mp4", "-o", tmp_path / "i.parquet", "--workers", 1)


def test_parts_that_fail_are_all_named(tmp_path: Path):
    """Catches failures in silence, and the parts behind the first failure not run."""
    assert run_parts(pow, [(2, 3), (3, 2)], "local", tmp_path / "good", at_once=2) == [8, 9]
    with pytest.raises(
        CorvidError, match=r"(?s)2 of 3 parts failed.*part 1: .*log .*part 3: .*ZeroDivisionError"
    ):
        run_parts(divmod, [(1, 0), (1, 1), (1, 0)], "local", tmp_path / "bad", at_once=3)
    with pytest.raises(CorvidError, match="local, slurm"):
        run_parts(pow, [(2, 3)], "cloud", tmp_path)


def test_slurm_that_is_not_there_or_not_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Catches a trace of twenty lines for a missing cluster or a misspelt option."""
    with pytest.raises(CorvidError, match="launcher=slurm"):
        run_parts(pow, [(2, 3)], "slurm", tmp_path, colour="red")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CorvidError, match="launcher=slurm"):
        run_parts(pow, [(2, 3)], "slurm", tmp_path)
    assert slurm_options(["time=60", "partition=cpu"]) == {"time": 60, "partition": "cpu"}
    with pytest.raises(CorvidError, match="partition=cpu"):
        slurm_options(["time"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["index", "nowhere"], "nowhere.*check the path"),
        (["index", ".", "-o", "index.csv"], "ends in .parquet"),
        (["index", ".", "-o", "nowhere/i.parquet"], "folder that exists"),
        (["index", ".", "--part", "1/2", "--launcher", "local"], "one of the two"),
        (["index", ".", "--workers", "0"], "--workers 0"),
        (["index", ".", "--launcher", "local", "--parts", "0"], "parts=0"),
        (["index", ".", "--slurm", "time=1"], "--launcher slurm"),
        (["merge", "o.parquet", "nowhere.parquet"], "nowhere.parquet: no such file"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches hours of work before a wrong word is noticed."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=said):
        corvid(*words)


def test_wrong_part_is_refused(capsys: pytest.CaptureFixture):
    """Catches part 0, or one beyond the last, indexing nothing."""
    for part in ("0/4", "5/4", "x"):
        with pytest.raises(SystemExit):
            corvid("index", ".", "--part", part)
        assert "1/64" in capsys.readouterr().err
