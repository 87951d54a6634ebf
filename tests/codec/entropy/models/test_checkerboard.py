import pytest
import torch

from codec.entropy.coding.symbol_coder import RateEstimator, SymbolDecoder, SymbolEncoder
from codec.entropy.models.checkerboard import CheckerboardEntropy, checkerboard_masks
from codec.errors import CodecError

QUALITY = torch.tensor([20])


def network(channels: int = 6, **kwargs: object) -> CheckerboardEntropy:
    """A small network in which every path matters."""
    torch.manual_seed(0)
    built = CheckerboardEntropy(channels, hyper=4, width=48, **kwargs)
    with torch.no_grad():
        for parameter in built.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return built.eval()


def test_halves_are_a_partition():
    """Catches positions transmitted twice or never."""
    values = torch.randn(2, 6, 5, 7)
    anchor, non_anchor = checkerboard_masks(5, 7, values.device)
    assert anchor.select(values).shape == non_anchor.select(values).shape == (2, 3, 5, 7)
    assert torch.equal(
        anchor.scatter(anchor.select(values)) + non_anchor.scatter(non_anchor.select(values)),
        values,
    )
    assert anchor.even[0, 0, 0, 0] and not anchor.even[0, 0, 0, 1] and not anchor.even[0, 0, 1, 0]
    assert torch.equal(torch.cat([anchor.first, anchor.last]).sort().values, torch.arange(35))
    assert anchor.even.flatten()[anchor.first].all() and torch.equal(anchor.first, non_anchor.last)


@torch.inference_mode()
@pytest.mark.parametrize("channels", [6, 66])
def test_both_sides_have_the_same_and_the_estimate_is_the_payload(channels: int):
    """Catches a second pass that sees what the receiver does not have yet, for odd sizes, with and
    without a last frame.
    """
    coder = network(channels)
    latent = torch.randn(1, channels, 5, 7) * 4
    for previous in (None, torch.randn(1, channels, 5, 7).round()):
        writer, estimate = SymbolEncoder(), RateEstimator(hard=True)
        sent = coder.code("a", latent, (5, 7), QUALITY, writer, previous)
        payload = writer.finish_frame()
        assert torch.equal(
            coder.code("a", None, (5, 7), QUALITY, SymbolDecoder(payload), previous), sent
        )
        assert torch.equal(coder.code("a", latent, (5, 7), QUALITY, estimate, previous), sent)
        bits = estimate.take_bits()
        assert (
            set(bits) == {"a", "a.hyper"} and abs(float(sum(bits.values())) - 8 * len(payload)) < 96
        )


@torch.inference_mode()
def test_the_second_pass_uses_the_first_and_the_temporal_prior_is_used():
    """Catches passes that ignore what they were made for."""
    coder, latent, costs = network(), torch.randn(1, 6, 6, 6) * 4, []
    for previous in (None, 3 * torch.ones(1, 6, 6, 6), -3 * torch.ones(1, 6, 6, 6)):
        estimate = RateEstimator(hard=True)
        coder.code("a", latent, (6, 6), QUALITY, estimate, previous)
        costs.append(float(estimate.bits["a"]))
    assert len(set(costs)) == 3  # motion sees signs
    anchor, non_anchor = checkerboard_masks(6, 6, latent.device)
    features, first = (
        torch.randint(-127, 128, (1, 16, 6, 6)).float(),
        anchor.scatter(anchor.select(latent).round()),
    )
    moved = [
        coder.second_head(coder.second(features, known, anchor.even), non_anchor)
        for known in (first, torch.zeros_like(first))
    ]
    assert (moved[0] - moved[1]).abs().amax((0, 2, 3)).min() > 0


def test_heads_say_the_picked_half():
    """Catches positions that get the other half's channels."""
    head = network().second_head
    features = torch.randint(-127, 128, (2, 16, 5, 7)).float()
    anchor, non_anchor = checkerboard_masks(5, 7, features.device)
    whole = torch.cat([head.first(features), head.last(features)], 1)
    for mask in (anchor, non_anchor):
        assert torch.equal(head(features, mask), mask.select(whole))


def test_means_of_residuals_do_not_follow_the_signs_of_last_symbols():
    """Catches the temporal prior that doubled bits on unseen clips: wide latents see magnitudes
    only.
    """
    coder = network(66)
    estimates = []
    for sign in (1, -1):
        symbol_coder = RateEstimator(hard=True)
        coder.code(
            "a",
            torch.zeros(1, 66, 4, 4),
            (4, 4),
            QUALITY,
            symbol_coder,
            sign * 3 * torch.ones(1, 66, 4, 4),
        )
        estimates.append(float(symbol_coder.bits["a"].detach()))
    assert estimates[0] == estimates[1]


def test_an_odd_number_of_channels_is_refused():
    """Catches a channel that falls out of both halves."""
    with pytest.raises(CodecError, match="entropy.channels: 7 given"):
        CheckerboardEntropy(7)
