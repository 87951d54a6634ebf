import dataclasses

import pytest
import torch

from codec.errors import CodecError
from codec.references import Reference, References


def reference(time: int, **fields: torch.Tensor) -> Reference:
    return Reference(
        frame=torch.full((1, 3, 16, 16), float(time)),
        features=torch.zeros(1, 4, 2, 2),
        time=time,
        **fields,
    )


def test_the_newest_come_first_and_the_oldest_go():
    """Catches a buffer that grows with the clip, and an order that changes under a reader."""
    first = References(frames=(reference(0),), time=1)
    second = first.push(reference(1), limit=2)
    third = second.push(reference(2), limit=2)
    assert [kept.time for kept in third] == [2, 1] and third.time == 3 and third.distances == (1, 2)
    assert [kept.time for kept in first] == [0] and len(second) == 2 and third.newest.time == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        third.time = 9


def test_references_may_lie_in_the_future():
    """Catches an interface that only the order of display fits."""
    between = References(frames=(reference(0), reference(8)), time=4)
    assert between.distances == (4, -4) and between[1].time == 8


def test_detached_references_have_no_history():
    """Catches gradients that flow into a piece of the clip that is done with."""
    latent = torch.ones(1, 2, 1, 1, requires_grad=True)
    kept = References(frames=(reference(0, latent=latent * 2),), time=1).detach()
    assert (
        not kept.newest.latent.requires_grad
        and kept.newest.motion is None
        and kept.newest.time == 0
    )


def test_nothing_to_predict_from_is_refused():
    """Catches a predicted frame without a reference."""
    with pytest.raises(CodecError, match="needs one at the least"):
        References(frames=(), time=1)
