"""Names of the arithmetic that a codec's networks may compute streams in."""

import torch

from codec.errors import CodecError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(name: str) -> str:
    """Return `name` if it is one of `PRECISIONS`.

    Raises:
        CodecError: it is not.
    """
    if name not in PRECISIONS:
        raise CodecError(f"codec.precision: {name!r} given; choose from {', '.join(PRECISIONS)}")
    return name
