"""How a batch becomes an update: whole, in parts, in cut chains, a frame at a time."""

import pytest
import torch
from small_codec import build
from training_module import clip, module

from codec.entropy.noise import ClipNoise
from codec.errors import CodecError
from codec.training.module import CodecTraining, sample_quality_and_noise
from codec.training.schedule import Schedule


def gradients(made: CodecTraining, samples: int = 2, frames: int = 4) -> dict[str, torch.Tensor]:
    """By name, those of one step."""
    found = {}

    def look() -> None:
        found.update(
            {
                name: p.grad.clone()
                for name, p in made.codec.named_parameters()
                if p.grad is not None
            }
        )

    made.clip_gradient = 1e9
    made.optimizer.step = look
    made.training_step(clip(samples, frames), 0)
    return found


def assert_close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Within float tolerance of the largest gradient of each parameter."""
    assert set(first) == set(second)
    for name, value in first.items():
        torch.testing.assert_close(
            value, second[name], rtol=1e-3, atol=1e-4 * float(value.abs().max()) + 1e-8, msg=name
        )


def test_accumulation_gives_the_gradient_of_the_whole_batch():
    """Catches parts weighted wrongly, and noise or qualities that follow the part instead of the
    sample.
    """
    whole, parts = (gradients(module(batch=4, frames=3, accumulate=n), 4, 3) for n in (1, 4))
    assert_close(whole, parts)


def test_checkpointing_changes_no_gradient():
    """Catches noise that is drawn anew when activations are computed again.

    Gradients of what is otherwise computed once a step are added up in another order.
    """
    plain, again = (
        gradients(module("entropy=checkerboard", frames=4, checkpointing=on))
        for on in (False, True)
    )
    assert set(plain) == set(again)
    for name, value in plain.items():
        largest = float(value.abs().max())
        torch.testing.assert_close(value, again[name], rtol=1e-4, atol=1e-5 * largest, msg=name)


def test_truncation_is_the_sum_over_frames_cut_where_it_says():
    """Catches a cut at the wrong frame, and chunks of a clip that count by number and not by their
    frames.
    """
    made = module(frames=5, truncate=2)
    found = gradients(made, frames=5)
    frames, losses, before = clip(2, 5).frames.float() / 255, [], None
    quality, noise = sample_quality_and_noise(made.seed, 0, 2, torch.device("cpu"))
    made.codec.zero_grad()
    for start, stop in ((0, 2), (2, 4), (4, 5)):
        before = made.codec(frames[:, start:stop], quality, noise=noise, before=before)
        losses.append(made.loss(frames[:, start:stop], before, quality).loss * (stop - start) / 5)
        before.references = before.references.detach()
    torch.stack(losses).sum().backward()
    assert_close(
        found, {name: p.grad for name, p in made.codec.named_parameters() if p.grad is not None}
    )


def test_bits_of_components_are_means_over_all_frames():
    """Catches figures that grow where a clip is coded in chunks, of which some have no
    intra frame.
    """
    rows = []
    for settings in ({}, {"truncate": 2}, {"update": "frame", "lr": 0.0, "lr_end": 0.0}):
        made = module(frames=4, settings={"log_every": 1}, **settings)
        made.write = rows.append
        made.training_step(clip(2, 4), 0)
    for row in rows:
        bits = [value for name, value in row.items() if name.startswith("train/bpp_")]
        assert sum(bits) == pytest.approx(row["train/bpp"], rel=1e-4)
        assert row["train/bpp_intra"] == pytest.approx(rows[0]["train/bpp_intra"], rel=1e-4)


def test_pieces_code_the_clip_as_a_whole_does():
    """Catches a state that is lost between chunks, frames counted anew, and noise of
    another frame.
    """
    codec, frames, quality = build(), clip(2, 5).frames.float() / 255, torch.tensor([5, 50])
    noise = ClipNoise([(0, 1), (0, 2)])
    whole = codec(frames, quality, noise=noise)
    first = codec(frames[:, :2], quality, noise=noise)
    rest = codec(frames[:, 2:], quality, noise=noise, before=first)
    assert torch.equal(whole.frames, torch.cat([first.frames, rest.frames], 1))
    for name, bits in whole.bits.items():
        parts = [
            part.bits.get(name, torch.zeros(2, part.frames.shape[1])) for part in (first, rest)
        ]
        assert torch.equal(bits, torch.cat(parts, 1)), name
    assert (rest.first, rest.intra) == (2, (False,) * 3)


def test_an_update_after_every_frame():
    """Catches a stage of a step per frame that updates once a clip, and steps that are counted per
    update.
    """
    made = module(update="frame", frames=3)
    steps, kept = [], made.optimizer.step
    made.optimizer.step = lambda: (steps.append(made.global_step), kept())
    made.training_step(clip(2, 3), 0)
    assert steps == [0, 0, 0] and made.global_step == 1 and made.samples == 2


def test_the_rest_of_a_clip_with_a_bad_frame_is_left():
    """Catches frames that are predicted from one that was not finite."""
    made = module(update="frame", frames=4)
    bad = clip(2, 4)
    bad.frames = bad.frames.float()
    bad.frames[0, 1] = float("nan")
    made.training_step(bad, 0)
    assert made.skipped == 1


def test_frames_where_nothing_is_trained_are_passed_over():
    """Catches a backward pass without a gradient: the intra frame where the intra coder
    is frozen.
    """
    made = module(update="frame", frozen=["intra"])
    before = {name: p.clone() for name, p in made.codec.named_parameters()}
    made.training_step(clip(), 0)
    changed = {
        name.split(".")[0]
        for name, p in made.codec.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert changed == {"motion", "residual", "entropy"} and made.skipped == 0


def test_noise_follows_the_sample():
    """Catches noise that depends on the batch, the process or the memory layout, and samples that
    share theirs.
    """
    both = ClipNoise([(7, 3), (7, 4)])
    values = torch.empty(2, 5, 4, 6)
    whole = both.frame(1).like(values)
    assert torch.equal(whole[1:], both[1:].frame(1).like(values[1:]))
    assert torch.equal(whole, both.frame(1).like(values.to(memory_format=torch.channels_last)))
    assert not torch.equal(whole[0], whole[1]) and not torch.equal(
        whole, both.frame(2).like(values)
    )
    assert whole.min() >= 0 and whole.max() < 1


@pytest.mark.parametrize(
    "stage, said",
    [
        ({"update": "frame", "truncate": 2}, "neither truncate nor accumulate"),
        ({"update": "sometimes"}, "choose from clip, frame"),
        ({"accumulate": 3}, "does not divide batch 2"),
        ({"precision": "bf16"}, "choose from None, bf16-mixed"),
        ({"curve": "wavy"}, "choose from cosine"),
        ({"name": "a/b"}, "becomes a file's"),
        ({"lr": "abc"}, "lr is 'abc'; a number expected"),
        ({"frame_weights": [1, "a"]}, "numbers expected"),
        ({"rollback": -1.0}, "rollback is -1"),
        ({"frozen": ["intra", "motion", "residual", "entropy"]}, "nothing is left to train"),
    ],
)
def test_stages_that_make_no_sense_are_refused(stage: dict, said: str):
    """Catches a schedule that does something else than it says."""
    with pytest.raises(CodecError, match=said):
        module(**stage)


def test_a_scaled_schedule_has_every_stage():
    """Catches a quick look at a recipe that leaves a stage out."""
    stage = {
        "name": "a",
        "steps": 1000,
        "frames": 2,
        "crop": 64,
        "batch": 1,
        "lr": 1e-3,
        "lr_end": 0,
        "warmup": 100,
    }
    schedule = Schedule([stage, stage | {"name": "b", "steps": 10, "warmup": 0}], scale=0.01)
    assert [(s.steps, s.warmup, s.validate_every) for s in schedule.stages] == [
        (10, 1, 10),
        (1, 0, 10),
    ]
    with pytest.raises(CodecError, match="schedule.scale: 0"):
        Schedule([stage], scale=0)
