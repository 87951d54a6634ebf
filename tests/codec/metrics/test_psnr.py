"""PSNR."""

import pytest
import torch

from codec.errors import CodecError
from codec.metrics import psnr


def test_psnr_is_the_formula_frame_by_frame():
    """Catches a mean over frames before the logarithm, wrap-around of uint8 differences, and a peak other than 255."""
    reference = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    decoded = reference.clone()
    decoded[0] = 255
    decoded[1, :, 0, 0] = 10
    expected = torch.tensor([0.0, 10 * torch.log10(torch.tensor(255.0**2 / (100 / 20))).item()], dtype=torch.float64)
    torch.testing.assert_close(psnr(reference, decoded), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(psnr(decoded, reference), expected, atol=1e-5, rtol=0)


def test_identical_frames_count_100_db():
    """Catches infinity in a mean, and a cap that touches frames with an error."""
    frames = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    decoded = frames.clone()
    decoded[1, 0, 0, 0] ^= 1
    values = psnr(frames, decoded)
    assert values[0] == 100
    assert values[1] == pytest.approx(10 * torch.log10(torch.tensor(255.0**2 * 192)).item(), abs=1e-4)


@pytest.mark.parametrize(
    "decoded", [torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4, dtype=torch.uint8)], ids=["float", "frames"]
)
def test_psnr_refuses_other_types_and_shapes(decoded: torch.Tensor):
    """Catches broadcasting over frames, and floats in 0..1 scored with a peak of 255."""
    with pytest.raises(CodecError, match="uint8"):
        psnr(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), decoded)
