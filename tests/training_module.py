"""A training module that steps without a trainer, and something to train on."""

from typing import Any

import torch
from small_codec import build, moving_clip

from codec.losses.rate_distortion import RateDistortionLoss
from codec.training.module import CodecTraining
from codec.training.schedule import Schedule
from data.loading.clip import Clip

STAGE = {"name": "a", "steps": 10, "frames": 2, "crop": 64, "batch": 2, "lr": 1e-3, "lr_end": 1e-4}


def module(*overrides: str, settings: dict[str, Any] | None = None, **stage: Any) -> CodecTraining:
    """A module of a small codec with one stage; `settings` are arguments of `CodecTraining`."""
    settings = {"most_skipped": 3} | (settings or {})
    return without_trainer(
        CodecTraining(
            build(*overrides).train(), RateDistortionLoss(), Schedule([STAGE | stage]), **settings
        )
    )


def without_trainer(made: CodecTraining) -> CodecTraining:
    """The module, so that it can step by itself."""
    made.manual_backward = lambda loss: loss.backward()
    made.optimizers = lambda: made.optimizer
    made.log_dict = lambda *args, **kwargs: None
    made.write = lambda numbers: None
    return made


def clip(samples: int = 2, frames: int = 2) -> Clip:
    """Samples that differ, of 64x64."""
    whole = moving_clip(frames + samples, 64, 64)
    some = [whole[k : k + frames] for k in range(samples)]
    return Clip(torch.stack(some), ["one", "two", "three", "four"][:samples], [25.0] * samples)
