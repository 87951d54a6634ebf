"""Planes at the door of a standard codec."""

import pytest
import torch

from codec.anchors.planes import from_bytes, pad_to_even, rgb_to_planes, to_bytes
from codec.errors import CodecError
from data.io.color import ColorSpace, planes_to_rgb


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 2), (17, 16)])
def test_bytes_and_back_are_the_same_planes(size: tuple[int, int]):
    """Catches U and V swapped, rows of the wrong length, and padding that is not cropped."""
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    planes = tuple(
        torch.randint(0, 256, (3, *shape), dtype=torch.uint8) for shape in (size, half, half)
    )
    padded = pad_to_even(planes)
    assert padded[0].shape == (3, 2 * half[0], 2 * half[1])
    back = from_bytes(to_bytes(padded), 3, *size)
    assert all(torch.equal(a, b) for a, b in zip(planes, back, strict=True))
    with pytest.raises(CodecError, match="3 were encoded"):
        from_bytes(to_bytes(padded)[:-1], 3, *size)


def test_padding_repeats_the_edge():
    """Catches zeros in the padding, which cost bits and bleed into the picture."""
    luma = torch.tensor([[[1, 2, 3]]], dtype=torch.uint8)
    chroma = torch.zeros(1, 1, 2, dtype=torch.uint8)
    assert pad_to_even((luma, chroma, chroma))[0].tolist() == [[[1, 2, 3, 3], [1, 2, 3, 3]]]


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_planes_from_rgb_invert_the_conversion(matrix: str, full: bool, size: tuple[int, int]):
    """Catches another matrix, range or chroma siting: half a pixel of shift moves this gradient by
    2 and more.
    """
    row, column = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    rgb = (
        torch.stack([40 + 4 * column, 220 - 4 * column, 60 + 4 * row])
        .clamp(0, 255)
        .to(torch.uint8)[None]
    )
    colour = ColorSpace(matrix, full, "tagged")
    planes = rgb_to_planes(rgb, colour)
    assert planes[1].shape == (1, (size[0] + 1) // 2, (size[1] + 1) // 2)
    error = (planes_to_rgb(*planes, colour).int() - rgb.int())[..., 4:-4, 4:40].abs()
    assert error.max() <= 2 and error.float().mean() < 0.6
