"""Published weights of every state load, under names of the past, and read what they wrote."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from small_codec import moving_clip

from codec import registry
from codec.checkpoint import load_codec, model_hash, read_checkpoint, save_checkpoint
from codec.stream import decompress, frames_sha256
from codec.video import VideoCodec

ROOT = Path(__file__).parents[2]
STREAMS = ROOT / "tests" / "assets" / "streams"
PUBLISHED = ROOT / "docs" / "results" / "corvid_s"


@dataclass(frozen=True)
class State:
    """Weights that were published, and what the code of commit 9ffca36 said of them, or the code
    that they were published with.

    By that commit, for each: codec = load_codec(weights); codec.precision = "fp32";
    compress(codec, moving_clip(5, 32, 48), FPS, 30, stream, intra_period=3); `decompress` gave
    the SHA-256 of the frames and the PSNR, `model_hash` the hash.

    Attributes:
        weights: a file of the tree, or `COMMIT:PATH` of the history.
        model: its hash.
        frames: SHA-256 of the decoded frames on the machine that made them.
        psnr: dB.
    """

    weights: str
    model: str
    frames: str
    psnr: float


STATES = {
    "corvid_s_first": State(
        weights="1b7b567:docs/results/corvid_s/corvid_s.ckpt",
        model="26a50e1c0eff2ff7",
        frames="42784e554669e99f4e827be03e4e04215ffc5ac6fcd13f5494c818a222d85728",
        psnr=35.8218,
    ),
    "corvid_s_fixed_blocks": State(  # corvid_s.ckpt of commit f116be0
        weights="corvid_s_fixed_blocks.ckpt",
        model="8124244a1655dd14",
        frames="4a6a71c0ef0364d8c22471f8ea9db7731577b125d3e392c346c3cc001241a7ed",
        psnr=35.8652,
    ),
    "corvid_s_conditional": State(  # corvid_s.ckpt of commit c929b36
        weights="corvid_s_conditional.ckpt",
        model="c8705550190b31fe",
        frames="7ac291a6e3395a1eff4fd02255315bd70bc2933c03bcd2c84f79952a4b7fb5ac",
        psnr=35.8980,
    ),
    "corvid_s_directional": State(
        weights="60f8ccd:docs/results/corvid_s/corvid_s_directional.ckpt",
        model="e7656889b4320bca",
        frames="9b8df26a81aadee4724744be7afbf520bdd22046090f4bf237a6357d0ba0bcbd",
        psnr=36.1607,
    ),
    "corvid_s": State(  # the first that codes blocks in predicted frames
        weights="corvid_s.ckpt",
        model="147ba05b0e4b39b5",
        frames="47e7323982f79d29b4f4ec21c61f05c7985009046118133ba609b362a273f13b",
        psnr=36.7754,
    ),
}


def weights_of(state: State, folder: Path) -> Path:
    """The file of a state; the test is skipped where it is of the history and that is not here."""
    if ":" not in state.weights:
        return PUBLISHED / state.weights
    command = ["git", "-C", str(ROOT), "cat-file", "blob", state.weights]
    try:
        found = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"{state.weights}: not in this checkout's history ({error})")
    (folder / "old.ckpt").write_bytes(found)
    return folder / "old.ckpt"


@pytest.mark.parametrize("name", STATES)
def test_a_published_state_reads_its_stream(name: str, tmp_path: Path):
    """Catches a class, argument or parameter whose old name no longer works, and another hash."""
    state = STATES[name]
    codec = load_codec(weights_of(state, tmp_path))
    assert model_hash(codec) == state.model
    read = decompress(STREAMS / f"{name}.cvd", codec)
    assert read.identical == (frames_sha256(read.frames) == state.frames)
    missed = (read.frames.double() - moving_clip(5, 32, 48).double()) / 255
    assert float(-10 * missed.square().mean().log10()) == pytest.approx(state.psnr, abs=0.02)


def test_every_published_file_of_the_tree_is_tested():
    """Catches weights that are published and forgotten here."""
    assert {path.name for path in (ROOT / "docs" / "results").rglob("*.ckpt")} == {
        state.weights for state in STATES.values() if ":" not in state.weights
    }


def test_names_of_parameters_and_arguments_may_change(
    codec: VideoCodec,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches a rename that changes the hash of old files: their streams would find no weights."""
    content = read_checkpoint(checkpoint)
    motion = content["codec_config"]["motion"]
    motion["iterations"] = motion.pop("depth")
    motion["forgotten"] = 3
    names = [name for name in content["codec"] if name.startswith("motion.context.")]
    assert names
    for name in names:
        old = name.replace("motion.context.", "motion.refinement.")
        content["codec"][old] = content["codec"].pop(name)
    torch.save(content, tmp_path / "old.ckpt")
    arguments = {"iterations": "depth", "forgotten": None}
    monkeypatch.setitem(registry._ARGUMENTS, ("network", "block_matching"), arguments)
    monkeypatch.setitem(registry._PARAMETERS, "block_matching", {"refinement": "context"})
    loaded = load_codec(tmp_path / "old.ckpt")
    first = names[0]
    assert torch.equal(loaded.state_dict()[first], codec.state_dict()[first])
    save_checkpoint(tmp_path / "again.ckpt", loaded)
    again = read_checkpoint(tmp_path / "again.ckpt")
    assert again["codec_config"] == content["codec_config"]
    assert set(again["codec"]) == set(content["codec"])
    assert model_hash(load_codec(tmp_path / "again.ckpt")) == model_hash(loaded)
    assert model_hash(loaded) != model_hash(codec)
