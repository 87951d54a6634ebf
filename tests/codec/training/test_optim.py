import pytest
import torch
from training_module import clip, module

from codec.errors import CodecError
from codec.training.checkpointing import load_training_state, training_state
from codec.training.optim import EMA
from codec.training.validation import validate


def test_the_average_is_the_formula():
    """Catches a decay at the wrong end, and an average that starts at zero."""
    codec = module().codec
    average = EMA(codec, 0.9)
    name, weight = next(iter(codec.named_parameters()))
    start = weight.detach().clone()
    expected = start.clone()
    for k in range(40):
        with torch.no_grad():
            weight += 1.0
        average.update(codec)
        decay = min(0.9, (1 + k) / (10 + k))
        expected = decay * expected + (1 - decay) * (start + k + 1)
    torch.testing.assert_close(
        dict(average.codec.named_parameters())[name], expected, rtol=1e-4, atol=1e-4
    )
    with pytest.raises(CodecError, match="training.ema: 1.0"):
        EMA(codec, 1.0)


def test_the_average_is_what_is_validated_and_kept():
    """Catches an average that is computed and then not used."""
    made = module(settings={"ema": 0.99, "val_qualities": (30,)}, lr=5e-3, lr_end=5e-3)
    for _ in range(8):
        made.training_step(clip(), 0)
    kept, raw = made.weights_to_keep(), made.codec.state_dict()
    assert any(not torch.equal(kept[name], raw[name]) for name in raw)
    with_average = validate(made, [clip()])["val/loss"]
    made.ema = None
    assert validate(made, [clip()])["val/loss"] != with_average


def test_training_goes_on_from_its_state():
    """Catches a resume that trains the averaged weights, or starts the average anew."""
    whole, cut = (module(settings={"ema": 0.99}) for _ in range(2))
    for made in (whole, cut):
        for _ in range(3):
            made.training_step(clip(), 0)
    other = module(settings={"ema": 0.99})
    load_training_state(other, cut.weights_to_keep(), training_state(cut))
    for made in (whole, other):
        made.training_step(clip(), 0)
    for first, second in ((whole.codec, other.codec), (whole.best_codec, other.best_codec)):
        assert all(
            torch.equal(value, second.state_dict()[name])
            for name, value in first.state_dict().items()
        )
