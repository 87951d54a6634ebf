"""Rate and PSNR of intra and of predicted frames, apart."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from codec.metrics import psnr
from codec.video import is_intra


def by_kind(
    reference: Tensor, decoded: Tensor, frame_bytes: Sequence[int], intra_period: int
) -> dict[str, dict[str, Any]]:
    """What intra and predicted frames cost and gave.

    Args:
        reference, decoded: `(T, 3, H, W)` uint8.
        frame_bytes: payload sizes, one a frame.
        intra_period: of the stream.

    Returns:
        `intra` and, where there are any, `predicted`: `frames`, `bytes` of their payloads, `bpp`,
            and mean `psnr_rgb`.
    """
    decibels = psnr(reference, decoded).tolist()
    pixels = reference.shape[-1] * reference.shape[-2]
    found: dict[str, dict[str, Any]] = {}
    for kind in ("intra", "predicted"):
        chosen = [
            t for t in range(len(frame_bytes)) if is_intra(t, intra_period) == (kind == "intra")
        ]
        if chosen:
            spent = sum(frame_bytes[t] for t in chosen)
            mean = sum(decibels[t] for t in chosen) / len(chosen)
            found[kind] = {
                "frames": len(chosen),
                "bytes": spent,
                "bpp": 8 * spent / pixels / len(chosen),
                "psnr_rgb": mean,
            }
    return found
