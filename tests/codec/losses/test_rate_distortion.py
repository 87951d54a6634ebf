import pytest
import torch

from codec.errors import CodecError
from codec.losses.rate_distortion import RateDistortionLoss, _SquaredError
from codec.quality import LambdaRange
from codec.video import CodedClip


def coded_clip(
    frames: torch.Tensor, bits: torch.Tensor, quality: list[int] | None = None, **lambdas: float
) -> CodedClip:
    """The first frame intra, all predictions black, `bits` `(B, T)`; lambda 1 unless told
    otherwise.
    """
    batch, length = frames.shape[:2]
    return CodedClip(
        frames=frames,
        bits={"residual": bits},
        predict=lambda: torch.zeros_like(frames),
        intra=tuple(t == 0 for t in range(length)),
        quality=torch.tensor(quality or [0] * batch)[:, None].expand(batch, length),
        lambdas=LambdaRange(**({"low": 1.0, "high": 1.0} | lambdas)),
    )


def coded(
    frames: torch.Tensor,
    error: float,
    bits: float,
    quality: list[int] | None = None,
    **lambdas: float,
) -> CodedClip:
    """Frames off by `error` everywhere that cost `bits` each."""
    return coded_clip(frames + error, torch.full(frames.shape[:2], bits), quality, **lambdas)


def test_the_loss_is_the_formula():
    """Catches lambda at the wrong end, a lost 255², and bpp of padded sizes."""
    frames = torch.full((2, 3, 3, 32, 40), 0.5)
    loss = RateDistortionLoss(balance=0.0)
    got = loss(frames, coded(frames, 2 / 255, 640.0, [0, 63], low=0.01), torch.tensor([0, 63]))
    expected = 640 / (32 * 40) + (0.01 + 1.0) / 2 * 4
    assert float(got.loss) == pytest.approx(expected, rel=1e-4)
    assert float(got.terms["bpp"]) == pytest.approx(0.5) and float(
        got.terms["bpp_residual"]
    ) == pytest.approx(0.5)


def test_the_gradient_of_the_squared_error_is_that_of_the_formula():
    """Catches a gradient that is scaled by another number of pixels, or of the wrong sign."""
    frames = [torch.rand(2, 3, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    expected = (frames[0] - frames[1]).square().mean((2, 3, 4))
    torch.testing.assert_close(_SquaredError.apply(*frames), expected)
    assert torch.autograd.gradcheck(_SquaredError.apply, frames)


def test_balance_divides_by_a_power_of_lambda():
    """Catches samples of one quality drowning the others, or the reverse."""
    frames = torch.full((1, 1, 3, 32, 32), 0.5)
    quality = torch.tensor([63])
    plain = RateDistortionLoss(balance=0.0)(
        frames, coded(frames, 0.1, 9.0, [63], low=0.01), quality
    ).loss
    even = RateDistortionLoss(balance=1.0)(
        frames, coded(frames, 0.1, 9.0, [63], low=0.01), quality
    ).loss
    assert float(even) == pytest.approx(float(plain) * 0.1, rel=1e-4)


def test_frame_weights_repeat_over_the_clip():
    """Catches weights shifted against the frames (DCVC #31)."""
    frames = torch.full((1, 3, 3, 32, 32), 0.5)
    bad = frames.clone()
    bad[:, 2] += 1 / 255
    loss = RateDistortionLoss(balance=0.0, frame_weights=[3.0, 0.0])
    clip = coded_clip(bad, torch.zeros(1, 3))
    assert float(loss(frames, clip, torch.tensor([0])).loss) == pytest.approx(3 / 3, rel=1e-3)


def test_lpips_enters_with_its_weight():
    """Catches a perceptual term that is logged and not minimised."""
    frames = torch.rand(1, 1, 3, 64, 64)
    loss = RateDistortionLoss(mse=0.0, lpips=10.0, balance=0.0)
    got = loss(frames, coded(frames.roll(8, -1), 0.0, 0.0), torch.tensor([0]))
    assert (
        float(got.loss) == pytest.approx(10 * float(got.terms["lpips"]))
        and got.terms["lpips"] > 0.05
    )


@pytest.mark.parametrize(
    "weights, said", [({"mse": 0.0}, "one of them above"), ({"ssim": 1.0}, "unknown terms")]
)
def test_senseless_weights_are_refused(weights: dict, said: str):
    """Catches a loss that minimises nothing, and a misspelt term."""
    with pytest.raises(CodecError, match=said):
        RateDistortionLoss().set_weights(**weights)


def test_the_prediction_enters_with_its_weight_and_psnr_is_said_by_kind():
    """Catches a motion network that learns nothing in the first stage, and intra quality mixed into
    the predicted.
    """
    frames = torch.full((1, 3, 3, 32, 32), 0.5)
    worse = frames.clone()
    worse[:, 1:] += 10 / 255
    got = RateDistortionLoss(mse=0.0, prediction=2.0, balance=0.0)(
        frames, coded_clip(worse, torch.zeros(1, 3)), torch.tensor([0])
    )
    assert float(got.loss) == pytest.approx(2 / 3 * 2 * 127.5**2, rel=1e-4)
    assert got.terms["psnr_intra"] > 90 and float(got.terms["psnr_predicted"]) == pytest.approx(
        28.13, abs=0.01
    )


HIERARCHY = [0.52, 1.33, 0.52, 0.83, 0.52, 0.83, 0.52, 0.83]


@pytest.mark.parametrize("length, first", [(9, 0), (8, 3), (1, 17)])
def test_hierarchical_weights_meet_their_frames(length: int, first: int):
    """Catches weights off by the frames before: in pieces of a clip they would begin anew at every
    cut (DCVC #31).
    """
    levels, index = [0.52, 1.33, 0.83], [0, 1, 0, 2, 0, 2, 0, 2]
    loss = RateDistortionLoss(balance=0.0, frame_weights=HIERARCHY)
    frames = torch.full((1, length, 3, 32, 32), 0.5)
    for t in range(length):
        bad = frames.clone()
        bad[:, t] += 1 / 255
        clip = coded_clip(bad, torch.zeros(1, length))
        clip.first = first
        expected = levels[index[(first + t) % 8]] / length
        assert float(loss(frames, clip, torch.tensor([0])).loss) == pytest.approx(
            expected, rel=1e-3
        ), t


def test_the_motion_estimate_is_weighed_as_the_prediction():
    """Catches a stage that trains motion by a term that is not there."""
    frames = torch.full((1, 2, 3, 32, 32), 0.5)
    clip = coded_clip(frames, torch.zeros(1, 2))
    clip.warped_uncoded = frames + 3 / 255
    loss = RateDistortionLoss(mse=0.0, estimate=2.0, balance=0.0)
    assert float(loss(frames, clip, torch.tensor([0])).loss) == pytest.approx(2 * 9 / 2, rel=1e-3)
