import copy

import pytest
import torch
from literature import SMALL_CODECS
from small_codec import build, moving_clip
from torch import Tensor

from codec.errors import CodecError
from codec.losses.rate_distortion import RateDistortionLoss
from codec.training.module import compile_networks
from codec.video import VideoCodec


def step(codec: VideoCodec) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of two small clips."""
    frames, quality = (
        moving_clip(2, 64, 64)[None].repeat(2, 1, 1, 1, 1).float() / 255,
        torch.tensor([20, 50]),
    )
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = RateDistortionLoss()(frames, codec(frames, quality), quality).loss
    loss.backward()
    return loss.detach(), [p.grad for p in codec.parameters() if p.grad is not None]


def test_compiled_networks_learn_the_same():
    """Catches a compiled network that computes something else, loses gradients, or renames what
    checkpoints hold.
    """
    codec = build().train()
    compiled = copy.deepcopy(codec)
    names = compile_networks(compiled, "aot_eager")
    assert "residual.analysis" in names and not any("entropy" in name for name in names)
    (loss, gradients), (other, others) = step(codec), step(compiled)
    torch.testing.assert_close(loss, other)
    assert len(gradients) == len(others)
    for one, two in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-2 * float(one.abs().max()) + 1e-8)
    assert codec.state_dict().keys() == compiled.state_dict().keys()


def test_a_codec_without_networks_to_compile_says_so():
    """Catches a switch that silently does nothing."""
    with pytest.raises(CodecError, match="training.compile=true: no part"):
        compile_networks(build(*SMALL_CODECS["ssf"]))
