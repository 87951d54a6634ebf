import torch
from small_codec import build, moving_clip

from codec.entropy.coding.symbol_coder import RateEstimator
from codec.references import Context
from codec.residual.conditional import skip_gate


def test_only_what_moves_or_is_coded_gets_through():
    """Catches a gate that is upside down, misses its neighbours, or lies on the wrong block."""
    copied, latent, moving = (
        torch.zeros(1, 3, 96, 128),
        torch.zeros(1, 4, 6, 8),
        torch.zeros(1, 1, 6, 8),
    )
    latent[0, 2, 0, 0], moving[0, 0, 5, 7] = -3.0, 1.0
    gate = skip_gate(
        latent, Context(prediction=copied, features=copied, warped=copied, motion_mask=moving)
    )
    open_blocks = gate[0, 0].nonzero().tolist()
    assert open_blocks == [[0, 0], [0, 1], [1, 0], [1, 1], [4, 6], [4, 7], [5, 6], [5, 7]]
    assert gate.unique().tolist() == [0, 1]
    assert skip_gate(latent, Context(prediction=copied, features=copied)) is None


@torch.inference_mode()
def test_static_content_stays():
    """Catches drift on a picture that stands still, as without the gate, where means are what a
    trained network makes them.
    """
    frame, quality = moving_clip(1, 64, 96).float() / 255, torch.tensor([20])
    for skip, still in (("true", True), ("false", False)):
        codec, symbol_coder = build(f"skip_gate={skip}"), RateEstimator(hard=True)
        codec.residual.analysis.head.weight.zero_(), codec.residual.analysis.head.bias.zero_()
        first = coded = codec.code_frame(frame, None, (64, 96), quality, symbol_coder)
        for _ in range(3):
            picture = codec.output(first.reference, (64, 96))
            coded = codec.code_frame(picture, coded.references, (64, 96), quality, symbol_coder)
            assert (
                coded.reference.latent.any() and coded.reference.motion.any()
            )  # expected values, if nothing else
        assert torch.equal(coded.reference.frame, first.reference.frame) == still
