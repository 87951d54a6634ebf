"""What evaluation has made, kept: facts of clips, coded files, scores, costs, each under the hash
of what it depends on.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import codec
import data
from codec import registry
from codec.anchors import Coder, External, StandardCodec
from codec.errors import CodecError
from common.files import sha256_of, write_text
from data.sequences import Sequence as VideoSequence

log = logging.getLogger(__name__)
STREAM = "stream"
CODED = "coded.json"
LENGTH = 32
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_READERS = ("av", "numpy", "numba", "pillow")
_NETWORKS = (
    "torch",
    "torchvision",
    "numpy",
    "compressai",
    "lpips",
    "pytorch-msssim",
    "DISTS-pytorch",
)
_ANCHORS = ("codec/anchors", "data")
_SCORES = (
    "codec/metrics",
    "codec/evaluation/measure.py",
    "codec/evaluation/vmaf.py",
    "codec/anchors/planes.py",
    "data",
)
_LEARNED = ("codec", "data", "codec/evaluation/codecs")
_CODE_NO_CLIP = (
    "anchors",
    "cli",
    "doctor",
    "evaluation",
    "losses",
    "report",
    "training",
)  # but for the coders above
_APART = tuple(f"codec/{name}" for name in _CODE_NO_CLIP)


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
        if facts:
            file = entry / facts["file"]
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


def clip_hash(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files by their names."""
    if not path.is_dir():
        return sha256_of(path)
    files = sorted(file for file in path.iterdir() if file.is_file())
    return _hash([[file.name, clip_hash(file)] for file in files], 64)


def clip_key(sha256: str, clip: VideoSequence, frames: int | None) -> str:
    """Of the frames that are read of a clip of this hash. The name of a headerless file says its
    size, of others the reader.
    """
    headerless = clip.path.suffix.lower() == ".yuv"
    how = [
        clip.first,
        clip.frames,
        str(clip.fps),
        repr(clip.raw),
        frames,
        clip.path.name if headerless else clip.path.suffix,
    ]
    return _hash([sha256, how, sources("data")])


def stream_key(
    clip: str, coder: Coder, settings: dict[str, Any], quality: int, tune: str | None, threads: int
) -> str:
    """Of the file that `coder` makes of the clip of key `clip`, if it is a network's with so many
    threads of torch.
    """
    standard = isinstance(coder, StandardCodec | External)
    code = sources(*(_ANCHORS if standard else _LEARNED))
    with_ = libraries(*_READERS, *(() if standard else _NETWORKS))
    how = None if standard else threads
    return _hash(
        [
            clip,
            type(coder).__qualname__,
            settings,
            quality,
            tune,
            code,
            own_source(coder),
            with_,
            how,
        ]
    )


def score_key(stream: str, rule: str, device: str, threads: int) -> str:
    """Of the score, by a metric's `rule`, of the file of key `stream`."""
    return _hash([stream, rule, device, threads, libraries(*_NETWORKS), sources(*_SCORES)])


def complexity_key(
    coder: Coder, settings: dict[str, Any], clip: str, threads: int, machine: Any
) -> str:
    """Of what `coder` takes on this machine."""
    return _hash([stream_key(clip, coder, settings, 0, None, threads), threads, machine])


def own_source(coder: Coder) -> str:
    """Of the package that holds a coder's class: it may come from elsewhere."""
    return package_source(type(coder).__module__.partition(".")[0])


def outside_sources(config: dict[str, Any] | None) -> dict[str, str]:
    """Of every package from outside that a codec's config names networks of: a hash of its code."""
    packages = registry.packages_in("network", config or {})
    return {name: package_source(name)[:16] for name in packages}


@functools.cache
def package_source(name: str) -> str:
    """Hash of what the Python files of a package outside, or of the one module, do; ours has
    `sources`.
    """
    if name in ("codec", "common", "data"):
        return ""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None) or (None if module else importlib.util.find_spec(name))
    roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    file = getattr(module, "__file__", None) or (spec and spec.origin)
    files = [file for root in roots for file in sorted(root.rglob("*.py"))]
    if not files and file:
        files = [Path(file)]
    return _hash([[path.name, code_hash(path)] for path in files], 64)


@functools.cache
def code_hash(file: Path) -> str:
    """Hash of what a Python file does: comments, docstrings and layout do not count."""
    content = file.read_bytes()
    try:
        tree = ast.parse(content)
        for node in ast.walk(tree):
            if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node) is not None:
                docstring = node.body.pop(0)
                if not node.body:
                    node.body.append(ast.copy_location(ast.Pass(), docstring))
        facts = _instructions(compile(tree, "", "exec", dont_inherit=True))
    except (SyntaxError, ValueError):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _instructions(code: CodeType) -> list[Any]:
    """A code object without its place in the file."""
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_qualname)
    kind = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    constants = [_constant(value) for value in code.co_consts]
    return [code.co_code, code.co_exceptiontable, names, kind, constants]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _instructions(value)
    if isinstance(value, frozenset):  # its order is another in every process
        return sorted(map(repr, value))
    if isinstance(value, tuple):
        return [_constant(part) for part in value]
    return (type(value).__name__, value)


@functools.cache
def libraries(*names: str) -> dict[str, str]:
    """Versions of those that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def sources(*parts: str) -> str:
    """Hash of what the Python files below these folders of the packages do (`code_hash`)."""
    root = {"codec": Path(codec.__file__).parents[1], "data": Path(data.__file__).parents[1]}
    files = [file for part in parts for file in _python_files(root[part.split("/")[0]], part)]
    return _hash([[name, code_hash(file)] for name, file in sorted(files)], 64)


def _python_files(root: Path, part: str) -> Iterable[tuple[str, Path]]:
    where = root / part
    for file in [where] if where.is_file() else where.rglob("*.py"):
        name = file.relative_to(root).as_posix()
        if part != "codec" or not name.startswith(_APART):
            yield name, file


def _hash(content: Any, length: int = LENGTH) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
