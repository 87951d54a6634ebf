"""What a run says, and writes down, when it stops before its last stage is done."""

from pytorch_lightning.utilities import rank_zero_only

from codec.files import WriteError
from codec.training.events import EVENTS
from codec.training.keep import KeepCheckpoints
from codec.training.module import CodecTraining
from codec.training.stopped import Stopped, StoppedEarly


@rank_zero_only
def say_stop(
    module: CodecTraining, keep: KeepCheckpoints, error: BaseException, signal: str
) -> None:
    """Say why training stopped and where the same command goes on; nothing where no stage had
    begun.

    The event is of the step from which it goes on: those of later steps are forgotten then. `at` is
    the step that was reached, `cause` one of `signal` (a time limit, too), `interrupt`, `disk` and
    `error`.

    Args:
        module, keep: of the run.
        error: that ended it.
        signal: name of the signal that had come to this process, or "".
    """
    if not (keep.folder / EVENTS).is_file():
        return
    cause, why, facts = "error", type(error).__name__, {"reason": str(error)}
    if isinstance(error, Stopped):
        cause, why, facts = "signal", str(error) or signal or "a signal to another process", {}
    elif isinstance(error, KeyboardInterrupt):
        cause, why, facts = "interrupt", "Ctrl-C", {}
    elif isinstance(error, WriteError):
        cause, why = "disk", "a file could not be written"
    there = keep.last_step is not None
    goes_on = (
        f"continues from step {keep.last_step}"
        if there
        else "begins again: there is no checkpoint yet"
    )
    text = (
        f"stopped at step {module.codec_steps} ({why}); the same command, or python train.py "
        f"resume={keep.folder}, {goes_on}"
    )
    if not isinstance(error, StoppedEarly):  # which has been said
        print(f"\n{text}", flush=True)  # below the progress bar
    module.events.write(
        "stop", text, keep.last_step or 0, cause=cause, at=module.codec_steps, **facts
    )
