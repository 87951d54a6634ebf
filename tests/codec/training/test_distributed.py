import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment
from training_module import clip, module

from codec.errors import CodecError
from codec.training.distributed import (
    are_started_outside,
    check_nodes,
    check_processes,
    choose_devices,
    count_processes,
    run_in_processes,
    strategy_and_plugins,
)
from codec.training.loop import check_batch
from codec.training.module import CodecTraining
from codec.training.schedule import Stage
from codec.training.shutdown import StopOnSignal, Stopped
from codec.training.validation import validate
from data.loading.clip import Clip


def part(whole: Clip, rank: int, ranks: int) -> Clip:
    """One process's share of a batch."""
    size = len(whole.names) // ranks
    some = slice(rank * size, (rank + 1) * size)
    return Clip(whole.frames[some], whole.names[some], whole.fps[some])


def trained(rank: int, ranks: int, bad: bool) -> dict:
    """What a process has after some steps: losses, weights, figures of a validation."""
    made: CodecTraining = module(
        batch=4, frames=2, settings={"log_every": 1, "ema": 0.9, "val_qualities": (20,)}, truncate=1
    )
    type(made).global_rank = property(lambda self: rank)
    made.codec.to(
        memory_format=torch.channels_last
    )  # gradients in another layout than weights would be taken for others
    rows = []
    made.write = rows.append
    for step in range(3):
        batch = clip(4, 2)
        if bad and step == 1:
            batch.frames = batch.frames.float()
            batch.frames[3] = float("nan")
        made.training_step(part(batch, rank, ranks), step)
    figures = validate(made, [part(clip(4, 2), rank, ranks)])
    weights = torch.cat([p.detach().flatten() for p in made.codec.parameters()])
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    return {"losses": losses, "figures": figures, "weights": weights, "skipped": made.skipped}


def in_a_process(folder: Path) -> None:
    """Run by every process."""
    rank = int(os.environ["LOCAL_RANK"])
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo")
    torch.save([trained(rank, 2, bad) for bad in (False, True)], folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_do_what_one_does(tmp_path: Path):
    """Catches gradients that are not averaged (or only those of the last pass), qualities and noise
    that follow the process, figures of the first process's clips alone, and a bad clip that only
    its own process skips.
    """
    run_in_processes(2, in_a_process, tmp_path)
    for bad, first, second in zip(
        (False, True), *(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), strict=True
    ):
        alone = trained(0, 1, bad)
        assert torch.equal(first["weights"], second["weights"])
        torch.testing.assert_close(first["weights"], alone["weights"], rtol=1e-3, atol=1e-4)
        assert first["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        assert (
            first["figures"] == pytest.approx(alone["figures"], rel=1e-3)
            and first["figures"] == second["figures"]
        )
        assert first["skipped"] == second["skipped"] == alone["skipped"] == int(bad)


def test_batches_are_shared_evenly():
    """Catches a batch of which a process would get a part of a clip, and process counts that are no
    numbers.
    """
    stage = Stage("a", 1, 2, 64, 6, 1e-3, 1e-3, accumulate=3)
    check_batch(stage, 2)
    with pytest.raises(CodecError, match="batch 6 .* 4 processes x 3"):
        check_batch(stage, 4)
    assert count_processes({"devices": [0, 3], "num_nodes": 2}) == 4
    with pytest.raises(CodecError, match="trainer.devices=auto"):
        count_processes({"devices": "auto"})


SCRIPT = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "2",
    "SLURM_JOB_NAME": "train",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}
SRUN = SCRIPT | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NODEID": "0"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """One that no cluster has touched, to be filled."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM", "TORCHELASTIC", "MASTER"))
    }
    monkeypatch.setattr(os, "environ", kept)
    return kept


@pytest.mark.parametrize(
    "given, outside",
    [
        ({}, False),
        (SCRIPT, False),
        (SCRIPT | {"SLURM_STEP_ID": "4294967291"}, False),  # the script as a step
        (SCRIPT | {"SLURM_STEP_ID": "4294967290"}, False),  # salloc's shell
        (SCRIPT | {"SLURM_STEP_ID": "batch"}, False),
        (SRUN, True),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, False),  # srun --ntasks=1
        (SCRIPT | {"SLURM_STEP_ID": "3"}, True),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2"}, True),
    ],
)
def test_only_a_step_of_srun_has_started_the_others(
    environment: dict[str, str], given: dict[str, str], outside: bool
):
    """Catches a run that waits for ever for processes that nobody starts, and one that starts them
    a second time.
    """
    environment |= given
    assert are_started_outside() == outside
    check_processes(2)
    if outside:
        with pytest.raises(CodecError, match="is 3, but 2 processes were started"):
            check_processes(3)


def test_several_nodes_need_srun(environment: dict[str, str]):
    """Catches a run of two nodes that was started on one of them and waits for the other."""
    environment |= SCRIPT
    check_nodes(1)
    with pytest.raises(CodecError, match="num_nodes=2, but nothing has started .*srun --nodes=2"):
        check_nodes(2)
    environment |= SRUN
    check_nodes(2)
    for name in SRUN:
        del environment[name]
    environment |= {"NODE_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "12000"}
    check_nodes(2)


def test_lightning_is_told_who_started_the_processes(environment: dict[str, str]):
    """Catches Lightning's own guess, its traceback for `srun --ntasks=2`, and its requeueing beside
    ours.
    """
    assert type(strategy_and_plugins(2)["plugins"][0]) is LightningEnvironment
    environment |= SRUN
    (started,) = strategy_and_plugins(2)["plugins"]
    assert type(started) is SLURMEnvironment and not started.auto_requeue


def wait_for_one_that_never_comes(folder: Path) -> None:
    """Run by every process."""
    (folder / os.environ["LOCAL_RANK"]).touch()
    with StopOnSignal():
        torch.distributed.TCPStore(
            "127.0.0.1", 0, world_size=3, is_master=True, wait_for_workers=True
        )


def test_processes_that_wait_for_each_other_are_stopped(tmp_path: Path):
    """Catches a signal to the first process that ends nothing, or ends it as an error: the job
    would not be queued again.
    """

    def signal_when_they_wait() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.1)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=signal_when_they_wait, daemon=True).start()
    with pytest.raises(Stopped):
        run_in_processes(2, wait_for_one_that_never_comes, tmp_path)


def stage(steps: int = 200, batch: int = 4, accumulate: int = 1) -> Stage:
    """A stage of which only these matter."""
    return Stage(
        name="one",
        steps=steps,
        frames=2,
        crop=64,
        batch=batch,
        lr=1e-3,
        lr_end=1e-3,
        accumulate=accumulate,
    )


@pytest.mark.parametrize(
    "trainer, stages, wanted",
    [
        ({"devices": 3}, [stage()], 3),
        ({"devices": [0, 1]}, [stage()], [0, 1]),
        ({}, [stage()], 1),
        ({"devices": "auto"}, [stage()], 4),
        ({"devices": "auto"}, [stage(batch=6)], 3),
        ({"devices": "auto"}, [stage(batch=8), stage(batch=6)], 2),
        ({"devices": "auto"}, [stage(batch=8, accumulate=4)], 2),
        ({"devices": "auto"}, [stage(batch=5)], 1),
        ({"devices": "auto", "num_nodes": 2}, [stage(batch=8)], 4),
        ({"devices": "auto"}, [stage(steps=50), stage(steps=49)], 1),
        ({"devices": "auto"}, [stage(steps=50), stage(steps=50)], 4),
    ],
)
def test_a_cpu_gets_the_processes_that_share_its_batches(
    trainer: dict[str, Any],
    stages: list[Stage],
    wanted: int | list[int],
    monkeypatch: pytest.MonkeyPatch,
):
    """Catches cores that idle, a batch that cannot be shared, and processes for a run that ends
    before they start.
    """
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr("codec.training.distributed.memory_total", lambda device: 64 * 2**30)
    assert choose_devices({"accelerator": "cpu"} | trainer, stages) == wanted


def test_processes_are_no_more_than_memory_holds_and_one_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    """Catches a machine with many cores and little memory, and GPUs that nobody asked for."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr("codec.training.distributed.memory_total", lambda device: 13 * 2**30)
    assert choose_devices({"accelerator": "cpu", "devices": "auto"}, [stage(batch=64)]) == 4
    monkeypatch.setattr(
        "codec.training.distributed.device_of", lambda trainer: torch.device("cuda")
    )
    assert choose_devices({"devices": "auto"}, [stage(batch=64)]) == 1


def test_srun_decides_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch):
    """Catches a run of one process in each of the tasks that srun started."""
    for name, value in {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "6"}.items():
        monkeypatch.setenv(name, value)
    assert choose_devices({"devices": "auto", "num_nodes": 2}, [stage()]) == 3
