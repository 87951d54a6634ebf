"""Checks of what is installed. Packages are imported in the checks: one that is broken is a finding."""

import importlib.metadata
import platform

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from codec.doctor.finding import Finding, failing, ok
from codec.doctor.plan import Plan

SHOWN = ("torch", "torchvision", "numpy", "pytorch-lightning", "wandb")
INSTALL = "install again: make install, or pip install --constraint constraints.txt --editable ."
KERNELS = "give numba a folder of yours: export NUMBA_CACHE_DIR=~/.cache/numba; or reinstall numba"


def check_packages(plan: Plan) -> Finding:
    """Python and every package that Corvid requires, in the versions that it requires."""
    wanted = importlib.metadata.metadata("corvid").get("Requires-Python", "")
    wrong = [] if platform.python_version() in SpecifierSet(wanted) else [f"python {platform.python_version()} ({wanted})"]
    for line in importlib.metadata.requires("corvid") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed(requirement.name)
        if version is None:
            wrong.append(f"{requirement.name} missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} ({requirement.specifier})")
    if wrong:
        return failing(", ".join(wrong), INSTALL)
    return ok(", ".join([f"python {platform.python_version()}", *(f"{name} {installed(name)}" for name in SHOWN)]))


def installed(name: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_torch(plan: Plan) -> Finding:
    """A product, a gradient, and an operator of torchvision, which is missing when it was built for another torch."""
    import torch
    from torchvision.ops import nms

    weights = torch.ones(8, 8, requires_grad=True)
    (weights @ weights).sum().backward()
    kept = nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), torch.tensor([0.5, 0.9]), 0.5)
    if weights.grad.unique().tolist() != [16.0] or kept.tolist() != [1]:
        return failing("computes wrongly", INSTALL)
    return ok(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")


def check_kernels(plan: Plan) -> Finding:
    """Symbols through the entropy coder and back, and a grey picture through the colour conversion."""
    import torch

    from codec.entropy.coder import PayloadReader, PayloadWriter
    from codec.entropy.laplace import laplace_tables
    from data.colour import Colour, planes_to_rgb

    symbols = torch.arange(-32, 32).reshape(1, 4, 4, 4)
    rows = torch.full_like(symbols, 40)
    writer = PayloadWriter()
    writer.write(symbols, rows, laplace_tables())
    payload = writer.finish()
    read = PayloadReader(payload).read(rows, laplace_tables())
    grey = torch.full((1, 4, 4), 128, dtype=torch.uint8)
    rgb = planes_to_rgb(grey, grey[:, :2, :2], grey[:, :2, :2], Colour("bt709", True, "guessed"))
    if not torch.equal(read, symbols) or rgb.unique().tolist() != [128]:
        return failing("the entropy coder or the colour conversion computes wrongly", KERNELS)
    return ok(f"numba {installed('numba')}: {symbols.numel()} symbols in {len(payload)} bytes and back")
