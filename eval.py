"""Evaluate: checkpoint + clips + anchors -> RD points -> BD-rate -> report. `conf/eval.yaml` holds
the choices.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from codec.errors import CodecError
from codec.registry import build, use_plugins
from common.errors import CorvidError
from common.progress import prepare_output
from common.resources import prepare_threads

# Imported where they are needed: processes that code import this file, and --help shall not take
# seconds.
if TYPE_CHECKING:
    from codec.evaluation import Coder, Evaluation
    from codec.evaluation.codecs.learned import LearnedCodec
    from codec.report import Preview
    from data.sequences import Sequence

CONF = Path(__file__).parent / "conf"


def load_anchors(choice: dict[str, Any]) -> list[Coder]:
    """Those of `choice`: names, or `{name: fields}` to change some."""
    found: list[Coder] = []
    for entry in choice["anchors"] or []:
        named = entry if isinstance(entry, dict) else {entry: {}}
        found += [load_anchor(name, choice, fields or {}) for name, fields in named.items()]
    return found


def load_anchor(name: str, choice: dict[str, Any], fields: dict[str, Any]) -> Coder:
    """Build the anchor of `conf/anchor/<name>.yaml`, or of a YAML file of yours, with other
    `fields`.

    What it interpolates comes from `choice`. With a `family` among the fields there is no file.
    """
    files = {path.stem: path for path in sorted((CONF / "anchor").glob("*.yaml"))}
    file = Path(name) if name.endswith((".yaml", ".yml")) else files.get(name)
    if "family" in fields and file is None:
        chosen = OmegaConf.create({"name": name} | fields)
    elif file is None or not file.is_file():
        where = f"{file} does not exist" if file else f"no {name!r} in conf/anchor"
        fix = "or a YAML file of yours, or {NAME: {family: ...}} (docs/adding_an_anchor.md)"
        raise CodecError(f"anchors: {where}; choose from {', '.join(files)}, {fix}")
    else:
        named = {} if file in files.values() else {"name": file.stem}
        own = OmegaConf.merge(named, OmegaConf.load(file))
        chosen = OmegaConf.merge(own, fields)
        unknown = [field for field in fields if field not in own]
        if unknown:
            shown = f"conf/anchor/{name}.yaml" if file in files.values() else name
            what = f"anchors: {name} has no field {', '.join(unknown)}"
            raise CodecError(f"{what}; {shown} has {', '.join(chosen)}")
    config = OmegaConf.create({**choice, "chosen": chosen})
    resolved = OmegaConf.to_container(config.chosen, resolve=True)
    return build("anchor", resolved, f"anchors: {name}")


def load_checkpoints(choice: dict[str, Any]) -> list[LearnedCodec]:
    """The checkpoint to evaluate, called `name`; or several by their names; or none."""
    from codec.evaluation.codecs.learned import LearnedCodec

    common = {name: choice[name] for name in ("intra_period", "qualities", "device", "precision")}
    chosen = choice["checkpoint"] or {}
    named = chosen if isinstance(chosen, dict) else {choice["name"]: chosen}
    return [LearnedCodec(checkpoint, name=name, **common) for name, checkpoint in named.items()]


def clips_of(chosen: Any) -> tuple[list[Sequence], list[str]]:
    """The clips, and of each its class where `chosen` is paths by class."""
    from data.sources.discovery import find_sequences

    if not isinstance(chosen, dict):
        return list(find_sequences(chosen)), []
    found = [(clip, name) for name, paths in chosen.items() for clip in find_sequences(paths)]
    return [clip for clip, _ in found], [name for _, name in found]


def run(config: DictConfig) -> None:
    """Evaluate, write everything into `config.output`, print the table and the paths."""
    from rich.console import Console

    from codec.device import check_device
    from codec.evaluation import evaluate
    from codec.evaluation.measure import Measure
    from codec.evaluation.points.executor import Running
    from codec.report import bd_tables, write_report
    from codec.training.run_dir import write_record

    choice = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    use_plugins(choice["plugins"])
    output = Path(choice["output"])
    check_device(choice["device"])
    clips, classes = clips_of(choice["clips"])
    anchors = load_anchors(choice)
    codecs = load_checkpoints(choice)
    if len(codecs) > 1 and not anchors:
        codecs, anchors = codecs[1:], codecs[:1]
    measure = Measure(choice["metrics"], choice["every"], choice["device"])
    running = Running(
        **{
            name: choice[name]
            for name in ("jobs", "threads", "launcher", "slurm", "cache", "complexity")
        }
    )
    found = evaluate(codecs, anchors, clips, output, measure, choice["frames"], running, classes)
    OmegaConf.save(config, output / "config.yaml", resolve=True)
    write_record(output)
    preview = preview_for(found, codecs, anchors, clips, output) if choice["pictures"] else None
    pages = write_report(found.result, found.comparisons, output, preview)
    console = Console()
    console.print(
        *bd_tables(found.comparisons) or ["one codec: there is nothing to compare it with"],
        sep="\n\n",
        crop=False,
    )
    names = " ".join(page.name for page in pages[:-1])
    for line in (
        f"figures and tables in {output}: {names}",
        output / "rd.json",
        output / "bd_rate.json",
        pages[-1],
    ):
        console.print(str(line), highlight=False, soft_wrap=True)


def preview_for(
    found: Evaluation,
    codecs: list[LearnedCodec],
    anchors: list[Coder],
    clips: list[Sequence],
    output: Path,
) -> Preview:
    """What the report's visual comparison shows: the codecs, and the first anchor at their
    bitrates.
    """
    from codec.report import DecodedFrames, default_codecs, make_preview

    compared, against = [coder.name for coder in codecs], [coder.name for coder in anchors]
    if not compared:
        compared, against = against[1:], against[:1]
    decoded = DecodedFrames(found.result, [output], [coder.checkpoint for coder in codecs], clips)
    shown = default_codecs([*compared, *against], against)
    return make_preview(found.result, decoded, shown, log=print_progress)


def print_progress(line: str) -> None:
    """Print what is being done, apart from the result."""
    print(line, file=sys.stderr)


@hydra.main(version_base="1.3", config_path="conf", config_name="eval")
def main(config: DictConfig) -> None:
    """Turn what a user can put right into one line and exit code 2."""
    from common.resources import keep_freed_memory

    keep_freed_memory()
    try:
        run(config)
    except (CorvidError, OmegaConfBaseException, OSError) as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)


def reason(error: Exception) -> str:
    """What went wrong in the words of who found it, without the libraries around it."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return (
            f"{where}{error.strerror or error}; make room or it writable, or give cache=FOLDER and "
            "output=FOLDER elsewhere"
        )
    return str(error).splitlines()[0] if isinstance(error, OmegaConfBaseException) else str(error)


if __name__ == "__main__":
    prepare_output()
    prepare_threads()
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
