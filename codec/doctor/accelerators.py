"""Checks of GPUs, and of the libraries by which training processes speak to each other."""

from typing import TYPE_CHECKING

from codec.doctor.finding import Finding, failing, ok, warning
from codec.doctor.plan import Plan

if TYPE_CHECKING:
    import torch

DRIVER = "look at nvidia-smi; install a driver that suits torch's CUDA version, or a torch that suits the driver"
NONE_SEEN = f"is one there? Ask for it in the job (--gpus), look at CUDA_VISIBLE_DEVICES; {DRIVER}"
NCCL = "install torch again; NCCL_DEBUG=INFO says what it tries, NCCL_SOCKET_IFNAME names the network that it takes"
GLOO = "let the node's name resolve (/etc/hosts), or name the network: export GLOO_SOCKET_IFNAME=lo"


def check_gpus(plan: Plan) -> Finding:
    """As many as the run has processes, and a product on the first."""
    import torch

    from codec.device import accelerators, default_device

    found = accelerators()
    if not found:
        return warning("none: training will be on the CPU", NONE_SEEN)
    if len(found) < plan.processes:
        return failing(f"{len(found)} for {plan.processes} processes: {', '.join(found)}", "lower trainer.devices")
    ones = torch.ones(16, 16, device=default_device())
    if (ones @ ones).unique().tolist() != [16.0]:
        return failing(f"{found[0]} computes wrongly", "have the GPU's memory checked; take another node")
    return ok(", ".join(found))


def check_driver(plan: Plan) -> Finding:
    """The driver, and that torch can use every GPU that it knows of."""
    from codec.device import accelerators, driver

    facts, usable = driver(), accelerators()
    if not facts["gpus"] and not usable:
        return ok("not needed without a GPU")
    found = (
        f"driver {facts['driver'] or 'unknown'}, torch for CUDA {facts['runtime'] or 'none'}, cuDNN {facts['cudnn'] or 'none'}"
    )
    if not usable:
        return failing(f"{found}: torch cannot use {facts['gpus']}", DRIVER)
    return ok(found)


def check_nccl(plan: Plan) -> Finding:
    """A sum over a group of one process on the first GPU."""
    import torch

    from codec.device import accelerators, default_device, driver

    if not accelerators():
        return ok("not needed without a GPU")
    return _sum_alone("nccl", torch.ones(4, device=default_device()), driver()["nccl"], NCCL)


def check_gloo(plan: Plan) -> Finding:
    """A sum over a group of one process on the CPU."""
    import torch

    return _sum_alone("gloo", torch.ones(4), "", GLOO)


def _sum_alone(backend: str, values: "torch.Tensor", version: str, remedy: str) -> Finding:
    from torch import distributed

    if not distributed.is_available() or not distributed.is_backend_available(backend):
        return failing("torch was built without it", remedy)
    if distributed.is_initialized():
        return ok(f"{version} this process is in a group already ({distributed.get_backend()})".strip())
    distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
    try:
        distributed.all_reduce(values)
        right = values.tolist() == [1.0] * len(values)
    finally:
        distributed.destroy_process_group()
    return ok(f"{version} a sum over one process is right".strip()) if right else failing("a sum is wrong", remedy)
