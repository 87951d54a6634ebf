import pytest
import torch
from small_codec import build
from training_module import clip, module

from codec.entropy.noise import ClipNoise
from codec.losses.rate_distortion import RateDistortionLoss
from codec.training.validation import validate
from codec.video import CodedClip, VideoCodec

OFFSETS = "quality_offsets={intra:9,predicted:[-12,-6,5]}"
EXPECTED = [[14, 0, 0, 10, 0], [63, 50, 56, 63, 50]]  # of a clip at quality 5, and of one at 62
QUALITY = torch.tensor([5, 62])


@pytest.fixture(scope="module")
def patterned() -> VideoCodec:
    """A small codec with a pattern."""
    return build(OFFSETS)


@torch.inference_mode()
def test_pieces_of_a_clip_go_on_in_the_pattern(patterned: VideoCodec):
    """Catches a pattern that begins anew with every chunk of a truncated chain."""
    frames, noise = clip(2, 5).frames.float() / 255, ClipNoise([(0, 1), (0, 2)])
    whole = patterned(frames, QUALITY, noise=noise)
    assert whole.quality.tolist() == EXPECTED
    first = patterned(frames[:, :2], QUALITY, noise=noise)
    rest = patterned(frames[:, 2:], QUALITY, noise=noise, before=first)
    assert torch.equal(torch.cat([first.quality, rest.quality], 1), whole.quality)
    assert torch.equal(torch.cat([first.frames, rest.frames], 1), whole.frames)
    assert rest.references.newest.quality.tolist() == [0, 50]


@torch.inference_mode()
def test_an_intra_frame_begins_the_pattern_anew(patterned: VideoCodec):
    """Catches positions counted from the clip's start, also with an intra frame in a
    later chunk.
    """
    frames = clip(2, 5).frames.float() / 255
    expected = [[14, 0, 0, 14, 0], [63, 50, 56, 63, 50]]
    whole = patterned(frames, QUALITY, hard=True, intra_period=3)
    assert whole.quality.tolist() == expected and whole.intra == (True, False, False, True, False)
    first = patterned(frames[:, :2], QUALITY, hard=True, intra_period=3)
    rest = patterned(frames[:, 2:], QUALITY, hard=True, intra_period=3, before=first)
    assert torch.cat([first.quality, rest.quality], 1).tolist() == expected
    assert rest.intra == (False, True, False)


def seen_by_the_loss(task: str, **stage: object) -> list[tuple[CodedClip, torch.Tensor]]:
    """What a training step and a validation at quality 20 give the loss."""
    settings, seen = {"task": task, "val_qualities": (20,)}, []
    made = module(OFFSETS, settings=settings, frames=5, **stage)
    made.loss.register_forward_pre_hook(lambda loss, given: seen.append(given[1:]))
    made.training_step(clip(2, 5), 0)
    validate(made, [clip(2, 5)])
    return seen


@pytest.mark.parametrize(
    "stage", [{}, {"truncate": 2}, {"update": "frame"}, {"checkpointing": True}]
)
def test_training_and_validation_code_at_each_frames_quality(stage: dict):
    """Catches a way of training in which the loss hears of the clip's quality alone."""
    *steps, last = seen_by_the_loss("codec", **stage)
    offsets = torch.tensor([9, -12, -6, 5, -12])
    found = torch.cat([coded.quality for coded, _ in steps], 1)
    assert torch.equal(found, (steps[0][1][:, None] + offsets).clamp(0, 63))
    assert last[0].quality.tolist() == [[29, 8, 14, 25, 8]] * 2


def test_motion_alone_is_trained_at_each_frames_quality():
    """Catches a task that leaves the pattern out, or counts from the intra frame before each."""
    *_, (coded, _) = seen_by_the_loss("motion")
    assert coded.quality.tolist() == [[8, 14, 25, 8]] * 2 and coded.first == 1


@torch.inference_mode()
def test_distortion_is_weighed_by_each_frames_lambda(patterned: VideoCodec):
    """Catches one lambda a sample, with which offsets are trained away."""
    frames = clip(2, 5).frames.float() / 255
    coded = patterned(frames, QUALITY)
    got = RateDistortionLoss(balance=0.0)(frames, coded, QUALITY).loss
    lambdas = patterned.lambdas.at(torch.tensor(EXPECTED))
    assert lambdas[0, 0] > 2 * lambdas[0, 1] and lambdas[1, 0] > 2 * lambdas[1, 1]
    distortion = 255**2 * (frames - coded.frames).square().mean((2, 3, 4))
    expected = (coded.bpp + lambdas * distortion).mean()
    assert float(got) == pytest.approx(float(expected), rel=1e-5)
    even = RateDistortionLoss(balance=1.0)(frames, coded, QUALITY).loss
    clips = patterned.lambdas.middle / patterned.lambdas.at(QUALITY)  # of the clip, not of frames
    expected = ((coded.bpp + lambdas * distortion).mean(1) * clips).mean()
    assert float(even) == pytest.approx(float(expected), rel=1e-5)
