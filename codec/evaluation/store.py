"""What evaluation has made, kept: facts of clips, coded files, scores, costs, each under the hash
of what it depends on.
"""

import json
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec.errors import CodecError
from codec.files import sha256_of, write_text

STREAM = "stream"
CODED = "coded.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """A coded file that is kept, and what is known of it besides scores."""

    file: Path
    facts: dict[str, Any]


@dataclass(frozen=True)
class Store:
    """A folder that any number of evaluations use at once: everything in it is whole, or not there.

    It grows; delete it, or any part of it, whenever no evaluation runs.
    """

    root: Path

    @property
    def logs(self) -> Path:
        """Where this user's jobs of a cluster write."""
        return self.root / f"logs-{os.getuid()}"

    def read(self, kind: str, key: str) -> Any | None:
        """Facts of a `kind`, such as `clips`, if they are kept and readable."""
        return _read(self._json(kind, key))

    def write(self, kind: str, key: str, content: Any) -> None:
        """Keep facts."""
        path = self._json(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(content, allow_nan=False))

    def find(self, key: str) -> Stored | None:
        """The coded file of a key; None when there is none, or when it is not what was kept (it is
        removed then).

        Raises:
            OSError: the disk does not answer; what is kept may be whole.
        """
        entry = self._entry(key)
        if not entry.exists():  # entries are whole when they come to be
            return None
        facts = _read(entry / CODED)
        file = entry / facts["file"] if facts else entry
        if file.is_file() and sha256_of(file) == facts["sha256"]:
            return Stored(file, facts)
        log.warning("%s: damaged, it is made again", entry)
        self.remove(key)
        return None

    def scores(self, key: str, score: str) -> dict[str, Any] | None:
        """A score of the file of a key under its own key."""
        return _read(self._entry(key) / f"scores_{score}.json")

    def keep(self, key: str, folder: Path, file: Path, facts: dict[str, Any]) -> Stored:
        """Keep `file`, which lies in a `workplace`, with what is known of it; the first of two at
        once wins.
        """
        kept = folder / "entry"
        kept.mkdir()
        name = f"{STREAM}{file.suffix}"
        os.replace(file, kept / name)
        facts = {"file": name, "sha256": sha256_of(kept / name), **facts}
        write_text(kept / CODED, json.dumps(facts, allow_nan=False))
        self._entry(key).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(kept, self._entry(key))
        except OSError as error:
            if (other := self.find(key)) is not None:
                return other
            raise CodecError(
                f"{self._entry(key)}: cannot be kept ({error.strerror}); give cache=ANOTHER_FOLDER"
            ) from error
        return Stored(self._entry(key) / name, facts)

    def keep_scores(self, key: str, score: str, content: dict[str, Any]) -> None:
        """Keep a score beside the file of a key."""
        write_text(self._entry(key) / f"scores_{score}.json", json.dumps(content, allow_nan=False))

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """An empty folder on the same disk, removed at the end; those of processes that died here
        are removed, too.
        """
        work = self.root / "work"
        try:
            work.mkdir(parents=True, exist_ok=True)
            self._sweep(work)
            place = tempfile.TemporaryDirectory(
                dir=work, prefix=f"{socket.gethostname()}@{os.getpid()}@"
            )
        except OSError as error:
            raise CodecError(
                f"{self.root}: cannot be written ({error.strerror}); give cache=ANOTHER_FOLDER"
            ) from error
        with place as folder:
            yield Path(folder)

    def _sweep(self, work: Path) -> None:
        for folder in work.glob(f"{socket.gethostname()}@*@*"):
            process = folder.name.split("@")[1]
            if process.isdecimal() and not _alive(int(process)):
                shutil.rmtree(folder, ignore_errors=True)

    def remove(self, key: str) -> None:
        """Forget the file of a key and its scores; at once for others: first it gets
        another name.
        """
        with self.workplace() as folder:
            try:
                os.rename(self._entry(key), folder / "damaged")
            except FileNotFoundError:
                return

    def _entry(self, key: str) -> Path:
        return self.root / "points" / key[:2] / key

    def _json(self, kind: str, key: str) -> Path:
        return self.root / kind / f"{key}.json"


def default_folder() -> Path:
    """`$CORVID_HOME/evaluation`, or `~/.cache/corvid/evaluation`."""
    return Path(os.environ.get("CORVID_HOME", Path.home() / ".cache" / "corvid")) / "evaluation"


def _read(path: Path) -> Any | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        log.warning("%s: unreadable (%s), it is made again", path, error)
        return None


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
