"""What happens to each of a set of bad and unusual files: at indexing, at reading, in a training
loader, in evaluation.

The loader is the one that training has, with reading processes, over good files and all these
together, several epochs long. `training_stopped` counts loaders that raised. `silent` counts files
that nobody reported, neither index nor loader, although they are damaged, or although they came out
with wrong pictures; `silent_without_index` is what it would be for training from files that were
never indexed: a loader does not decode all of a file, and HEVC decoders take nearly any bits for a
picture.

    python benchmarks/bad_files.py [--folder KEEP_THEM_THERE] [--json FILE]
"""

import argparse
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from parts.bad_files import DAMAGED, make_bad_files
from parts.figures import report

from data.errors import DataError
from data.index.options import ScanOptions
from data.index.scan import scan
from data.index.source_files import Source
from data.io.readers import open_reader
from data.io.source_clip import read_source
from data.loading.clip import Clip
from data.loading.datamodule import ClipDataModule
from data.sequences import Sequence

FRAMES, GOOD, EPOCHS = 2, 4, 4  # frames a clip, copies of the good file
READERS = ("auto", "decord", "pyav")
RIGHT, WRONG = "right", "wrong pictures"


@dataclass
class Outcome:
    """What was said of a file: "" is nothing wrong.

    Attributes:
        index: why the index leaves it out.
        reading: by reader, what came of reading every frame.
        loader: by reader, why the loader set it aside.
        clips: by reader, clips that came from it.
        evaluation: why evaluation refuses it.
    """

    index: str
    reading: dict[str, str]
    loader: dict[str, str]
    clips: dict[str, int]
    evaluation: str

    def silent(self, damaged: bool, with_index: bool = True) -> bool:
        """Whether it is bad, with one of the readers, and neither the loader nor, where there is
        one, the index said so.
        """
        unsaid = [
            reader
            for reader, said in self.loader.items()
            if not said and not (self.index and with_index)
        ]
        return any(damaged or self.reading[reader].startswith(WRONG) for reader in unsaid)


def main() -> None:
    """Make the files, look, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=None, help="keep the files there")
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        folder = choice.folder or Path(temporary) / "files"
        files = make_bad_files(folder)
        outcomes, stopped = examine(files, folder / "good.mp4", Path(temporary) / "run")
    show(outcomes)
    silent = {
        kind: sum(o.silent(name in DAMAGED, kind) for name, o in outcomes.items())
        for kind in (True, False)
    }
    figures = {
        "training_stopped": stopped,
        "silent": silent[True],
        "silent_without_index": silent[False],
        "files": len(outcomes),
    }
    report(figures, choice.json)


def examine(files: dict[str, Path], good: Path, folder: Path) -> tuple[dict[str, Outcome], int]:
    """The outcome of every file, and how many loaders stopped; `folder` is for the
    run's own files.
    """
    runs = {reader: run_loader(files, good, reader, folder / reader) for reader in READERS}
    outcomes = {}
    for name, path in files.items():
        outcomes[name] = Outcome(
            index=indexed(path),
            reading={
                reader: refusal(lambda path=path, reader=reader: read_all(path, reader))
                for reader in READERS
            },
            loader={reader: run.faults.get(name, "") for reader, run in runs.items()},
            clips={reader: run.clips.get(name, 0) for reader, run in runs.items()},
            evaluation=refusal(lambda path=path: read_source(path) and ""),
        )
    return outcomes, sum(run.stopped for run in runs.values())


@dataclass
class Run:
    """Of a loader: reasons by file, clips by file, whether it raised."""

    faults: dict[str, str]
    clips: dict[str, int]
    stopped: bool


def run_loader(files: dict[str, Path], good: Path, reader: str, folder: Path) -> Run:
    """Train's own loader over `files` and some good ones."""
    folder.mkdir(parents=True)
    copies = [Path(shutil.copy(good, folder / f"good_{number}.mp4")) for number in range(GOOD)]
    record, sequences = folder / "faults.jsonl", [*copies, *files.values()]
    options = dict(
        frames=FRAMES,
        crop=64,
        batch=2,
        workers=2,
        exclude_every=0,
        worst_share=0.9,
        reader=reader,
        record=record,
    )
    module = ClipDataModule(sequences, **options)
    module.configure(FRAMES, 64, 2, batches=EPOCHS * len(sequences) // 2)
    run = Run({}, {}, False)
    try:
        for clip in module.train_dataloader():
            count(clip, run.clips)
    except Exception as error:
        run.stopped = True
        print(f"the loader with reader={reader} stopped: {error}")
    rows = (
        [json.loads(line) for line in record.read_text().splitlines()] if record.is_file() else []
    )
    run.faults = {Path(row["path"]).name: short(row["reason"]) for row in rows}
    return run


def count(clip: Clip, clips: dict[str, int]) -> None:
    for name in clip.names:
        file = name.rpartition(":")[0]
        clips[file] = clips.get(file, 0) + 1


def indexed(path: Path) -> str:
    """Why `corvid data index` drops all of a file, "" where it keeps some."""
    found = scan(Source(path.name, Sequence(path)), ScanOptions(min_frames=FRAMES))
    return (
        ""
        if found.rows
        else short(
            "; ".join(f"{row['reason']}: {row['detail']}" for row in found.dropped)
            or "no sequence in it"
        )
    )


def read_all(path: Path, reader: str) -> str:
    """Every frame by number, against a sequential decode of the same colours."""
    opened = open_reader(path, reader)
    pictures = np.concatenate(
        [opened.read([number]).permute(0, 2, 3, 1).numpy() for number in range(opened.frames)]
    )
    if path.name in DAMAGED and opened.frames > 1:
        return f"{WRONG}, all {opened.frames} without a word"
    whole = expected(path, type(opened).__name__)
    if pictures.shape != whole.shape:
        return f"{WRONG}, {pictures.shape} for {whole.shape}"
    if np.array_equal(pictures, whole):
        return RIGHT
    nearest = [
        int(np.abs(np.subtract(whole, picture, dtype=np.int16)).mean(axis=(1, 2, 3)).argmin())
        for picture in pictures
    ]
    others = sum(found != number for number, found in enumerate(nearest))
    return (
        f"{WRONG}, {others} of {len(whole)} are others"
        if others
        else f"{RIGHT} frames, colours rounded otherwise"
    )


def expected(path: Path, kind: str) -> np.ndarray:
    """Every frame `(T, H, W, 3)`, by ffmpeg's conversion for decord, else by ours."""
    whole = read_source(path).rgb.permute(0, 2, 3, 1).numpy()
    if kind != "DecordReader":
        return whole
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def refusal(work: Callable[[], str]) -> str:
    """What `work` says, or the message of its DataError."""
    try:
        return work()
    except DataError as error:
        return short(str(error))


def short(message: str) -> str:
    """A message without paths, times of day and its remedy."""
    said = re.sub(r"/\S+: |\[[\d:]+\] ", "", " ".join(message.split())).partition("; ")[0]
    return said if len(said) <= 90 else f"{said[:89]}…"


def show(outcomes: dict[str, Outcome]) -> None:
    """One row a file, as a Markdown table."""
    columns = [
        "file",
        "index",
        "loader",
        "loader, reader=decord",
        "evaluation",
        "frames by PyAV",
        "frames by decord",
    ]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for name, outcome in outcomes.items():
        loader = [
            f"set aside: {outcome.loader[r]}" if outcome.loader[r] else f"{outcome.clips[r]} clips"
            for r in READERS
        ]
        frames = [
            said if said.startswith((RIGHT, WRONG)) else "refused"
            for said in map(outcome.reading.get, ("pyav", "decord"))
        ]
        index = f"dropped: {outcome.index}" if outcome.index else "kept"
        print(
            "| "
            + " | ".join([name, index, *loader[:2], outcome.evaluation or "read", *frames])
            + " |"
        )


if __name__ == "__main__":
    main()
