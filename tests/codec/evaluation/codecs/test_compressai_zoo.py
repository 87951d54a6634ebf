"""CompressAI's models as codecs: real files with random weights that are saved to a file."""

import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from compressai.zoo import models
from torch import Tensor, nn

from codec.errors import CodecError
from codec.evaluation.codecs.compressai_zoo import (
    HEADER,
    ZooCodec,
    decode_file,
    encode_file,
    load_model,
)
from data.io.color import ColorSpace
from data.io.source_clip import SourceClip

# By hand: hyper-decoders 4.73, motion 36.80, residual 39.20, blurring of the reference 0.48.
SSF_DECODE_KMAC = 81.21


def save_weights(model: str, path: Path) -> Path:
    """Random weights of a model, with CDF tables, as the zoo's files have them; parallel training's
    prefix included.
    """
    torch.manual_seed(1)
    net = models[model](quality=1)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data *= 1.5  # random symbols that are not all 0
    net.update(force=True)
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in net.state_dict().items()}}, path
    )
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of a video and an image model."""
    folder = tmp_path_factory.mktemp("weights")
    return {
        model: save_weights(model, folder / f"{model}.pth.tar")
        for model in ("ssf2020", "bmshj2018-factorized")
    }


def clip(frames: int = 3) -> SourceClip:
    """Texture of odd size that moves."""
    row, column = torch.meshgrid(torch.arange(38), torch.arange(51), indexing="ij")
    shades = [(7 * (column + 2 * time) + 5 * row) % 97 + 60 for time in range(frames)]
    rgb = torch.stack([torch.stack([shade, 200 - shade, shade // 2 + 40]) for shade in shades]).to(
        torch.uint8
    )
    size = {"width": 51, "height": 38, "frames": frames}
    pixels = {"planes": None, "rgb": rgb, "color_space": ColorSpace("bt601", False, "said")}
    return SourceClip("moving", Path("moving.mkv"), Fraction(25), **size, **pixels)


def test_a_video_model_codes_to_a_file_that_another_process_decodes(
    tmp_path: Path, weights: dict[str, Path]
):
    """Catches estimated bits, frames that come from the encoder, padding in the picture, and bytes
    that are not accounted for.
    """
    codec = ZooCodec(qualities=[3], weights={3: str(weights["ssf2020"])}, intra_period=2)
    source = clip()
    made = codec.code(source, 3, None, tmp_path)
    sizes = made.frame_bytes
    assert made.decoded.shape == source.rgb.shape and made.decoded.dtype == torch.uint8
    assert (
        made.bytes == made.file.stat().st_size == HEADER.size + sum(sizes)
        and len(sizes) == 3
        and min(sizes) > 12
    )
    assert made.encode_seconds > 0 and made.decode_seconds > 0
    settings = codec.settings()
    assert (
        settings["intra_period"] == 2
        and len(settings["weights"]["3"]) == 64
        and str(tmp_path) not in str(settings)
    )
    again = decode_file(load_model("ssf2020", weights["ssf2020"]), made.file)
    assert (again.int() - made.decoded.int()).abs().max() <= 1
    assert torch.equal(codec.decode(made.file, source).rgb, made.decoded)
    with pytest.raises(CodecError, match="code it again"):
        codec.decode(made.file, clip(2))
    assert pickle.loads(pickle.dumps(codec)) == codec
    cost = codec.complexity(source)
    assert cost["quality"] == 3 and cost["size"] == "51x38" and cost["encode_fps"] > 0
    padded = cost["decode_kmac"] * 51 * 38 / 128**2
    assert (
        padded == pytest.approx(SSF_DECODE_KMAC, rel=1e-3)
        and cost["encode_kmac"] > cost["decode_kmac"]
    )


def test_it_is_what_compressai_s_own_evaluation_codes(tmp_path: Path, weights: dict[str, Path]):
    """Catches a reference that is not clamped, or other padding: numbers that are not those of the
    published model.
    """
    from compressai.ops import compute_padding

    net, source = load_model("ssf2020", weights["ssf2020"]), clip()
    ours, sizes = encode_file(net, source.rgb, tmp_path / "a.bin", -1, 3, "cpu")
    padding, crop = compute_padding(38, 51, min_div=128)
    before: Tensor | None = None
    for time, frame in enumerate(source.rgb):  # the loop of compressai.utils.video.eval_model
        padded = nn.functional.pad(frame[None] / 255, padding, mode="constant", value=0)
        with torch.no_grad():
            before, coded = (
                net.encode_keyframe(padded) if before is None else net.encode_inter(padded, before)
            )
        before = before.clamp(0, 1)
        theirs = (nn.functional.pad(before, crop) * 255).round()[0]
        assert (theirs - ours[time]).abs().max() <= 1
        bodies = [coded["strings"]] if time == 0 else coded["strings"].values()
        assert sizes[time] == sum(
            12 + sum(4 + len(one[0]) for one in strings) for strings in bodies
        )


def test_an_image_model_codes_every_frame_by_itself(tmp_path: Path, weights: dict[str, Path]):
    """Catches an image model with an intra period, and frames out of order."""
    model = "bmshj2018-factorized"
    codec = ZooCodec(model, qualities=[1], weights={"1": str(weights[model])})
    assert codec.intra_period == 1 and codec.name == "bmshj2018-factorized_mse"
    source = clip()
    file = tmp_path / "a.bin"
    coded, sizes = encode_file(
        load_model(model, weights[model]), source.rgb, file, codec.intra_period, 1, "cpu"
    )
    torch.testing.assert_close(
        decode_file(load_model(model, weights[model]), file), coded, atol=1, rtol=0
    )
    alone, _ = encode_file(
        load_model(model, weights[model]), source.rgb[2:], tmp_path / "b.bin", 1, 1, "cpu"
    )
    torch.testing.assert_close(alone[0], coded[2], atol=1, rtol=0)


def test_a_damaged_file_is_named(tmp_path: Path, weights: dict[str, Path]):
    """Catches frames decoded from a file that is cut short, and a tail that nobody reads but
    everybody pays for.
    """
    net, file = (
        load_model("bmshj2018-factorized", weights["bmshj2018-factorized"]),
        tmp_path / "a.bin",
    )
    encode_file(net, clip(1).rgb, file, 1, 1, "cpu")
    whole = file.read_bytes()
    for content, message in (
        (whole[:-1], "1 more expected"),
        (whole + b"x", "goes on behind its 1 frames"),
    ):
        file.write_bytes(content)
        with pytest.raises(CodecError, match=message):
            decode_file(net, file)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "dcvc"}, "'dcvc' for 'mse': not in CompressAI's zoo; choose from ssf2020"),
        ({"metric": "ms-ssim"}, r"'ssf2020' for 'ms-ssim': not in"),
        ({"qualities": [0, 1]}, r"qualities \[0\]; CompressAI's zoo has 1 to 9"),
    ],
)
def test_choices_that_the_zoo_does_not_have(settings: dict[str, Any], message: str):
    """Catches a misspelt model that fails after hours of other codecs."""
    with pytest.raises(CodecError, match=message):
        ZooCodec(**settings)


def test_without_weights_it_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[str, Path]
):
    """Catches a download that nobody asked for, random weights in their place, and a message
    without a remedy.
    """
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        CodecError,
        match=r"ssf2020-mse-4-.* hub's cache\); fetch https://.*ssf2020-mse-4.* and give weights=",
    ):
        ZooCodec().code(clip(), 4, None, tmp_path)
    with pytest.raises(CodecError, match="no weights of quality 4 .*fetch https://"):
        ZooCodec(weights=str(tmp_path)).file(4)
    with pytest.raises(CodecError, match="no weights for quality 4; give weights.4=FILE"):
        ZooCodec(weights={1: "a"}).file(4)
    assert ZooCodec().qualities == (1, 2, 3, 4, 5, 6, 7, 8, 9)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "ssf2020-mse-4-577c1eda.pth.tar").touch()
    assert ZooCodec().file(4).parent == folder
    with pytest.raises(CodecError, match="no weights of CompressAI's bmshj2018-factorized"):
        load_model("bmshj2018-factorized", weights["ssf2020"])
