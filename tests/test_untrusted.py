"""Files from strangers: whatever a checkpoint, a run's config or a stream says, nothing of it runs.

Each ends in one error of one line that names the file, the field and what to do.
"""

import os
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_codec import FPS, build, composed, moving_clip

from codec.checkpoint import load_codec, model_hash, read_checkpoint, save_checkpoint
from codec.cli import main
from codec.doctor.plan import plan_of
from codec.errors import CodecError
from codec.stream import compress, decompress, read_stream, write_stream
from codec.stream.models import model_folder
from codec.training.checkpointing import find_newest, init_from
from codec.training.reproduce import config_of
from codec.training.run import train
from codec.training.run_dir import check_stored, precision_of_run, read_config, with_precision_of
from codec.video import VideoCodec

PROBE = "untrusted_probe"  # a package that can be imported, which nobody may do
MARK = "untrusted.mark"
STARTS_SOMETHING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")
_seen: list[str] = []
_watching = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what a file must not bring about; hooks cannot be taken away again."""
    if not _watching:
        return
    if arguments[:1] == ("git",):  # of a run's record
        return
    if event in STARTS_SOMETHING or (event == "import" and str(arguments[0]).startswith(PROBE)):
        _seen.append(f"{event} {arguments[:1]}")
    if event == "open" and MARK in str(arguments[0]):
        _seen.append(f"open {arguments[0]}")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test in which a process starts, the probe is imported or the mark is written."""
    global _watching
    package = tmp_path / "elsewhere" / PROBE
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("class Network:\n    pass\n")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delenv("CORVID_PLUGINS", raising=False)
    _seen.clear()
    _watching = True
    yield
    _watching = False
    assert not _seen and PROBE not in sys.modules
    assert not list(tmp_path.rglob(MARK))


def one_line(error: pytest.ExceptionInfo[Exception], file: Path | str) -> str:
    """The message, which names the file and is one line of a bearable length."""
    said = str(error.value)
    assert "\n" not in said and len(said) < 1500, said
    assert str(file) in said, said
    return said


# --- what a checkpoint's config may say -------------------------------------------------------

Config = dict[str, Any]


def network(**fields: Any) -> Callable[[Config, Path], None]:
    """A config whose motion network is this."""

    def change(config: Config, folder: Path) -> None:
        config["motion"] = deepcopy(fields)

    return change


def argument(part: str, name: str, value: Any) -> Callable[[Config, Path], None]:
    """A config with one argument more, or another one; `part` is a path such as
    `intra.transform`.
    """

    def change(config: Config, folder: Path) -> None:
        for step in filter(None, part.split(".")):
            config = config[step]
        config[name] = value

    return change


def writes_a_file(config: Config, folder: Path) -> None:
    path = {"_target_": "pathlib.Path", "_args_": [str(folder / MARK)]}
    config["motion"] = {"_target_": "pathlib.Path.write_text", "self": path, "data": "written"}


def writes_a_file_on_top(config: Config, folder: Path) -> None:
    config.clear()
    config |= {"_target_": "pathlib.Path.write_text", "_args_": [str(folder / MARK), "written"]}


def starts_a_process(config: Config, folder: Path) -> None:
    arguments = ["touch", str(folder / MARK)]
    config["motion"]["entropy"] = {"_target_": "subprocess.run", "args": arguments}


def is_nested_deeply(config: Config, folder: Path) -> None:
    nested: dict[str, Any] = {}
    for _ in range(200):
        nested = {"motion": nested}
    config["motion"]["entropy"] = nested


def is_a_wide_and_deep_network(config: Config, folder: Path) -> None:
    for part in ("intra", "motion", "residual"):
        config[part]["features"] = 4096
    config["residual"]["depth"] = config["intra"]["transform"]["depth"] = 64


def reads_weights(config: Config, folder: Path) -> None:
    config["intra"] = {
        "type": "compressai_image",
        "model": "mbt2018-mean",
        "features": 16,
        "weights": "/etc/passwd",
    }


UNREGISTERED = "is not a registered network .*plugins="
CONFIGS: dict[str, tuple[Callable[[Config, Path], None], str]] = {
    "file write": (
        writes_a_file,
        rf"codec.motion._target_: 'pathlib.Path.write_text' {UNREGISTERED}",
    ),
    "file write on top": (writes_a_file_on_top, rf"codec._target_: .* {UNREGISTERED}"),
    "process start": (starts_a_process, rf"codec.motion.entropy._target_: .*run' {UNREGISTERED}"),
    "os.system": (network(_target_="os.system", command="touch " + MARK), UNREGISTERED),
    "evaluated text": (network(_target_="builtins.eval", source="open('x')"), UNREGISTERED),
    "hydra itself": (network(_target_="hydra.utils.get_method", path="os.system"), UNREGISTERED),
    "attribute access": (
        network(_target_="codec.video.VideoCodec.__init__.__globals__"),
        UNREGISTERED,
    ),
    "a method of a registered class": (
        network(_target_="codec.video.VideoCodec.load_state_dict"),
        UNREGISTERED,
    ),
    "import of a module": (network(_target_=f"{PROBE}.Network"), UNREGISTERED),
    "import path as a name": (network(type=f"{PROBE}:Network"), UNREGISTERED),
    "an anchor, which runs commands": (network(type="x265"), UNREGISTERED),
    "data": (network(type="clips", root="/"), UNREGISTERED),
    "a loss": (network(type="rate_distortion"), UNREGISTERED),
    "a name that is no word": (network(type=["block_matching"]), "codec.motion.type: .*expected"),
    "two names": (
        network(type="zero_motion", _target_="os.system"),
        "codec.motion: both type and _target_ given; remove",
    ),
    "hydra's positional arguments": (
        argument("motion", "_args_", [1, 2]),
        "codec.motion._args_: not an argument; remove it",
    ),
    "hydra's partial": (argument("motion", "_partial_", True), "codec.motion._partial_: .*remove"),
    "an unknown argument": (
        argument("motion", "command", "touch x"),
        "codec.motion: block_matching refuses its arguments .*correct",
    ),
    "no network at all": (
        argument("", "motion", "touch x"),
        "codec.motion: a str given; a network expected",
    ),
    "a layer as the codec": (
        lambda config, folder: config.update(deepcopy(config["residual"])),
        "codec: conditional_residual refuses its arguments .*correct",
    ),
    "deep nesting": (is_nested_deeply, "beyond reason.*give a file that train.py wrote"),
    "very many values": (
        argument("motion", "extra", [0] * 100_000),
        "beyond reason, more than 10000 values; do not use this config",
    ),
    "a huge width": (
        argument("motion", "features", 10**12),
        "codec.motion.features: 1000000000000 given; at most 4096 expected",
    ),
    "a huge number elsewhere": (
        argument("motion", "reach", 2**40),
        "codec.motion.reach: .* given; at most 65536 expected",
    ),
    "a wide and deep network": (is_a_wide_and_deep_network, "asks for more than .* MB.*do not use"),
    "a huge transform": (
        lambda config, folder: config["residual"]["transform"].update(block=64, luma=64),
        "asks for more than .* MB.*do not use",
    ),
    "a file argument": (
        reads_weights,
        "codec.intra.weights: names the file '/etc/passwd'.*or null",
    ),
    "interpolation": (
        argument("motion", "interpolation", "${oc.env:HOME}"),
        "codec.motion.interpolation: .*not interpolated, write the value itself",
    ),
    "not a number": (
        argument("", "lambda_low", float("nan")),
        "codec.lambda_low: nan given; a finite",
    ),
    "a tensor": (argument("motion", "depth", torch.ones(2)), "codec.motion.depth: a Tensor given"),
    "bytes": (
        argument("motion", "interpolation", b"hevc"),
        "interpolation: a bytes given.*expected",
    ),
    "a number as a name": (
        lambda config, folder: config["motion"].update({3: 4}),
        "codec.motion: 3 is no name of a field; do not use",
    ),
    "a name of two lines": (
        argument("motion", "a\n\x1b[31merror: all is well", 1),
        "error: all is well.* is no name; give a file that train.py wrote",
    ),
    "a very long word": (
        argument("motion", "interpolation", "a" * 9999),
        "9999 characters; at most",
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_checkpoints_config_runs_nothing(kind: str, checkpoint: Path, tmp_path: Path):
    """Catches a config that is built by import paths, believed in its sizes, or
    followed to files.
    """
    change, message = CONFIGS[kind]
    content = read_checkpoint(checkpoint)
    change(content["codec_config"], tmp_path)
    torch.save(content, tmp_path / "crafted.ckpt")
    with pytest.raises(CodecError, match=message) as error:
        load_codec(tmp_path / "crafted.ckpt")
    one_line(error, tmp_path / "crafted.ckpt")


def test_a_plugin_that_a_file_names_is_named_and_not_imported(checkpoint: Path, tmp_path: Path):
    """Catches a file that has its own package imported."""
    content = read_checkpoint(checkpoint)
    content["codec_config"]["motion"] = {"type": "probe_motion"}
    torch.save(content | {"plugins": [PROBE]}, tmp_path / "crafted.ckpt")
    with pytest.raises(CodecError, match=f"comes with {PROBE}.*plugins=.{PROBE}") as error:
        load_codec(tmp_path / "crafted.ckpt")
    one_line(error, tmp_path / "crafted.ckpt")


# --- what a checkpoint's file may be -----------------------------------------------------------


class _Command:
    """Pickled, it asks for a command to be run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {MARK}",)


def a_pickle(content: dict[str, Any], path: Path) -> None:
    path.write_bytes(pickle.dumps(content | {"training": _Command()}))


def a_pickle_in_an_archive(content: dict[str, Any], path: Path) -> None:
    torch.save(content | {"training": _Command()}, path)


def a_compressed_archive(content: dict[str, Any], path: Path) -> None:
    torch.save(content, path)
    with zipfile.ZipFile(path) as file:
        entries = {entry.filename: file.read(entry) for entry in file.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries.items():
            file.writestr(name, data)
        file.writestr("archive/data/999999", bytes(1 << 24))


def a_tensor_that_is_not_there(content: dict[str, Any], path: Path) -> None:
    name = next(iter(content["codec"]))
    content["codec"][name] = torch.zeros(1).expand(1 << 20, 1 << 20)
    torch.save(content, path)


def a_sparse_tensor(content: dict[str, Any], path: Path) -> None:
    name = next(iter(content["codec"]))
    content["codec"][name] = torch.sparse_coo_tensor([[0]], [1.0], (1 << 40,))
    torch.save(content, path)


def with_fields(**fields: Any) -> Callable[[dict[str, Any], Path], None]:
    return lambda content, path: torch.save(content | fields, path)


FILES: dict[str, tuple[Callable[[dict[str, Any], Path], None], str]] = {
    "a pickle": (a_pickle, "not a readable checkpoint .*give another file"),
    "a pickle in an archive": (
        a_pickle_in_an_archive,
        "more than tensors and plain values.*another",
    ),
    "an archive that grows": (
        a_compressed_archive,
        "compressed, or its entries are larger.*another",
    ),
    "a tensor that is not there": (a_tensor_that_is_not_there, "that the file does not hold; give"),
    "a sparse tensor": (a_sparse_tensor, "that the file does not hold; give"),
    "words for a config": (with_fields(codec_config="os.system"), "codec_config is a str; give"),
    "words for weights": (with_fields(codec="os.system"), "codec is a str; give"),
    "words for a tensor": (with_fields(codec={"a": "os.system"}), "no dictionary of tensors; give"),
    "a list for training": (with_fields(training=[1]), "training is a list; give"),
    "a tensor's name of two lines": (
        with_fields(codec={"a\nb": torch.zeros(1)}),
        "no dictionary of tensors; give",
    ),
    "a plugin's name of two lines": (with_fields(plugins=["a\nb"]), "plugins is no list of names"),
    "a count's name of two lines": (
        with_fields(training={"means": {"a\nb": 1}}),
        "is no name; give",
    ),
    "plugins that are no names": (
        with_fields(plugins={"a": 1}),
        "plugins is no list of names; give",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_checkpoints_file_runs_nothing(kind: str, checkpoint: Path, tmp_path: Path):
    """Catches pickles that are followed, and content that is believed: by load_codec
    and init_from.
    """
    write, message = FILES[kind]
    path = tmp_path / "crafted.ckpt"
    write(read_checkpoint(checkpoint), path)
    for use in (load_codec, lambda file: init_from(build(), str(file))):
        with pytest.raises(CodecError, match=message) as error:
            use(path)
        one_line(error, path)


# --- what a run's folder may hold ---------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The config of a run of one step."""
    stages = "[{name: a, steps: 1, frames: 2, crop: 64, batch: 1, lr: 1e-3, lr_end: 1e-3}]"
    words = [f"schedule.stages={stages}", "width=16", "wandb=disabled", "run=crafted"]
    return composed(*words, "trainer.devices=1")


def deep_yaml(config: Config) -> str:
    return "codec: " + "{a: " * 20_000 + "1" + "}" * 20_000


def alias_bomb(config: Config) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines) + "\n" + yaml.safe_dump(config)


UNREADABLE: dict[str, tuple[Callable[[Config], str], str]] = {
    "a python object": (
        lambda config: f'codec: !!python/object/apply:os.system ["touch {MARK}"]',
        "cannot be read .*give the folder of a run",
    ),
    "interpolation": (
        lambda config: yaml.safe_dump(config | {"name": "${oc.env:HOME}"}),
        "name: .*not interpolated, write the value itself",
    ),
    "deep nesting": (deep_yaml, "cannot be read|beyond reason"),
    "aliases of aliases": (alias_bomb, "beyond reason.*do not use this config"),
    "very long": (
        lambda config: "a: " + "b" * (17 << 20),
        r"larger than \d+ bytes; not the config",
    ),
    "a list": (lambda config: "[1, 2]", "no dictionary; give the folder of a run"),
    "bytes": (lambda config: "\x00\x01", "cannot be read .*give the folder of a run"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_runs_config_is_plain(kind: str, plain: Config, tmp_path: Path):
    """Catches YAML that makes objects, is interpolated or grows; in resume, reproduce
    and doctor.
    """
    write, message = UNREADABLE[kind]
    path = tmp_path / "config.yaml"
    path.write_text(write(plain))
    for name in ("metrics.jsonl", "last.ckpt"):
        (tmp_path / name).write_text("")
    looks = [read_config, config_of, plan_of, precision_of_run]
    looks.append(lambda folder: with_precision_of(folder, {"codec": {"precision": "auto"}}))
    for look in looks:
        with pytest.raises(CodecError, match=message) as error:
            look(tmp_path)
        one_line(error, path)


def changed(config: Config, part: str, **fields: Any) -> Config:
    """The config with other fields in one of its parts."""
    return config | {part: config[part] | fields}


@pytest.mark.parametrize(
    "part, fields, message",
    [
        (
            "loss",
            {"type": "os.system"},
            "loss.type: 'os.system' is not a registered loss .*plugins=",
        ),
        ("data", {"type": f"{PROBE}.Network"}, "data.type: .*is not a registered data .*plugins="),
        (
            "codec",
            {"type": f"{PROBE}.Network"},
            "codec.type: .*is not a registered network .*plugins=",
        ),
        (
            "schedule",
            {"type": "os.system"},
            "schedule.type: .*is not a registered schedule .*plugins=",
        ),
        ("codec", {"motion": {"_target_": "os.system"}}, "codec.motion._target_: .*plugins="),
        ("trainer", {"callbacks": ["os.system"]}, "trainer.callbacks: not a field to give.*remove"),
        ("trainer", {"plugins": ["os.system"]}, "trainer.plugins: not a field to give.*remove"),
    ],
)
def test_training_from_a_config_runs_what_is_registered(
    part: str,
    fields: Config,
    message: str,
    plain: Config,
    tmp_path: Path,
):
    """Catches a stored config that trains with anything but registered parts."""
    with pytest.raises(CodecError, match=message):
        train(tmp_path / "run", changed(plain, part, **fields))


def test_a_plugin_that_a_runs_config_names_is_not_imported(plain: Config, tmp_path: Path):
    """Catches resume or reproduce that import what config.yaml lists."""
    config = changed(plain, "codec", motion={"type": "probe_motion"}) | {"plugins": [PROBE]}
    with pytest.raises(CodecError, match=f"comes with {PROBE}.*plugins=.{PROBE}"):
        train(tmp_path / "run", config)


def test_a_stored_config_names_no_files_of_its_own(plain: Config):
    """Catches weights, LPIPS backbones and a record at any place of the disk: only a user names
    them.
    """
    where = Path("run") / "config.yaml"
    check_stored(plain, where)
    weights = changed(plain, "codec", intra={"type": "compressai_image", "weights": "/etc/passwd"})
    with pytest.raises(
        CodecError, match="run/config.yaml: codec.intra.weights is '/etc/passwd'.*give"
    ):
        check_stored(weights, where)
    check_stored(weights, where, begun=True)
    backbone = changed(plain, "loss", lpips_backbone="/etc/passwd")
    with pytest.raises(CodecError, match="loss.lpips_backbone is '/etc/passwd'.*give"):
        check_stored(backbone, where, begun=True)
    check_stored(backbone, where, ["loss.lpips_backbone"])
    for outside in ("/home/user/.profile", "crafted/../../.profile"):
        record = changed(plain, "data", record=outside)
        with pytest.raises(CodecError, match="data.record is .*not in the run's folder; give"):
            check_stored(record, where)
        check_stored(record, where, ["data.record"])


@pytest.mark.parametrize("steps", ["os.system", -1, None, 1.5])
def test_a_training_state_of_other_kinds_is_refused(steps: Any, checkpoint: Path, tmp_path: Path):
    """Catches counts of a checkpoint that are set without a look: the next checkpoint is tried."""
    content = read_checkpoint(checkpoint) | {"training": {"codec_steps": steps}}
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(CodecError, match="none of last.ckpt can be read .*start a new run"):
        find_newest(tmp_path)
    assert (tmp_path / "last.ckpt.broken").is_file()


# --- what a stream may say ----------------------------------------------------------------------


def test_a_stream_whose_model_is_crafted_runs_nothing(
    codec: VideoCodec,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
):
    """Catches weights that were kept for a stream and are built without the gate."""
    compress(codec, moving_clip(2, 32, 48), FPS, 30, tmp_path / "a.cvd")
    kept = model_folder() / f"{model_hash(codec)}.ckpt"
    kept.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(kept, codec)
    content = read_checkpoint(kept)
    writes_a_file(content["codec_config"], tmp_path)
    torch.save(content, kept)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["decompress", str(tmp_path / "a.cvd"), str(tmp_path / "a.npy")])
    finally:
        kept.unlink()
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and said.count("\n") == 0
    assert "codec.motion._target_: 'pathlib.Path.write_text' is not a registered network" in said
    assert not (tmp_path / "a.npy").exists()


def test_a_stream_that_asks_for_the_worlds_memory_is_one_error(codec: VideoCodec, tmp_path: Path):
    """Catches a header of terabytes that is believed: it fails in torch's words, or takes it."""
    path = tmp_path / "a.cvd"
    compress(codec, moving_clip(2, 32, 48), FPS, 30, path)
    header, packets = read_stream(path)
    vars(header).update(width=8192, height=8192)
    write_stream(path, header, [packets[0]] * 3000, reconstruction=0)
    with pytest.raises(
        CodecError, match="3000 frames of 8192×8192 take 1208.0 GB.*memory"
    ) as error:
        decompress(path, codec)
    one_line(error, path)


# --- who opens checkpoints ----------------------------------------------------------------------


def test_only_one_reader_opens_checkpoints():
    """Catches Lightning's readers, torch.load without weights_only, and Hydra's instantiate."""
    root = Path(__file__).parents[1]
    known = {
        "codec/checkpoint.py",
        "codec/interop/compressai.py",
        "codec/evaluation/codecs/compressai_zoo.py",
    }
    known |= {"codec/metrics/backbones.py", "codec/metrics/dists.py"}  # of other projects' weights
    sources = [*root.glob("*.py"), *(root / "codec").rglob("*.py"), *(root / "data").rglob("*.py")]
    sources += (root / "common").rglob("*.py")
    opened = set()
    for path in sources:
        text = path.read_text()
        for word in (
            "load_from_checkpoint",
            "ckpt_path",
            "instantiate(",
            "yaml.load(",
            "OmegaConf.load(",
        ):
            # conf/anchor, the user's own
            allowed = path.name == "eval.py" and word == "OmegaConf.load("  # of the user's anchors
            allowed |= path.name == "stored_yaml.py" and word == "yaml.load("  # a safe loader
            assert word not in text or allowed, (path, word)
        if "torch.load(" in text:
            opened.add(path.relative_to(root).as_posix())
            assert text.count("torch.load(") == text.count("weights_only=True"), path
    assert opened == known


def test_at_least_twenty_kinds():
    """Catches kinds that are lost from the tables."""
    assert len(CONFIGS) + len(FILES) + len(UNREADABLE) >= 45
