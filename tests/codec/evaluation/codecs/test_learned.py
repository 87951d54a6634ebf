"""A checkpoint as a codec to evaluate: one process writes, another reads."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from codec.checkpoint import build_codec, load_codec, save_checkpoint
from codec.errors import CodecError
from codec.evaluation.codecs import isolated_decoder, learned
from codec.evaluation.codecs.learned import LearnedCodec
from codec.evaluation.evaluate import precision_lines
from codec.evaluation.points.cache import stream_key
from codec.stream import read_stream
from data.io.source_clip import SourceClip, read_source

CONF = Path(__file__).parents[4] / "conf"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo's codec, narrow and untrained."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=["width=16"])
    plain = OmegaConf.to_container(config.codec, resolve=True)
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    save_checkpoint(path, build_codec(plain))
    return str(path)


@pytest.fixture(scope="module")
def source(clips: list[Path]) -> SourceClip:
    return read_source(clips[1], max_frames=2)


def test_the_decoder_is_another_process_and_agrees(
    checkpoint: str, source: SourceClip, tmp_path: Path
):
    """Catches decoding with the encoder's own state, and a size that is not the file's."""
    result = LearnedCodec(checkpoint).code(source, 40, None, tmp_path)
    assert result.decoded.shape == source.rgb.shape
    assert result.bytes == result.file.stat().st_size > 0
    assert isolated_decoder.process().submit(os.getpid).result() != os.getpid()


def test_another_reconstruction_is_an_error(
    checkpoint: str, source: SourceClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Catches a decoder that drifts from the encoder being scored as if nothing were."""
    monkeypatch.setattr(learned, "frames_sha256", lambda frames: "other")
    with pytest.raises(CodecError, match="fresh process decodes other frames"):
        LearnedCodec(checkpoint).code(source, 40, None, tmp_path)


def test_the_decoders_own_error_arrives(checkpoint: str, tmp_path: Path):
    """Catches an error of the other process that ends as a broken pool or hangs."""
    broken = tmp_path / "broken.cvd"
    broken.write_bytes(b"not a stream")
    with pytest.raises(CodecError, match="broken.cvd"):
        isolated_decoder.decode_isolated(broken, checkpoint)


def test_weights_that_change_meanwhile_are_an_error(
    checkpoint: str, source: SourceClip, tmp_path: Path
):
    """Catches files of new weights under the hash of the old, and old weights that stay
    in memory.
    """
    copy = tmp_path / "last.ckpt"
    shutil.copy(checkpoint, copy)
    coder = LearnedCodec(str(copy))
    before = coder.settings()["model_hash"]
    first = coder.code(source, 40, None, tmp_path).bytes
    changed = load_codec(checkpoint)
    with torch.no_grad():
        next(changed.parameters()).add_(0.1)
    save_checkpoint(copy, changed)
    with pytest.raises(CodecError, match="other weights than when the evaluation began"):
        coder.code(source, 40, None, tmp_path)
    again = LearnedCodec(str(copy))
    assert (
        again.settings()["model_hash"] != before
        and again.code(source, 40, None, tmp_path).bytes != first
    )


def test_all_intra_needs_other_bits(checkpoint: str, source: SourceClip, tmp_path: Path):
    """Catches an intra period that is not passed on, and settings without the model."""
    inter, intra = (
        LearnedCodec(checkpoint),
        LearnedCodec(checkpoint, name="all_intra", intra_period=1),
    )
    files = [coder.code(source, 40, None, tmp_path).file.read_bytes() for coder in (inter, intra)]
    assert files[0] != files[1]
    settings = intra.settings()
    assert settings["checkpoint"].endswith("/best.ckpt") and settings["checkpoint"].count("/") == 1
    assert len(settings["model_hash"]) == 16 and settings["intra_period"] == 1


def test_intra_and_predicted_frames_are_reported_apart(
    checkpoint: str, source: SourceClip, tmp_path: Path
):
    """Catches intra frames hidden in a mean, and bytes that belong to neither kind."""
    result = LearnedCodec(checkpoint).code(source, 40, None, tmp_path)
    intra, predicted = result.extra["by_kind"]["intra"], result.extra["by_kind"]["predicted"]
    assert [intra["bytes"], predicted["bytes"]] == result.frame_bytes
    assert intra["bpp"] == pytest.approx(8 * result.frame_bytes[0] / source.width / source.height)
    assert intra["psnr_rgb"] != predicted["psnr_rgb"] > 20
    alone = (
        LearnedCodec(checkpoint, intra_period=1).code(source, 40, None, tmp_path).extra["by_kind"]
    )
    assert set(alone) == {"intra"} and alone["intra"]["frames"] == 2


def test_a_kept_file_is_decoded_again(checkpoint: str, source: SourceClip, tmp_path: Path):
    """Catches a file of the cache that is scored with other frames than those it was made for."""
    coder = LearnedCodec(checkpoint)
    result = coder.code(source, 20, None, tmp_path)
    assert torch.equal(coder.decode(result.file, source).rgb, result.decoded)


def test_what_coding_costs(checkpoint: str, source: SourceClip):
    """Catches figures that are missing, and operations of another codec's parts, frames or
    direction.
    """
    cost = LearnedCodec(checkpoint).complexity(source)
    assert cost["parameters"] == sum(p.numel() for p in load_codec(checkpoint).parameters())
    assert cost["encode_kmac"] > cost["decode_kmac"] > 0
    assert (
        cost["encode_fps"] > 0 < cost["decode_fps"]
        and cost["encode_memory_mb"] > 100 < cost["decode_memory_mb"]
    )
    assert (cost["size"], cost["frames"]) == ("45x33", 2)
    alone = LearnedCodec(checkpoint, intra_period=1, qualities=(50, 13, 25)).complexity(source)
    assert alone["decode_kmac"] != cost["decode_kmac"] and alone["quality"] == 25


def test_what_it_computes_in_is_decided_once_and_names_the_points(
    checkpoint: str,
    source: SourceClip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """Catches points of one arithmetic found in the cache for another, nodes that make points each
    in their own, and a codec that is slow here without a word.
    """
    keys = []
    for has_bf16, wanted in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("codec.precision.multiplies_bf16", lambda device, has=has_bf16: has)
        monkeypatch.setattr(learned, "slower_here", lambda name, device: f"{name} is slow here")
        coder = LearnedCodec(checkpoint)
        settings = coder.settings()
        assert (
            settings["precision"] == coder.computed_in == wanted
            and f"{wanted} is slow here" in caplog.text
        )
        keys.append(stream_key("clip", coder, settings, 40, None, 1))
        monkeypatch.setattr("codec.precision.multiplies_bf16", lambda device, has=has_bf16: not has)
        worker = pickle.loads(pickle.dumps(coder))
        assert read_stream(worker.code(source, 40, None, tmp_path).file)[0].precision == wanted
    assert keys[0] != keys[1]
    assert LearnedCodec(checkpoint, precision="bf16").settings()["precision"] == "bf16"
    with pytest.raises(CodecError, match="corvid: precision: 'bf17' given"):
        LearnedCodec(checkpoint, precision="bf17")


def test_the_pattern_is_a_condition(checkpoint: str, source: SourceClip, tmp_path: Path):
    """Catches figures of one pattern merged with another's, and files that do not follow it."""
    assert "quality_pattern" not in LearnedCodec(checkpoint).settings()
    config = load_codec(checkpoint).config | {"quality_offsets": {"intra": 4, "predicted": [-6, 1]}}
    save_checkpoint(tmp_path / "patterned.ckpt", build_codec(config))
    coder = LearnedCodec(str(tmp_path / "patterned.ckpt"))
    assert coder.settings()["quality_pattern"] == "4:-6,1"
    packets = read_stream(coder.code(source, 40, None, tmp_path).file)[1]
    assert [packet.quality for packet in packets] == [44, 34]


def test_no_checkpoint_is_said():
    """Catches `anchors=[all_intra]` without a checkpoint ending in a traceback."""
    with pytest.raises(CodecError, match="checkpoint=FILE_OR_RUN"):
        LearnedCodec("", name="all_intra")


def test_what_codecs_compute_in_is_said_once(checkpoint: str, monkeypatch: pytest.MonkeyPatch):
    """Catches an evaluation of which nobody knows the arithmetic before it is done, and a line for
    every codec.
    """
    monkeypatch.setattr("codec.precision.multiplies_bf16", lambda device: False)
    coders = [
        LearnedCodec(checkpoint, name=name, precision=given)
        for name, given in (("a", None), ("b", "fp32"), ("c", "fp16"))
    ]
    settings = [{"precision": name, "device": "cpu"} for name in ("fp32", "fp32", "fp16")]
    assert precision_lines(coders, settings) == [
        "precision: a, b in fp32; this CPU does not multiply bfloat16",
        "precision: c in fp16; this CPU does not multiply bfloat16",
    ]
    assert not precision_lines(coders[:1], [{"preset": "medium"}])
