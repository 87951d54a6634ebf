"""Several processes, one a device: how they start, what they say to each other, and the precision
that they compute in.
"""

import os
import platform
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities import rank_zero_only
from torch import distributed, multiprocessing, nn

from codec.device import (
    GPU_NAMES,
    default_device,
    memory_total,
    multiplies_bf16,
    multiplies_bf16_in_tiles,
)
from codec.errors import CodecError
from codec.precision import AUTO, fastest_precision, slower_here, why_fastest
from codec.training.schedule import Stage
from codec.training.shutdown import ASK_TO_STOP, TRY_AGAIN, Stopped, StoppedEarly, stop_early

WORTH_STARTING = (
    100  # codec steps of a run: in fewer, further processes do not make up for their start
)
BYTES_OF_A_PROCESS = 3 * 2**30
GRACE = 60  # seconds from the end of a process to that of the others
# A job's script, its interactive shell and the like are steps with numbers from here.
FIRST_SPECIAL_STEP = 0xFFFFFFF0
BY_HAND = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


class UnwrappedDDPStrategy(DDPStrategy):
    """Lightning's DDP without its wrapper: the training module averages gradients itself, once an
    update.

    The wrapper averages in every backward pass, and a parameter that only some passes reach comes
    out wrong; a step here may have many passes. A codec's gradients are tens of megabytes, so that
    one exchange an update costs little.

    All processes compute in the precision of the first: nodes may differ in what they can.
    """

    def setup_environment(self) -> None:
        super().setup_environment()
        own = self.precision_plugin.precision
        first = gather(own)[0]
        if first != own:
            mixed = first.endswith("mixed")
            self.precision_plugin = (
                MixedPrecision(first, self.root_device.type) if mixed else Precision()
            )

    def configure_ddp(self) -> None:
        """Leave the module as it is: no wrapper, no hooks."""


def strategy_and_plugins(processes: int) -> dict[str, Any]:
    """Arguments of `Trainer` for so many processes."""
    strategy = {"strategy": UnwrappedDDPStrategy()} if processes > 1 else {}
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return strategy
    if not is_srun_step():
        return strategy | {"plugins": [LightningEnvironment()]}
    nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
    os.environ.setdefault(
        "SLURM_NTASKS_PER_NODE", str(_tasks_of_step() // nodes)
    )  # `srun --ntasks` leaves it out
    return strategy | {"plugins": [SLURMEnvironment(auto_requeue=False)]}  # signals are ours


def is_first() -> bool:
    """Whether this is the first of all processes, or the only one."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def rank_of_start() -> int:
    """Which of all processes this is, by its environment: known before they are connected."""
    return int(getattr(rank_zero_only, "rank", 0))


def mean_gradients(parameters: Iterable[nn.Parameter], flags: list[float]) -> list[float]:
    """Average gradients over all processes, in place, and add up flags, in one exchange.

    A gradient that only some processes have is averaged with zeros; one that none has stays None.

    Args:
        parameters: the same ones in every process.
        flags: numbers of this process.

    Returns:
        The sums of the flags.
    """
    if not distributed.is_initialized():
        return flags
    parameters = list(parameters)
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    there = [float(p.grad is not None) for p in parameters]
    extra = torch.tensor([*there, *flags], device=parts[0].device)
    flat = torch.cat([*(part.flatten().float() for part in parts), extra])
    distributed.all_reduce(flat)
    sums = flat[-len(extra) :].tolist()
    flat /= distributed.get_world_size()
    for parameter, part, had in zip(
        parameters, flat.split([p.numel() for p in parts] + [len(extra)]), sums, strict=False
    ):
        # In the parameter's memory layout: a fused optimizer goes through memory and takes any
        # other for this one.
        parameter.grad = (
            torch.empty_like(parameter).copy_(part.view(parameter.shape)) if had else None
        )
    return sums[len(parameters) :]


def gather(value: Any) -> list[Any]:
    """Every process's value, in all of them."""
    if not distributed.is_initialized():
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    """Go on when every process has come here."""
    gather(None)


def same_weights(module: nn.Module) -> None:
    """Give all processes the first one's weights."""
    if distributed.is_initialized():
        for value in (*module.parameters(), *module.buffers()):
            distributed.broadcast(value.data, 0)


def count_processes(trainer: dict[str, Any]) -> int:
    """Processes of a run, of the `trainer` part of its config.

    Raises:
        CodecError: `devices` or `num_nodes` is not a number that can be counted before training
            starts.
    """
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    devices = len(devices) if isinstance(devices, list) else devices
    if not all(isinstance(n, int) and n >= 1 for n in (devices, nodes)):
        raise CodecError(
            f"trainer.devices={devices}, trainer.num_nodes={nodes}: numbers expected, at least 1 "
            "(devices: or auto)"
        )
    return devices * nodes


def choose_devices(trainer: dict[str, Any], stages: Sequence[Stage]) -> int | list[int]:
    """What `trainer.devices` means here: itself, and for `auto` as many processes as are fastest.

    Frames of a codec depend on each other and are small: two threads are hardly faster than one at
    it, two processes that share a batch are. So a CPU gets a process for each thread that torch
    would have, as far as they divide every stage's batch and memory suffices, unless the run is
    over sooner than they have started. Of GPUs it is one; srun and torchrun have decided.

    Args:
        trainer: of the run's config.
        stages: of its schedule.
    """
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    if devices != AUTO:
        return devices
    if are_started_outside():
        return max(1, _started() // nodes)
    if device_of(trainer).type != "cpu" or sum(stage.steps for stage in stages) < WORTH_STARTING:
        return 1
    most = min(torch.get_num_threads(), memory_total(torch.device("cpu")) // BYTES_OF_A_PROCESS)
    parts = [stage.batch / (nodes * stage.accumulate) for stage in stages]
    return next(
        n for n in range(max(1, most), 0, -1) if n == 1 or all(part % n == 0 for part in parts)
    )


def check_processes(count: int) -> None:
    """Raise CodecError where srun or torchrun started another number of processes than
    the run has.
    """
    started = _started() if are_started_outside() else count
    if started != count:
        raise CodecError(
            f"trainer.devices x trainer.num_nodes is {count}, but {started} processes were "
            "started; make them equal "
            "(or start one: it starts the others of its node)"
        )


def check_nodes(nodes: int) -> None:
    """Raise CodecError where a run of several nodes was started on one of them alone.

    Processes of other nodes can only be started by srun, torchrun, or by hand on each node with
    NODE_RANK, MASTER_ADDR and MASTER_PORT; a process that waits for them would wait for ever.
    """
    if nodes > 1 and not are_started_outside() and not all(name in os.environ for name in BY_HAND):
        raise CodecError(
            f"trainer.num_nodes={nodes}, but nothing has started processes on the other nodes; put "
            "srun before the command "
            f"(srun --nodes={nodes} --ntasks-per-node=DEVICES python train.py ...), or torchrun"
        )


def are_started_outside() -> bool:
    """Whether srun or torchrun has started this run's processes, each of which then runs the whole
    command.
    """
    return "TORCHELASTIC_RUN_ID" in os.environ or is_srun_step()


def _started() -> int:
    """Processes that srun or torchrun has started."""
    return (
        int(os.environ.get("WORLD_SIZE", 1))
        if "TORCHELASTIC_RUN_ID" in os.environ
        else _tasks_of_step()
    )


def is_srun_step() -> bool:
    """Whether srun started this process as one of several.

    A job's script is in the allocation, too, and has SLURM_NTASKS, but it is one process. Only a
    step of srun's has a number that is not one of SLURM's special ones.
    """
    step = os.environ.get("SLURM_STEP_ID", "")
    return step.isdecimal() and int(step) < FIRST_SPECIAL_STEP and _tasks_of_step() > 1


def _tasks_of_step() -> int:
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", os.environ.get("SLURM_NTASKS", 1)))


def run_in_processes(count: int, function: Callable[..., object], *arguments: Any) -> None:
    """Run a function in `count` new processes of this node; when one fails, the others are ended.

    Args:
        count: of processes on this node.
        function: importable, as are its arguments.
        arguments: of the function.

    Raises:
        Stopped: the processes were asked to stop, and did.
        KeyboardInterrupt: Ctrl-C; they have ended.
        CodecError: one of them raised it, or a DataError.
    """
    port = os.environ.get("MASTER_PORT") or str(_free_port())
    context = multiprocessing.start_processes(
        _start, (count, port, function, arguments), nprocs=count, join=False, start_method="spawn"
    )
    asked: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        _pass_on(context, number)

    before = {number: signal.signal(number, pass_on) for number in ASK_TO_STOP}
    try:
        while not context.join(grace_period=GRACE):
            pass
    except KeyboardInterrupt:
        _end_all(context)
        raise
    except multiprocessing.ProcessExitedException as error:
        if asked and error.exit_code != TRY_AGAIN:  # it had not come as far as to listen
            stop_early(asked[0])
        raise (
            Stopped if error.exit_code == TRY_AGAIN else CodecError(f"training: {error}; see above")
        ) from None
    except multiprocessing.ProcessRaisedException as error:
        if asked:  # as others had left it
            raise Stopped from None
        known = re.match(
            r"(?:codec|data|common)\.[\w.]+: (.*)", str(error).strip().splitlines()[-1]
        )
        raise (CodecError(known[1]) if known else error) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(
    rank: int, count: int, port: str, function: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_PORT": port}
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    # before there is a Trainer to say so
    vars(rank_zero_only)["rank"] = int(os.environ.get("NODE_RANK", 0)) * count + rank
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        function(*arguments)
    except StoppedEarly:  # others may be where they cannot answer
        sys.exit(TRY_AGAIN)
    except Stopped:
        wait_for_all()  # until the first has written its checkpoint
        sys.exit(TRY_AGAIN)


def _end_with_parent() -> None:
    """A run whose first process was killed is started again by the same command: nobody else may go
    on with it.
    """
    if parent := parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _pass_on(context: Any, number: int) -> None:
    for process in context.processes:
        if process.is_alive():
            os.kill(process.pid, number)


def _end_all(context: Any) -> None:
    """Wait for processes that Ctrl-C has reached, too; tell those that it has not."""
    for number, seconds in ((0, 2), (signal.SIGINT, GRACE), (signal.SIGKILL, GRACE)):
        if number:
            _pass_on(context, number)
        end = time.monotonic() + seconds
        for process in context.processes:
            process.join(max(0.0, end - time.monotonic()))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# Training needs bf16's range.
TRAINER_NAMES = {"bf16": "bf16-mixed", "fp32": "32-true", "fp16": "32-true"}
_OURS = {"bf16-mixed": "bf16", "32-true": "fp32"}


@dataclass(frozen=True)
class TrainerPrecision:
    """`name`, of `codec.training.stage.PRECISIONS`, and a line that says why."""

    name: str
    line: str


def choose_precision(
    trainer: dict[str, Any], before: str | None, sweep: Path | None
) -> TrainerPrecision:
    """Choose once, in the first process of a run; its others are told.

    Args:
        trainer: of the run's config. `precision` is one of Lightning's names, which is then chosen,
            or `auto`.
        before: what the run computed in so far; None for a new run.
        sweep: folder of the sweep that the run is a job of, whose jobs compute alike; None: it is
            no job of one.
    """
    device, asked = device_of(trainer), trainer.get("precision", AUTO)
    if asked != AUTO:
        changed = f", {before} until now" if before not in (None, asked) else ""
        return TrainerPrecision(
            asked, f"precision: {asked}, as given{changed}{_cost(asked, device)}"
        )
    best = best_precision(trainer)
    if before:
        remedy = f"; trainer.precision={best} goes on in that" if before != best else ""
        return TrainerPrecision(
            before, f"precision: {before}, as until now{_cost(before, device)}{remedy}"
        )
    if sweep and (agreed := agree(sweep, best, device)) != best:
        return TrainerPrecision(
            agreed, f"precision: {agreed}, as the first job of the sweep{_cost(agreed, device)}"
        )
    why = f"as {_why(device)} (trainer.precision=auto)"
    return TrainerPrecision(best, f"precision: {best}, {why}{_cost(best, device)}")


def best_precision(trainer: dict[str, Any]) -> str:
    """What the `trainer` part of a config means on this machine alone."""
    asked, device = trainer.get("precision", AUTO), device_of(trainer)
    if asked != AUTO:
        return asked
    return TRAINER_NAMES["fp32" if _only_in_vectors(device) else fastest_precision(device)]


def _only_in_vectors(device: torch.device) -> bool:
    """Whether this is a CPU that multiplies bfloat16, but not in AMX's tiles.

    Backward passes are slower in it then: `corvid_s` trained 18 frames a second in float32 and 15
    in bfloat16, the demo's step took 0.98 s and 1.09 s. Coding is faster in bfloat16 all the same.
    """
    return device.type == "cpu" and multiplies_bf16(device) and not multiplies_bf16_in_tiles(device)


def _why(device: torch.device) -> str:
    if _only_in_vectors(device):
        return "this CPU multiplies bfloat16, but not in AMX's tiles: float32 trains faster"
    return why_fastest(device)


def device_of(trainer: dict[str, Any]) -> torch.device:
    """The kind of device that the `trainer` part of a config trains on."""
    on_gpu = trainer.get("accelerator", "auto") in ("auto", *GPU_NAMES)
    return default_device() if on_gpu else torch.device("cpu")


def agree(sweep: Path, best: str, device: torch.device) -> str:
    """What the first job of a sweep on a device of this kind took; this one's `best` where it is
    the first.
    """
    file = sweep / f"precision_{device.type}.txt"
    sweep.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{platform.node()}.{os.getpid()}.part")
    part.write_text(f"{best}\n")
    with suppress(FileExistsError):
        os.link(part, file)  # whole at once, and never over another's
    part.unlink()
    return file.read_text().strip()


def _cost(name: str, device: torch.device) -> str:
    """What it costs here that `name` is not the fastest; "" where it is, or nearly."""
    slower = slower_here(_OURS[name], device)
    return f"; {slower}" if slower else ""
