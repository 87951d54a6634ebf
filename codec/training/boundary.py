"""Where one stage ends and the next begins: what it did, in a line, and whether it stays."""

from codec.checkpoint import read_checkpoint
from codec.training.keep import KeepCheckpoints
from codec.training.module import CodecTraining
from codec.training.processes import wait_for_all
from codec.training.state import load

START = "start.ckpt"  # weights before the first stage, where it may be dropped


def stage_line(name: str, before: dict[str, float], after: dict[str, float]) -> str:
    """What a stage did to the validation clips, for example

    `stage chains: loss 1.310 -> 1.102; PSNR 33.10 -> 33.85 dB; bpp 0.5210 -> 0.4733 (intra 0.2101
        -> 0.2050, ...)`.

    Args:
        name: of the stage.
        before, after: figures of `validate`; both weighed as the stage weighs.
    """
    parts = [_change("loss", "val/loss", before, after, 3)]
    for word, key in (("PSNR", "val/psnr"), ("PSNR of the prediction", "val/warp_psnr")):
        if key in after:
            parts.append(_change(word, key, before, after, 2) + " dB")
    if "val/lpips" in after:
        parts.append(_change("LPIPS", "val/lpips", before, after, 4))
    bits = [key for key in after if key.startswith("val/bpp_") and not key.startswith("val/bpp_q")]
    families = list(dict.fromkeys(key.split(".")[0] for key in bits))
    bits.sort(
        key=lambda key: families.index(key.split(".")[0])
    )  # kinds of one component side by side
    components = ", ".join(
        _change(key.removeprefix("val/bpp_"), key, before, after, 4)
        for key in bits
        if "_q" not in key
    )
    total = "val/bpp" if "val/bpp" in after else ""
    if total:
        parts.append(
            _change("bpp", total, before, after, 4) + (f" ({components})" if components else "")
        )
    elif components:
        parts.append(f"bpp of {components}")
    return f"stage {name}: " + "; ".join(parts)


def drop_stage_if_worse(module: CodecTraining, keep: KeepCheckpoints) -> bool:
    """Take the weights back to those from before the stage where its `rollback` says so; its own
    are kept in a file.

    Counts of steps and samples stay. Says so; returns whether it was done.
    """
    stage, before, after = module.stage, module.before, module.figures
    if stage.rollback is None or after["val/loss"] <= before["val/loss"] * (1 + stage.rollback):
        return False
    dropped = f"dropped_{stage.name}.ckpt"
    keep.save(module, dropped)
    wait_for_all()
    content = read_checkpoint(keep.folder / _start_of(module))
    load(module, content["codec"], content["training"])
    module.figures = dict(before)
    keep.best = float("inf")
    keep.validated(module)  # or the best would be one of the dropped
    text = (
        f"stage {stage.name}: validation loss rose from {before['val/loss']:.4f} to "
        f"{after['val/loss']:.4f}, by more than "
        f"rollback: {stage.rollback}; back to the weights from before it. Those that it ended with "
        f"are in {keep.folder / dropped}"
    )
    module.events.say("rollback", text, module.codec_steps, stage=stage.name)
    return True


def _start_of(module: CodecTraining) -> str:
    """The checkpoint with the weights that the stage started from."""
    return (
        f"stage_{module.schedule.stages[module.stage_index - 1].name}.ckpt"
        if module.stage_index
        else START
    )


def _change(
    word: str, key: str, before: dict[str, float], after: dict[str, float], digits: int
) -> str:
    return f"{word} {before.get(key, float('nan')):.{digits}f} -> {after[key]:.{digits}f}"
