"""What is kept of evaluations, by content."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made_up_codecs import Zipped

from codec import registry
from codec.anchors import X265
from codec.errors import CodecError
from codec.evaluation.complexity import benchmark
from codec.evaluation.conditions import machine
from codec.evaluation.points import cache
from codec.evaluation.points.cache import Store
from data.sequences import Sequence


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def kept(store: Store, key: str, content: bytes) -> Path:
    """Keep a file of this content; the file that is there afterwards."""
    with store.workplace() as folder:
        (folder / "a.hevc").write_bytes(content)
        return store.keep(key, folder, folder / "a.hevc", {"bytes": len(content)}).file


def test_a_kept_file_is_found_with_its_facts_and_scores(store: Store):
    """Catches what is kept under one name and looked for under another, and workplaces
    that stay.
    """
    assert store.find("k1") is None and store.scores("k1", "s1") is None
    file = kept(store, "k1", b"stream")
    store.keep_scores("k1", "s1", {"values": {"psnr_rgb": 30.0}})
    assert (
        store.find("k1").file == file and file.read_bytes() == b"stream" and file.suffix == ".hevc"
    )
    assert store.find("k1").facts["bytes"] == 6
    assert (
        store.scores("k1", "s1") == {"values": {"psnr_rgb": 30.0}}
        and store.scores("k1", "s2") is None
    )
    assert not list((store.root / "work").iterdir())


def test_the_first_of_two_that_keep_the_same_wins(store: Store):
    """Catches an evaluation that fails, or replaces a file under another's hands, because another
    was faster.
    """
    assert kept(store, "k1", b"first") == kept(store, "k1", b"second")
    assert store.find("k1").file.read_bytes() == b"first"


def test_what_is_damaged_is_made_again(store: Store, caplog: pytest.LogCaptureFixture):
    """Catches a flipped bit or half a file of facts that is reported as the codec's."""
    kept(store, "k1", b"stream").write_bytes(b"strean")
    assert store.find("k1") is None and "damaged" in caplog.text
    file = kept(store, "k1", b"stream")
    (file.parent / "coded.json").write_text('{"file"')
    assert store.find("k1") is None
    store.write("clips", "c", [1])
    (store.root / "clips" / "c.json").write_text("[1")
    assert store.read("clips", "c") is None
    assert kept(store, "k1", b"stream").is_file()


def test_an_entry_that_comes_in_between_stays(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Catches a file of another evaluation, kept at the very moment when this one looks for it,
    taken for half a file.
    """
    exists = Path.exists

    def looks_then_it_comes(path: Path) -> bool:
        there = exists(path)
        if path.name == "k1" and not there:
            monkeypatch.undo()
            kept(store, "k1", b"other")
        return there

    monkeypatch.setattr(Path, "exists", looks_then_it_comes)
    assert store.find("k1") is None
    assert store.find("k1").file.read_bytes() == b"other"


def test_a_disk_that_does_not_answer_is_no_damage(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Catches hours of points that are removed because a network disk was away for a moment."""
    kept(store, "k1", b"stream")
    with monkeypatch.context() as away:
        away.setattr(
            Path, "read_text", lambda path: (_ for _ in ()).throw(OSError(116, "Stale file handle"))
        )
        with pytest.raises(OSError, match="Stale"):
            store.find("k1")
    assert store.find("k1") is not None


def test_workplaces_of_the_dead_are_removed_and_others_are_not(store: Store):
    """Catches disks that fill with raw planes of evaluations that were killed, and folders taken
    from the living.
    """
    with store.workplace() as mine:
        done = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"],
            capture_output=True,
            text=True,
            check=True,
        )
        host = mine.name.split("@")[0]
        dead, elsewhere = (
            mine.parent / name for name in (f"{host}@{done.stdout.strip()}@a_1_b", "other@1@a")
        )
        dead.mkdir()
        elsewhere.mkdir()
        with store.workplace():
            assert mine.is_dir() and elsewhere.is_dir() and not dead.exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path):
    """Catches a traceback instead of the field that moves the store."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CodecError, match="give cache=ANOTHER_FOLDER"),
        Store(tmp_path / "file" / "below").workplace(),
    ):
        pass


def test_keys_follow_content_and_settings(tmp_path: Path):
    """Catches a result of another clip, QP, tuning, preset, frame count or metric taken for this
    one, and the name mattering.
    """
    for name, content in (("a.yuv", b"1"), ("b.yuv", b"1"), ("c.yuv", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (cache.clip_hash(tmp_path / name) for name in ("a.yuv", "b.yuv", "c.yuv"))
    assert a == b != c
    clip = cache.clip_key(a, Sequence(tmp_path / "a.yuv"), 8)
    others = [
        cache.clip_key(a, Sequence(tmp_path / "a.yuv"), 9),
        cache.clip_key(a, Sequence(tmp_path / "a.yuv", first=1), 8),
    ]
    fast, slow = X265(), X265(preset="slow")
    found = [
        cache.stream_key(each, fast, fast.settings(), 30, "psnr", 1) for each in (clip, *others)
    ]
    found += [
        cache.stream_key(clip, fast, fast.settings(), 31, "psnr", 1),
        cache.stream_key(clip, fast, fast.settings(), 30, "default", 1),
    ]
    found += [
        cache.stream_key(clip, slow, slow.settings(), 30, "psnr", 1),
        cache.stream_key(clip, Zipped(), {}, 30, None, 1),
    ]
    assert len(set(found)) == len(found)
    renamed = replace(fast, name="x")
    assert cache.stream_key(clip, renamed, renamed.settings(), 30, "psnr", 1) == found[0]
    assert cache.stream_key(clip, Zipped(), {}, 30, None, 2) not in found
    scores = {
        cache.score_key("k", *how)
        for how in (
            ("mean", "cpu", 1),
            ("median", "cpu", 1),
            ("mean", "cuda", 1),
            ("mean", "cpu", 2),
        )
    }
    assert len(scores) == 4
    assert cache.clip_key(a, Sequence(tmp_path / "a_88x72_25.yuv"), 8) != cache.clip_key(
        a, Sequence(tmp_path / "a_176x144_25.yuv"), 8
    )
    assert cache.clip_key(a, Sequence(tmp_path / "a.mp4"), 8) == cache.clip_key(
        a, Sequence(tmp_path / "b.mp4"), 8
    )
    assert len(cache.own_source(Zipped())) == 64 and cache.own_source(fast) == ""
    assert cache.sources("codec/anchors") != cache.sources("data") and json.dumps(
        cache.libraries("torch", "no-such-thing")
    )


def test_a_comment_changes_no_key_and_code_does(tmp_path: Path):
    """Catches hours of VTM made again for a comment, and a number kept that other code
    would give.
    """
    texts = {
        "plain": "def f(a):\n    return a in {1, 'b'}\n",
        "told": '"""What it is."""\n\n\n# why\ndef f(a):\n    """What it does."""\n\n'
        '    return a in {1, "b"}  # so\n',
        "other": "def f(a):\n    return a in {1, 'c'}\n",
        "renamed": "def g(a):\n    return a in {1, 'b'}\n",
        "typed": "def f(a):\n    return a in {1.0, 'b'}\n",
        "broken": "def f(:\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    found = {name: cache.code_hash(tmp_path / f"{name}.py") for name in texts}
    assert found["plain"] == found["told"]
    assert len(set(found.values())) == len(texts) - 1


def test_the_code_of_a_network_from_outside_is_part_of_its_results(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches points that are kept although the lab's network, or what it imports, now does
    something else.
    """
    package = tmp_path / "labs_package"
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    (package / "__init__.py").write_text("")
    monkeypatch.setitem(registry._OWN, "network", {})
    monkeypatch.setitem(registry._PATHS, "network", {})
    registry.register("network", "labs_motion", "labs_package.motion:Motion")
    config = {
        "type": "video_codec",
        "motion": {"type": "labs_motion"},
        "entropy": {"type": "hyperprior"},
    }
    found = []
    for text in ("A = 1\n", "A = 1  # the same\n", "A = 2\n"):
        (package / "helper.py").write_text(text)
        cache.package_source.cache_clear()
        cache.code_hash.cache_clear()
        found.append(cache.outside_sources(config))
    assert list(found[0]) == ["labs_package"] and found[0] == found[1] != found[2]
    assert cache.outside_sources(config | {"motion": {"type": "zero_motion"}}) == {}


def test_costs_are_of_a_kind_of_gpu(monkeypatch: pytest.MonkeyPatch):
    """Catches speeds of a GPU that are taken for those of another, or of the CPU beside it."""
    coder, machines = X265(), []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("NVIDIA H200", "NVIDIA T4"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        machines.append(machine(1, "cuda"))
    machines.append(machine(1))
    assert [found.get("gpu") for found in machines] == ["NVIDIA H200", "NVIDIA T4", None]
    assert len({cache.complexity_key(coder, {}, "clip", 1, found) for found in machines}) == 3
    fake = SimpleNamespace(device="cuda", complexity=lambda source: {"encode_fps": 1.0})
    monkeypatch.setattr(benchmark, "source_of", lambda clip, frames: None)
    assert (
        benchmark.cost_of(fake, SimpleNamespace(path=Path("a.mp4")), None, 1)["machine"]
        == "NVIDIA T4"
    )
