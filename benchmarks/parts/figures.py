"""How a benchmark ends: one line a figure, and the same as JSON."""

import json
from pathlib import Path


def report(figures: dict[str, float], file: Path | None) -> None:
    """Print `figures`, `name: value`, and write them to `file` where one is given."""
    for name, value in figures.items():
        print(f"{name}: {value}")
    if file:
        file.write_text(json.dumps(figures, indent=2) + "\n")
