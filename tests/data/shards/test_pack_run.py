"""Packing a folder of shards: what is in them, and what happens when it is interrupted or sources
are bad.
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import webdataset
import xxhash

from data.errors import DataError
from data.index.table import IndexedSequences
from data.io.probe import probe
from data.io.readers import open_reader
from data.io.source_clip import read_source
from data.shards import pack as run
from data.shards.member import Packed
from data.shards.options import PackOptions
from data.shards.pack import pack
from data.shards.plan import Plan, Row

LOSSLESS = PackOptions(crf=0, gop=5)
GOOD = ("h264.mp4", "h264_open.mkv", "hevc.mp4", "edited.mp4")


def members(folder: Path) -> dict[str, dict[str, bytes]]:
    """Everything in the shards of a folder, as webdataset reads it."""
    shards = sorted(str(path) for path in folder.glob("shard-*.tar"))
    return {
        sample["__key__"]: sample
        for sample in webdataset.WebDataset(shards, shardshuffle=False, empty_check=False)
    }


def test_packed_frames_are_the_sources(tmp_path: Path, videos: Path, index_of, row_of):
    """Catches wrong frames, colours, sizes, offsets, licences and keyframes in the index of
    shards.
    """
    index = index_of(row_of("h264.mp4", 5, 17), "hevc.mp4", "odd.mkv")
    summary = pack(Plan(index, LOSSLESS), tmp_path / "out", workers=0)
    sequences = IndexedSequences(summary.index)
    assert (len(sequences), summary.rejected, summary.missing, summary.least_psnr) == (3, 0, 0, 100)
    starts = {
        f"licence of {name}": (name, first)
        for name, first in (("h264.mp4", 5), ("hevc.mp4", 0), ("odd.mkv", 0))
    }
    for sequence in sequences:
        name, first = starts.pop(sequence.licence)
        reader = open_reader(sequence)
        expected = read_source(videos / name, sequence.frames, first)
        assert (
            sequence.timing.key_frames[0] == 0
            and max(np.diff(sequence.timing.key_frames)) <= LOSSLESS.gop
        )
        assert reader.matrix == expected.color_space.matrix and sequence.fps == expected.fps
        order = [sequence.frames - 1, 0, 3]
        pictures = reader.read(order)
        inside = (
            slice(None),
            slice(None),
            slice(0, reader.height - 2),
            slice(0, reader.width - 2),
        )  # odd.mkv's border is cut
        assert torch.equal(pictures[inside], expected.rgb[order][inside])
    assert not starts


def test_shards_are_webdatasets(tmp_path: Path, index_of):
    """Catches shards that other tools cannot read, and members without their source and licence."""
    pack(Plan(index_of(*GOOD), PackOptions(longest=20)), tmp_path / "out", workers=0)
    found = members(tmp_path / "out")
    assert len(found) == 8
    for sample in found.values():
        facts = json.loads(sample["json"])
        with av.open(io.BytesIO(sample["mp4"])) as container:
            assert sum(1 for _ in container.decode(video=0)) == facts["frames"] <= 20
        assert facts["licence"] == f"licence of {facts['source']}" and facts["psnr_y"] > 36


@pytest.mark.parametrize(("matrix", "spread"), [("bt709", "tv"), ("smpte170m", "pc")])
def test_matrix_and_range_stay(tmp_path: Path, ffmpeg, index_in, matrix: str, spread: str):
    """Catches planes stretched to another range, and members tagged otherwise than their source."""
    scaled = f"scale=out_color_matrix={matrix}:out_range={spread},format=yuv420p"
    scene = f"testsrc2=size=64x48:rate=25:duration=0.4,{scaled}"
    params = f"colormatrix={matrix}:fullrange={'on' if spread == 'pc' else 'off'}"
    ffmpeg(
        "-f", "lavfi", "-i", scene, "-c:v", "libx264", "-x264-params", params, tmp_path / "a.mp4"
    )
    source = read_source(tmp_path / "a.mp4")
    [packed] = IndexedSequences(
        pack(Plan(index_in(tmp_path, "a.mp4"), LOSSLESS), tmp_path / "out", workers=0).index
    )
    timing = packed.timing
    assert (timing.matrix, timing.full_range, timing.color_origin) == (
        source.color_space.matrix,
        spread == "pc",
        "tagged",
    )
    assert source.color_space.full_range == (spread == "pc")
    assert torch.equal(open_reader(packed).read(range(10)), source.rgb)


def test_copies_are_the_files(tmp_path: Path, videos: Path, index_of, row_of):
    """Catches files changed on the way, a file stored once for each of its scenes, and scenes at
    other frames.
    """
    index = index_of(row_of("h264.mp4", 0, 12), row_of("h264.mp4", 12, 28), "h264_open.mkv")
    out = tmp_path / "out"
    sequences = IndexedSequences(pack(Plan(index, PackOptions(copy=True)), out, workers=0).index)
    stored = {
        suffix: sample[suffix]
        for sample in members(out).values()
        for suffix in ("mp4", "mkv")
        if suffix in sample
    }
    assert stored == {
        "mp4": (videos / "h264.mp4").read_bytes(),
        "mkv": (videos / "h264_open.mkv").read_bytes(),
    }
    second = next(sequence for sequence in sequences if sequence.first == 12)
    assert torch.equal(
        open_reader(second).read([3]), open_reader(videos / "h264.mp4", "pyav").read([15])
    )


def test_interrupted_packing_goes_on(tmp_path: Path, index_of, monkeypatch: pytest.MonkeyPatch):
    """Catches finished shards made again, unfinished ones kept, and an end that differs from an
    uninterrupted run's.
    """
    plan = Plan(index_of(*GOOD), PackOptions(longest=10, shard_mb=1))
    monkeypatch.setattr(run, "pack_member", padded(run.pack_member))
    whole = pack(plan, tmp_path / "whole", workers=0)
    good, made = run.pack_member, []

    def stops_at_sixth(member, *rest, **named):
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(member.key)
        return good(member, *rest, **named)

    monkeypatch.setattr(run, "pack_member", stops_at_sixth)
    with pytest.raises(KeyboardInterrupt):
        pack(plan, tmp_path / "out", workers=0)
    assert (
        not list((tmp_path / "out").glob(".*")) and len(list((tmp_path / "out").glob("*.tar"))) == 1
    )
    again = []
    monkeypatch.setattr(
        run,
        "pack_member",
        lambda member, *rest, **named: again.append(member.key) or good(member, *rest, **named),
    )
    summary = pack(plan, tmp_path / "out", workers=0)
    kept = members(tmp_path / "whole")
    assert again == list(kept)[3:] and summary.members == len(kept) == whole.members
    assert members_bytes(tmp_path / "out") == members_bytes(tmp_path / "whole")
    pack(plan, tmp_path / "out", workers=0)
    assert again == list(kept)[3:]


def padded(make: Callable[..., Packed]) -> Callable[..., Packed]:
    """Members of 0.4 MB, so that three fill a shard of 1 MB."""

    def wider(*arguments: object, **named: object) -> Packed:
        packed = make(*arguments, **named)
        data = packed.data + bytes(400_000)
        return replace(
            packed,
            data=data,
            rows=[row | {"content": xxhash.xxh3_128_hexdigest(data)} for row in packed.rows],
        )

    return wider


def members_bytes(folder: Path) -> dict[str, bytes]:
    return {key: sample["mp4"] for key, sample in members(folder).items()}


def test_damaged_shard_is_made_again(
    tmp_path: Path, index_of, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Catches bad disks passed over when packing goes on, and good shards made again with the bad
    one.
    """
    monkeypatch.setattr(run, "pack_member", padded(run.pack_member))
    plan, out = Plan(index_of(*GOOD), PackOptions(longest=10, shard_mb=1)), tmp_path / "out"
    pack(plan, out, workers=0)
    before = members_bytes(out)
    bad = out / "shard-000001.tar"
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 255
    bad.write_bytes(content)
    others = [path.stat().st_mtime_ns for path in out.glob("*.tar") if path != bad]
    summary = pack(plan, out, workers=0)
    assert "shard-000001.tar: damaged" in caplog.text and summary.missing == 0
    after = [path.stat().st_mtime_ns for path in out.glob("*.tar") if path.stem != bad.stem]
    assert set(others) <= set(after) and members_bytes(out).keys() == before.keys()
    assert {sequence.path.name for sequence in IndexedSequences(summary.index)} == {
        path.name for path in out.glob("*.tar")
    }


def test_bad_sources_are_listed(tmp_path: Path, index_of, row_of, caplog: pytest.LogCaptureFixture):
    """Catches failures that stop all others, or that nobody hears of."""
    gone: Row = row_of("h264.mp4") | {"path": "gone.mp4"}
    long: Row = row_of("hevc.mp4") | {"frames": 50, "file_frames": 50}
    out = tmp_path / "out"
    summary = pack(Plan(index_of(gone, "h264_open.mkv", long), PackOptions()), out, workers=0)
    rows = list(csv.DictReader((out / "rejected.csv").open()))
    assert {row["path"]: row["reason"].partition(": ")[2] for row in rows} == {
        "gone.mp4": "no such file; check the path",
        "hevc.mp4": "frames 0..49 asked for, it holds 40; index again",
    }
    assert (summary.rejected, len(IndexedSequences(summary.index))) == (2, 1) and caplog.text.count(
        "rejected "
    ) == 2
    with pytest.raises(DataError, match="every sequence was rejected"):
        pack(Plan(index_of(gone), PackOptions()), tmp_path / "none", workers=0)


def test_low_quality_is_rejected(tmp_path: Path, index_of):
    """Catches members that look nothing like their source."""
    with pytest.raises(DataError, match=r"h264\.mp4: \d\d\.\d dB after encoding, least_psnr=60"):
        pack(
            Plan(index_of("h264.mp4"), PackOptions(crf=45, least_psnr=60)),
            tmp_path / "out",
            workers=0,
        )


def test_parts_merge(tmp_path: Path, index_of):
    """Catches members lost or doubled between parts, and an index of some parts taken for the
    whole.
    """
    plan, out = Plan(index_of(*GOOD), PackOptions(longest=15)), tmp_path / "out"
    for part in (3, 1):
        summary = pack(plan, out, (part, 3), workers=0)
        assert summary.missing and summary.index is None and not (out / "index.parquet").exists()
    summary = pack(plan, out, (2, 3), workers=0)
    assert summary.missing == 0 and len(IndexedSequences(summary.index)) == len(plan)
    pack(plan, tmp_path / "one", workers=0)
    assert members_bytes(out) == members_bytes(tmp_path / "one")


def test_other_options_need_another_folder(tmp_path: Path, index_of):
    """Catches one set of two qualities."""
    index = index_of("h264.mp4")
    pack(Plan(index, PackOptions()), tmp_path / "out", workers=0)
    with pytest.raises(
        DataError,
        match=r"shard-000000\.parquet: of another index or other options; give another folder",
    ):
        pack(Plan(index, PackOptions(crf=20)), tmp_path / "out", workers=0)


def test_processes_pack_the_same(tmp_path: Path, index_of):
    """Catches an order that depends on which process is first, and jobs that cannot be sent to
    processes.
    """
    plan = Plan(index_of(*GOOD), PackOptions(longest=20))
    pack(plan, tmp_path / "one", workers=0)
    pack(plan, tmp_path / "two", workers=2)
    assert members_bytes(tmp_path / "two") == members_bytes(tmp_path / "one")
    assert (tmp_path / "two" / "shard-000000.tar").read_bytes() == (
        tmp_path / "one" / "shard-000000.tar"
    ).read_bytes()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"crf": 60}, "crf"),
        ({"short_side": 35}, "short_side"),
        ({"copy": True, "longest": 9}, "copy"),
    ],
)
def test_bad_options_are_named(options: dict, field: str):
    """Catches options that are silently without effect."""
    with pytest.raises(DataError, match=field):
        PackOptions(**options)


def test_short_members(tmp_path: Path, index_of, row_of):
    """Catches one or two frames, of which a rate cannot be told, refused or given none."""
    index = index_of(row_of("h264.mp4", 3, 1), row_of("hevc.mp4", 3, 2))
    sequences = IndexedSequences(pack(Plan(index, LOSSLESS), tmp_path / "out", workers=0).index)
    assert sorted(sequence.frames for sequence in sequences) == [1, 2]
    assert all(sequence.fps == 25 for sequence in sequences)
    assert all(len(open_reader(sequence).read([0])) == 1 for sequence in sequences)
    assert probe(sequences[0].path, sequences[0].byte_range).frames == sequences[0].frames


def test_varying_frame_rates_become_constant(tmp_path: Path, ffmpeg, index_in):
    """Catches frames dropped or doubled to make times even."""
    varying = ["-vf", "setpts='if(gt(N,10),PTS*1.5+7,PTS)'", "-fps_mode", "vfr"]
    scene = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1"]
    ffmpeg(*scene, *varying, "-c:v", "libx264", "-pix_fmt", "yuv420p", tmp_path / "a.mkv")
    [packed] = IndexedSequences(
        pack(Plan(index_in(tmp_path, "a.mkv"), LOSSLESS), tmp_path / "out", workers=0).index
    )
    assert len(set(np.diff(probe(tmp_path / "a.mkv").pts).tolist())) > 1 and packed.timing.pts_step
    assert torch.equal(open_reader(packed).read(range(25)), read_source(tmp_path / "a.mkv").rgb)
