"""`corvid data pack`: words become options, and parts cover the whole."""

import argparse
from pathlib import Path

import pytest

from data.cli import pack as command
from data.errors import DataError
from data.shards.options import PackOptions


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_pack(parser.add_subparsers(required=True))
    return parser.parse_args(["pack", *words])


def test_words_become_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Catches an option that is read and not used."""
    given: list[tuple] = []
    monkeypatch.setattr(
        command,
        "pack_part",
        lambda index, **named: given.append((index, *named.values())) or "all well",
    )
    numbers = [
        "--crf",
        "3",
        "--gop",
        "4",
        "--short-side",
        "64",
        "--longest",
        "9",
        "--shard-mb",
        "5",
    ]
    words = [*numbers, "--least-psnr", "41.5", "--seed", "6", "--workers", "2", "--part", "2/3"]
    choice = parsed(str(tmp_path / "a.parquet"), str(tmp_path / "out"), *words)
    choice.run(choice)
    options = PackOptions(3, 4, 64, 9, False, 5, 41.5, 6)
    assert given == [(tmp_path / "a.parquet", tmp_path / "out", options, (2, 3), 2)]
    assert "all well" in capsys.readouterr().out


def test_part_and_launcher_exclude_each_other(tmp_path: Path):
    """Catches a part of an array that starts the whole array again."""
    choice = parsed("a.parquet", str(tmp_path), "--part", "1/2", "--launcher", "local")
    with pytest.raises(DataError, match="--part and --launcher"):
        choice.run(choice)


def test_an_array_packs_every_part(
    tmp_path: Path, index_of, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Catches parts left out by the launcher, and an index that is not written when the last has
    ended.
    """
    from data.shards.pack import pack
    from data.shards.plan import Plan

    def in_turn(
        function: object,
        arguments: list[tuple],
        launcher: str,
        folder: Path,
        at_once: int,
        **slurm: object,
    ) -> None:
        assert (function, launcher, slurm) == (command.pack_part, "slurm", {"time": 60})
        for index, out, options, part, _ in arguments:
            pack(Plan(index, options), out, part, workers=0)

    monkeypatch.setattr("common.cluster.run_parts", in_turn)
    words = [
        "--launcher",
        "slurm",
        "--parts",
        "3",
        "--slurm",
        "time=60",
        "--longest",
        "20",
        "--crf",
        "30",
        "--least-psnr",
        "10",
    ]
    choice = parsed(str(index_of("h264.mp4", "hevc.mp4")), str(tmp_path / "out"), *words)
    choice.run(choice)
    assert "4 members, 0 of them rejected" in capsys.readouterr().out
    assert (tmp_path / "out" / "index.parquet").is_file()


def test_a_folder_of_other_things_is_refused(tmp_path: Path, index_of):
    """Catches shards written among the videos that they are made of."""
    from data.shards.pack import pack
    from data.shards.plan import Plan

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "video.mp4").touch()
    with pytest.raises(
        DataError,
        match=r"out: holds video\.mp4, which corvid data pack did not write; give a folder",
    ):
        pack(Plan(index_of("h264.mp4"), PackOptions()), tmp_path / "out", workers=0)
