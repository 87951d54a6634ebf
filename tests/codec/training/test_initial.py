from pathlib import Path

import pytest
import torch
from small_codec import build
from torch import nn

from codec.checkpoint import save_checkpoint
from codec.errors import CodecError
from codec.training.checkpointing import init_from
from codec.video import VideoCodec


def shaken(*overrides: str) -> VideoCodec:
    """A codec with other weights than `build` gives."""
    codec = build(*overrides)
    with torch.no_grad():
        for value in codec.parameters():
            value += 0.25
    return codec


def test_the_same_codec_is_taken_whole(tmp_path: Path):
    """Catches a tensor that is left as it was without a word."""
    other, codec = shaken(), build()
    save_checkpoint(tmp_path / "a.ckpt", other)
    count = len(codec.state_dict())
    assert (
        init_from(codec, str(tmp_path / "a.ckpt"))
        == f"init_from={tmp_path / 'a.ckpt'}: {count} of {count} tensors taken"
    )
    assert all(
        torch.equal(value, codec.state_dict()[name]) for name, value in other.state_dict().items()
    )


def test_what_does_not_match_is_named_by_module(tmp_path: Path):
    """Catches a network that stays untrained in silence, and a list of hundreds of names that
    nobody reads.
    """
    other, codec = shaken(), build("motion=implicit", "residual_depth=3")
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    save_checkpoint(tmp_path / "a.ckpt", other)
    said = init_from(codec, str(tmp_path / "a.ckpt"))
    taken = 0
    for name, value in codec.state_dict().items():
        came = other.state_dict().get(name)
        matches = came is not None and came.shape == value.shape
        assert torch.equal(value, came if matches else before[name])
        taken += matches
    assert f"{taken} of {len(before)} tensors taken" in said
    assert (
        "not there, left as they are: " in said
        and "there but not in this codec, not used: motion" in said
    )
    assert all(line.count(";") < 14 for line in said.splitlines())


def test_other_shapes_are_shown():
    """Catches a width that was changed and is found out after days."""
    from codec.training.checkpointing import _modules

    ours, theirs = nn.Linear(2, 3).state_dict(), nn.Linear(4, 3).state_dict()
    assert _modules(["weight"], ours, theirs) == ["weight (3, 2), there (3, 4)"]
    deep = {"a.b.c": ours["bias"], "a.b.d": ours["bias"], "a.e": ours["bias"]}
    assert _modules(["a.b.c", "a.b.d"], deep) == ["a.b.* (2 tensors, as a.b.c (3,))"]


def test_nothing_to_take_and_bad_numbers_are_errors(tmp_path: Path):
    """Catches a run that starts from scratch, or from NaN, although weights were given."""
    codec = build()
    save_checkpoint(tmp_path / "none.ckpt", codec, weights={"other.weight": torch.zeros(3)})
    with pytest.raises(
        CodecError, match="none of its 1 tensors has a name and shape of this codec"
    ):
        init_from(codec, str(tmp_path / "none.ckpt"))
    bad = {name: value * float("nan") for name, value in codec.state_dict().items()}
    save_checkpoint(tmp_path / "bad.ckpt", codec, weights=bad)
    with pytest.raises(CodecError, match="non-finite"):
        init_from(codec, str(tmp_path / "bad.ckpt"))
