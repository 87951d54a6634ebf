"""What happened in a run besides numbers: stages, skipped steps, rollbacks, stops; for people, and
a line of JSON each.
"""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from codec.files import WriteError, append_line

EVENTS = "events.jsonl"  # in a run's folder
log = logging.getLogger(__name__)


class Events:
    """Prints what happens and appends it to a file; of several processes the first does.

    Args:
        path: of the file, or None to print only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path

    @rank_zero_only
    def say(self, kind: str, text: str, step: int, **facts: Any) -> None:
        """Print `text`; write it with its kind, the codec step, the time and `facts`."""
        print(text, flush=True)
        self.write(kind, text, step, **facts)

    @rank_zero_only
    def write(self, kind: str, text: str, step: int, **facts: Any) -> None:
        """Write what is said elsewhere; a warning where the disk does not take it, for the event
        may be that it is full.
        """
        if not self.path:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            append_line(
                self.path,
                json.dumps({"time": now, "step": step, "kind": kind, "text": text} | facts),
            )
        except WriteError as error:
            log.warning("%s", error)
