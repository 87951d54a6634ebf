from pathlib import Path

import pytest
import torch
from training_module import clip, module

from codec.errors import CodecError
from codec.training.fit import check_batch
from codec.training.module import CodecTraining
from codec.training.processes import count_processes, run_in_processes
from codec.training.stage import Stage
from codec.training.validation import validate
from data.clip import Clip


def part(whole: Clip, rank: int, ranks: int) -> Clip:
    """One process's share of a batch."""
    size = len(whole.names) // ranks
    some = slice(rank * size, (rank + 1) * size)
    return Clip(whole.frames[some], whole.names[some], whole.fps[some])


def trained(rank: int, ranks: int, bad: bool) -> dict:
    """What a process has after some steps: losses, weights, figures of a validation."""
    made: CodecTraining = module(batch=4, frames=2, settings={"log_every": 1, "ema": 0.9, "val_qualities": (20,)}, truncate=1)
    type(made).global_rank = property(lambda self: rank)
    made.codec.to(memory_format=torch.channels_last)  # gradients in another layout than weights would be taken for others
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
    import os

    rank = int(os.environ["LOCAL_RANK"])
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo")
    torch.save([trained(rank, 2, bad) for bad in (False, True)], folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_do_what_one_does(tmp_path: Path):
    """Catches gradients that are not averaged (or only those of the last pass), qualities and noise that follow the process,
    figures of the first process's clips alone, and a bad clip that only its own process skips."""
    run_in_processes(2, in_a_process, tmp_path)
    for bad, first, second in zip((False, True), *(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), strict=True):
        alone = trained(0, 1, bad)
        assert torch.equal(first["weights"], second["weights"])
        torch.testing.assert_close(first["weights"], alone["weights"], rtol=1e-3, atol=1e-4)
        assert first["losses"] == pytest.approx(alone["losses"], rel=1e-4)
        assert first["figures"] == pytest.approx(alone["figures"], rel=1e-3) and first["figures"] == second["figures"]
        assert first["skipped"] == second["skipped"] == alone["skipped"] == int(bad)


def test_batches_are_shared_evenly():
    """Catches a batch of which a process would get a part of a clip, and process counts that are no numbers."""
    stage = Stage("a", 1, 2, 64, 6, 1e-3, 1e-3, accumulate=3)
    check_batch(stage, 2)
    with pytest.raises(CodecError, match="batch 6 .* 4 processes x 3"):
        check_batch(stage, 4)
    assert count_processes({"devices": [0, 3], "num_nodes": 2}) == 4
    with pytest.raises(CodecError, match="trainer.devices=auto"):
        count_processes({"devices": "auto"})
