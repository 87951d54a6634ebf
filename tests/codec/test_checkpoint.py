from pathlib import Path

import pytest
import torch
from small_codec import FPS, build, moving_clip

from codec.checkpoint import load_codec, model_hash, save_checkpoint
from codec.errors import CodecError
from codec.stream import compress, decompress, frames_sha256


def test_any_order_of_save_load_train_and_code_gives_the_same_file(tmp_path: Path):
    """Catches tables that are stale after loading or training, or missing because nobody updated
    them.
    """
    clip = moving_clip(2, 48, 64)
    fresh = build()
    save_checkpoint(tmp_path / "before.ckpt", fresh)
    first = compress(fresh, clip, FPS, 25, tmp_path / "a.cvd")
    train_a_little(fresh)
    save_checkpoint(tmp_path / "after.ckpt", fresh)
    trained = compress(fresh, clip, FPS, 25, tmp_path / "b.cvd")
    assert trained.reconstruction_sha256 != first.reconstruction_sha256
    reloaded = load_codec(tmp_path / "before.ckpt")
    assert (
        compress(reloaded, clip, FPS, 25, tmp_path / "c.cvd").reconstruction_sha256
        == first.reconstruction_sha256
    )
    reloaded.load_state_dict(load_codec(tmp_path / "after.ckpt").state_dict())
    assert (
        compress(reloaded, clip, FPS, 25, tmp_path / "d.cvd").reconstruction_sha256
        == trained.reconstruction_sha256
    )
    assert (tmp_path / "d.cvd").read_bytes() == (tmp_path / "b.cvd").read_bytes()
    decoded = decompress(tmp_path / "b.cvd", load_codec(tmp_path / "after.ckpt"))
    assert frames_sha256(decoded.frames) == trained.reconstruction_sha256


def train_a_little(codec: torch.nn.Module) -> None:
    """One large step of plain gradient descent."""
    frames = moving_clip(2, 48, 64)[None].float() / 255
    coded = codec.train()(frames, torch.tensor([25]))
    ((coded.frames - frames).square().mean() * 100 + coded.bpp.mean()).backward()
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter -= 1e-3 * parameter.grad.sign()
    codec.eval()


def test_a_run_folder_stands_for_its_best(tmp_path: Path):
    """Catches the last checkpoint being taken where a better one is kept."""
    with pytest.raises(CodecError, match="best.ckpt or .*last.ckpt does not exist"):
        load_codec(tmp_path)
    codec = build()
    save_checkpoint(tmp_path / "last.ckpt", codec)
    assert model_hash(load_codec(tmp_path)) == model_hash(codec)
    train_a_little(codec)
    save_checkpoint(tmp_path / "best.ckpt", codec)
    assert model_hash(load_codec(tmp_path)) == model_hash(codec)


def test_non_finite_weights_and_foreign_files_are_refused(tmp_path: Path):
    """Catches a codec that decodes to noise: the error names the file and the tensor."""
    codec = build()
    with torch.no_grad():
        next(codec.parameters())[0] = float("nan")
    save_checkpoint(tmp_path / "bad.ckpt", codec)
    with pytest.raises(CodecError, match="bad.ckpt: .* non-finite"):
        load_codec(tmp_path / "bad.ckpt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.ckpt")
    with pytest.raises(CodecError, match="not a Corvid checkpoint"):
        load_codec(tmp_path / "foreign.ckpt")
