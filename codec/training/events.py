"""What happened in a run besides numbers: stages, skipped steps, warnings, rollbacks; for people, and a line of JSON each."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from codec.files import append_line


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
        if self.path:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            append_line(self.path, json.dumps({"time": now, "step": step, "kind": kind, "text": text} | facts))
