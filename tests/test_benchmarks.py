"""What benchmarks answer and how they end; nothing is measured here."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from small_codec import build, moving_clip

from codec.checkpoint import build_codec
from codec.entropy.models.checkerboard import CheckerboardEntropy
from codec.entropy.models.integer_layers import Exact
from codec.freeze import freeze
from codec.stream import compress, decompress, frames_sha256
from codec.video import VideoCodec
from data.errors import DataError
from data.index.table import IndexedSequences
from data.io.color import ColorSpace
from data.io.source_clip import SourceClip
from data.loading.dataset import ClipDataset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Benchmarks import each other as scripts of one folder do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield


@pytest.fixture
def symbols(benchmarks: None) -> ModuleType:
    import exact_symbols

    return exact_symbols


@pytest.fixture
def gpu(benchmarks: None) -> ModuleType:
    import gpu_coding

    return gpu_coding


@pytest.fixture
def prediction(benchmarks: None) -> ModuleType:
    import prediction

    return prediction


def test_without_a_gpu_the_status_is_3(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """Catches a machine without a device that fails, or that reports speeds of its CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_coding.py"])
    assert gpu.main() == 3 and capsys.readouterr().out == "no GPU\n"
    monkeypatch.setattr(sys, "argv", ["gpu_coding.py", "--repeats", "4"])
    with pytest.raises(SystemExit) as stopped:
        gpu.main()
    assert stopped.value.code == 2


def test_our_coder_decodes_what_it_encodes(gpu: ModuleType, codec: VideoCodec):
    """Catches a receiver that follows other frames than the sender."""
    frames = moving_clip(3, 48, 64).float() / 255
    with torch.inference_mode():
        coder = gpu.OurCoder(freeze(codec, "fp32"), frames[:1], 32)
        for frame in frames[1:].split(1):
            coder.decode(coder.encode(frame))
    assert torch.equal(coder.sender.newest.latent, coder.receiver.newest.latent)


def test_a_control_without_mismatches_proves_nothing(symbols: ModuleType):
    """Catches a benchmark that passes because nothing it changes matters."""
    assert symbols.verdict(0, 5) is None
    assert "nothing is proved" in symbols.verdict(0, 0)
    assert "not exact" in symbols.verdict(1, 5)


def test_settings_are_spread(symbols: ModuleType):
    """Catches two choices that always go together: which of them matters would not be seen."""
    columns = list(
        zip(*(vars(setting).values() for setting in symbols.spread_settings()), strict=True)
    )[:6]
    assert all(len(set(zip(*pair, strict=True))) == 4 for pair in combinations(columns, 2))


def test_symbols_that_are_not_read_count(symbols: ModuleType, codec: VideoCodec):
    """Catches a payload that cannot be read and passes for one that was."""
    frames, setting = moving_clip(3, 48, 64), symbols.spread_settings()[0]
    ready = symbols.prepared(codec, setting)
    written = symbols.write(ready, setting, frames, 40)
    total = sum(value.numel() for value in written.symbols)
    assert symbols.read(ready, setting, written, (48, 64), 40) == (0, 0)
    written.payloads[0] = b"\x00"
    assert symbols.read(ready, setting, written, (48, 64), 40) == (total, total)


def test_the_control_rounds_nowhere(symbols: ModuleType, codec: VideoCodec):
    """Catches a control that is exact itself, and one that makes the codec inexact."""
    control = freeze(symbols.floating(codec), "fp32")
    assert not any(part.rounds for part in control.modules() if isinstance(part, Exact))
    assert all(part.rounds for part in codec.eval().modules() if isinstance(part, Exact))
    assert all(
        torch.equal(value, codec.state_dict()[name]) for name, value in control.state_dict().items()
    )


def test_variants_start_alike_and_keep_their_dead_zones(symbols: ModuleType):
    """Catches float context that is there before it is trained, and bits that are saved by coding
    less.
    """
    from parts import exact_rates

    torch.manual_seed(0)
    entropy = CheckerboardEntropy(6).eval()
    known = torch.randn(8, 6, 4, 4).mul(40).round() / 16
    parts = torch.randn(8, 6, 4, 4) * 5, known, torch.arange(8), torch.randn(8, 5, 8, 8)
    samples = [
        exact_rates.Sample(*each) for each in zip(*(part.split(1) for part in parts), strict=True)
    ]
    variants = {kind: exact_rates.Variant(entropy, kind, 5) for kind in exact_rates.KINDS}
    with torch.no_grad():
        before = {
            kind: variant.eval()(samples[0], hard=True)[0] for kind, variant in variants.items()
        }
    assert torch.equal(before["floats"], before["float context"])
    exact_rates.fit(variants, samples, 2)
    assert variants["float context"].context.weight.any()
    for variant in variants.values():
        assert torch.equal(variant.entropy.dead_zone.width.moved, entropy.dead_zone.width.moved)
        assert not torch.equal(variant.entropy.base.moved, entropy.base.moved)


def test_the_synthetic_index_is_an_index(benchmarks: None, tmp_path: Path):
    """Catches a benchmark of two million sequences that training would refuse, and
    draws that fail.
    """
    import index_scale

    index_scale.write_index(tmp_path / "index.parquet", 100)
    sequences = IndexedSequences(tmp_path / "index.parquet")
    assert (
        len(sequences) == 100
        and sequences[4].first == 100
        and sequences[3].path == sequences[5].path
    )
    clips = ClipDataset(sequences, frames=7, crop=256)
    clips.frame_cache.open = index_scale.BlackReader
    assert clips[0].frames.shape == (1, 7, 3, 256, 256) and clips.quarantine.count == 0


def test_ways_of_the_loader_benchmark_read(benchmarks: None, tmp_path: Path):
    """Catches a way that is fast because it reads nothing."""
    import index_scale
    import loader
    from parts.sources import encode

    file = encode(tmp_path / "a.mp4", 64, 48, loader.LENGTH, ["-g", "250"])
    loader.decord_clips([file], 1, 1)
    index_scale.write_index(tmp_path / "index.parquet", 3)
    with pytest.raises(DataError, match="no such file"):
        loader.our_clips(tmp_path / "index.parquet", 1, 1)


def test_drift_is_seen_and_where(benchmarks: None, codec: VideoCodec):
    """Catches two decodes in one precision, windows that miss the end, and a loss with the wrong
    sign.
    """
    import drift

    frames = moving_clip(8, 48, 64)
    source = SimpleNamespace(name="a", rgb=frames, fps=Fraction(25))
    figures = drift.drift(codec, [source], [40])
    assert {
        "q40_bf16_as_fp32_between_2",
        "q40_bf16_as_fp32_between_8",
        "q40_fp32_as_bf16_lost_8",
    } <= set(figures)
    assert 40 < figures["least_between"] < drift.IDENTICAL
    assert drift.psnr_by_frame(frames, frames) == [drift.IDENTICAL] * 8
    assert drift.windows([1.0] * 20 + [3.0] * 20) == {10: 1.0, 20: 1.0, 30: 3.0, 40: 3.0}


def moving_source(frames: int, height: int, width: int) -> SourceClip:
    """`moving_clip` as it comes from a file."""
    rgb = moving_clip(frames, height, width)
    how = {"planes": None, "rgb": rgb, "color_space": ColorSpace("bt709", False, "guessed")}
    return SourceClip("moving", Path("moving"), Fraction(25), width, height, frames, **how)


def test_fixed_blocks_gain_nothing_on_themselves(prediction: ModuleType):
    """Catches predictions that are compared from different references, or with another frame."""
    cheapest, dearest = (prediction.SATD_OF_A_BIT / value**0.5 for value in (0.4, 0.003))
    price = [f"motion.cheapest={cheapest}", f"motion.dearest={dearest}"]
    codec, source = build("motion=fixed_block_matching", *price), moving_source(3, 48, 64)
    figures = prediction.measure(codec, [source], [40, 55])
    assert figures["prediction_gain_db"] == pytest.approx(0, abs=0.1)
    for name in ("predicted_frame_rate_ratio", "intra_frame_rate_ratio"):
        assert figures[name] == figures[f"moving_{name}"] > 0
    assert figures["most_intra_difference_db"] < 1 and not freeze(codec).motion._forward_hooks


def test_a_codec_with_variable_blocks_is_measured(prediction: ModuleType, codec: VideoCodec):
    """Catches a benchmark that the project's own codec does not fit."""
    source = moving_source(3, 48, 64)
    one = prediction.at_quality(codec, source, 40, prediction.intra_level(source))
    assert one.prediction > 15 and one.fixed > 15 and one.ours.bits > 0
    assert "moving quality" in prediction.line(source, one)


@pytest.mark.parametrize("wanted", [50.3, 36.4, 21.0, 61.0, 12.0])
def test_bits_are_read_off_at_the_psnr_that_is_wanted(prediction: ModuleType, wanted: float):
    """Catches a line through the wrong points, and a search without an end outside of
    x265's range.
    """
    made = []

    def encode(qp: int) -> object:
        made.append(qp)
        level = 60 - 0.9 * qp
        return prediction.Coded(40.0, level, 100 * 2 ** (level / 6))

    bits, intra = prediction.bits_at(wanted, encode, 25)
    assert bits == pytest.approx(100 * 2 ** (wanted / 6)) and intra == 40.0
    assert len(made) == len(set(made)) <= 8
    expected = min(51, max(0, round((60 - wanted) / 0.9)))
    assert prediction.nearest(wanted, lambda qp: 60 - 0.9 * qp) == expected


def test_predicted_frames_that_only_repeat_have_their_bits(benchmarks: None):
    """Catches a division by nothing where x265 codes nothing any more at its two coarsest steps."""
    import prediction

    bits, _ = prediction.bits_at(
        20.0, lambda qp: prediction.Coded(40.0, max(30.0, 60.0 - qp), 12.0), 25
    )
    assert bits == pytest.approx(12.0)


@pytest.mark.parametrize("height, width", [(64, 96), (33, 49), (16, 16)])
def test_parallel_intra_frames_are_read_as_written(
    benchmarks: None,
    tmp_path: Path,
    height: int,
    width: int,
):
    """Catches a scheme whose decoder predicts from other pixels than the encoder, and gradients
    that do not reach a part of it.
    """
    import parallel_intra

    torch.manual_seed(0)
    codec = build_codec(parallel_intra.training_config("parallel", ["videos"])["codec"])
    clip, file = moving_clip(2, height, width), tmp_path / "a.cvd"
    written = compress(codec.eval(), clip, Fraction(25), 40, file, intra_period=1)
    assert frames_sha256(decompress(file, codec).frames) == written.reconstruction_sha256
    one = parallel_intra.at_quality(codec, moving_source(2, height, width), 40)
    assert one.psnr > 25 and one.bpp == 8 * written.bytes / (2 * height * width)
    if min(height, width) == 64:
        coded = codec.train()(clip[None, :1].float() / 255, torch.tensor([30]))
        (
            coded.bpp.sum() + coded.frames.square().sum() + coded.references.newest.features.sum()
        ).backward()
        parts = codec.intra.named_parameters()
        assert not [name for name, parameter in parts if parameter.grad is None]


def test_parallel_intra_is_compared_with_directional(benchmarks: None):
    """Catches a comparison with the codecs in the wrong order."""
    import parallel_intra

    names = parallel_intra.OURS
    codecs = {name: parallel_intra.training_config(name, ["videos"])["codec"] for name in names}
    built = {name: build_codec(config).eval() for name, config in codecs.items()}
    figures = parallel_intra.compare(built, [moving_source(1, 48, 64)], [10, 30, 50])
    assert figures["parallel_bd_rate_percent"] == figures["parallel_moving_bd_rate_percent"] > 0
    assert figures["parallel_decode_time_ratio"] > 0
    assert len(figures["points"]["parallel"]["moving"]) == 3


def test_auto_is_set_against_the_better_of_both(benchmarks: None):
    """Catches a ratio to the slower one, an environment that a figure does not name, and a rate
    with the first steps in it.
    """
    import machine

    seconds = {"auto": [2.0, 4.0, 2.2], "bf16": [10.0, 10.0, 10.0], "fp32": [2.0, 2.0, 2.0]}
    figures = machine.ratios({"decode": seconds}, "_avx2")
    assert figures["decode_ratio_avx2"] == 1.1 and figures["decode_bf16_seconds_avx2"] == 10.0
    assert machine.most_of("decode_ratio_avx2") == 1.1 and not machine.most_of(
        "decode_bf16_seconds_avx2"
    )
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    assert [len(taken) for taken in machine.in_turns(works, 2).values()] == [2, 2] and "".join(
        order
    ) == "abbaab"
    rows = [{"speed/frames_per_s": rate} for rate in (1, 1, 8, 9, 10)]
    assert machine.rate_of([json.dumps(row) for row in [{"val/loss": 1}, *rows]]) == 9


def test_the_imitated_machine_is_slow_in_bf16(benchmarks: None):
    """Catches variables that torch no longer reads: all figures would be of this machine."""
    import machine

    said = "from codec.precision import *; print(fastest_precision(torch.device('cpu')))"
    done = subprocess.run(
        [sys.executable, "-c", said],
        env=os.environ | machine.AVX2,
        cwd=BENCHMARKS.parent,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "fp32\n", done.stderr


def test_mutated_streams_give_frames_or_one_error(benchmarks: None):
    """Catches any other exception from a damaged stream, and frames before the damage that are not
    the encoder's.
    """
    import stream_fuzz

    codec = build("codec.precision=fp32")
    originals = [stream_fuzz.coded(codec, *size) for size in ((2, 32, 48), (3, 17, 40))]
    outcomes = [
        stream_fuzz.outcome_of(codec, originals, random.Random(number)) for number in range(150)
    ]
    assert set(outcomes) == {"frames", "refused"}
    assert outcomes.count("refused") > 75
