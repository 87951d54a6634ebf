import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from codec.errors import CodecError
from codec.training.logging import Events, forget_after
from codec.training.run import say_stop
from codec.training.run_dir import EVENTS
from codec.training.shutdown import Stopped
from common.files import WriteError


def stopped(
    folder: Path, error: BaseException, signal: str = "", last_step: int | None = 4
) -> dict[str, object]:
    """The event of a run that ended in step 6, once it goes on from its last checkpoint."""
    module = SimpleNamespace(events=Events(folder / EVENTS), global_step=6)
    module.events.say("stage", "stage 1/1", 0)
    say_stop(module, SimpleNamespace(folder=folder, last_step=last_step), error, signal)
    forget_after(folder / EVENTS, last_step or 0)
    return json.loads((folder / EVENTS).read_text().splitlines()[-1])


@pytest.mark.parametrize(
    "error, cause, why",
    [
        (Stopped(), "signal", "SIGUSR1"),
        (Stopped("trainer.max_time"), "signal", "trainer.max_time"),
        (KeyboardInterrupt(), "interrupt", "Ctrl-C"),
        (
            WriteError("last.ckpt: not written, the disk is full"),
            "disk",
            "a file could not be written",
        ),
        (CodecError("20 updates in a row"), "error", "CodecError"),
    ],
)
def test_a_stop_is_told_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture, error: BaseException, cause: str, why: str
):
    """Catches a run that stands still and does not say why, and an event that is forgotten as soon
    as the run goes on.
    """
    event = stopped(tmp_path, error, "SIGUSR1")
    assert (event["kind"], event["step"], event["at"], event["cause"]) == ("stop", 4, 6, cause)
    assert event.get("reason", "") == str(error) or cause == "signal"
    said = (
        f"stopped at step 6 ({why}); the same command, or python train.py resume={tmp_path}, "
        "continues from step 4"
    )
    assert event["text"] == said and said in capsys.readouterr().out


def test_without_a_checkpoint_a_run_begins_again(tmp_path: Path):
    """Catches a promise to continue from nothing, and a history of a run that never began."""
    assert (
        "begins again: there is no checkpoint yet"
        in stopped(tmp_path, CodecError("bad"), last_step=None)["text"]
    )
    (tmp_path / EVENTS).unlink()
    say_stop(SimpleNamespace(), SimpleNamespace(folder=tmp_path), CodecError("bad"), "")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_no_event_does_not_hide_the_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Catches a full disk that ends a run a second time, while it says that it is full."""
    Events(tmp_path / "missing" / EVENTS).say("stop", "stopped", 3)
    assert "events.jsonl: not written, No such file" in caplog.text
