"""When a kernel stands in for tensor operations."""

import torch
from torch import Tensor


def by_kernel(*tensors: Tensor) -> bool:
    """Whether work on these can be a CPU kernel's: they are there, nothing asks for a gradient, and nothing is traced."""
    gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return on_cpu(*tensors) and not gradient


def on_cpu(*tensors: Tensor) -> bool:
    """Whether these are on the CPU and nothing is traced: enough for a kernel with a backward."""
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling()
    return all(tensor.device.type == "cpu" for tensor in tensors) and not traced
