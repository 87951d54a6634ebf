"""Whether exact entropy networks keep their promise, and what it costs: symbols under many
settings, and bits.

Symbols: each setting (threads, oneDNN, memory layout, precision of the other networks, autocast,
TF32, the device where there are two) writes a few frames, and each reads what every one wrote,
following its own pictures. Then the same with the same networks in floating point, the control. If
that has no mismatch either, nothing is proved, and the exit status is 1. Autocast makes bfloat16 of
the control, so what the settings without it alone disagree about is said too.

Rates: the residual's latents of a codec are recorded. Three copies of its entropy network are
trained on them, on the rate alone, by the same batches and noise, dead zones fixed: in integer
arithmetic, in floating point, and in floating point with the features of the motion network's
prediction, which exact networks may not see. Every symbol is coded. Hard bits on other clips, each
copy by its own arithmetic; all clips and qualities count the same. Means move the latents a little:
their error is printed.

    python benchmarks/exact_symbols.py [--checkpoint RUN] [--clip sample:city] [--steps 500]
        [--json FILE]
"""

import argparse
import copy
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from coding_speed import our_codec
from parts.exact_rates import compare_rates
from parts.figures import report
from parts.floating import floating
from torch import Tensor

from codec.checkpoint import load_codec
from codec.device import default_device
from codec.entropy.coding.symbol_coder import SymbolCoder, SymbolDecoder, SymbolEncoder, SymbolModel
from codec.errors import CodecError
from codec.freeze import freeze
from codec.video import VideoCodec
from data.io.source_clip import read_source
from data.sources.discovery import find_videos


@dataclass(frozen=True)
class Setting:
    """What must not matter to symbols."""

    threads: int
    onednn: bool
    channels_last: bool
    precision: str
    autocast: bool
    shortened: bool  # TF32, and "medium" for products of matrices
    device: str


@dataclass(frozen=True)
class Written:
    """Frames as one setting wrote them: payloads, and what was coded, in order."""

    payloads: list[bytes]
    symbols: list[Tensor]
    values: list[Tensor]


class Listener(SymbolCoder):
    """Remembers the symbols and values that go through `inner`, on the CPU."""

    def __init__(self, inner: SymbolCoder, symbols: list[Tensor], values: list[Tensor]) -> None:
        self.inner, self.encodes, self.heard = inner, inner.encodes, (symbols, values)

    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        sent = self.inner.code(component, latent, model)
        for kept, value in zip(self.heard, (torch.round(sent - model.means), sent), strict=True):
            kept.append(value.cpu())
        return sent


def main() -> int:
    """Measure, print, and write JSON where wanted; 0 where symbols never differ and the control's
    do, else 1.
    """
    choice = arguments()
    codec = load_codec(choice.checkpoint) if choice.checkpoint else shaken(our_codec("corvid_s"))
    source = read_source(find_videos(choice.clip)[0], choice.frames)
    frames = middle(source.rgb, choice.size)
    print(
        f"{source.name}: {len(frames)} frames of {frames.shape[-1]}×{frames.shape[-2]}, quality "
        f"{choice.quality}"
    )
    settings = spread_settings()
    symbols, values = (
        count_mismatches(codec, settings, frames, choice.quality, "integer arithmetic")
        .sum((0, 1))
        .tolist()
    )
    control = count_mismatches(
        floating(codec), settings, frames, choice.quality, "control, floating point"
    )[..., 0]
    plain = torch.tensor([not setting.autocast for setting in settings])
    figures = {
        "control_mismatches_without_autocast": int(control[plain][:, plain].sum()),
        "symbol_mismatches": symbols,
        "control_mismatches": int(control.sum()),
    }
    problem = verdict(symbols + values, figures["control_mismatches"])
    if not problem and choice.steps:
        figures |= compare_rates(
            codec, choice.train, choice.test, choice.clips, choice.test_frames, choice.steps
        )
    report(figures, choice.json)
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--checkpoint",
        default=None,
        help="a file or run folder; else corvid_s, untrained and shaken",
    )
    parser.add_argument("--clip", default="sample:city", help="for the symbols")
    parser.add_argument(
        "--frames", type=int, default=4, help="coded by each setting; the first is intra"
    )
    parser.add_argument(
        "--size", type=size_of, default=(320, 192), help="WIDTHxHEIGHT cut out of the clip's middle"
    )
    parser.add_argument("--quality", type=int, default=40, help="of the symbols")
    parser.add_argument(
        "--train",
        nargs="+",
        default=["sample:bikes", "sample:bigbuckbunny"],
        help="clips for the rates",
    )
    parser.add_argument(
        "--test", nargs="+", default=["sample:carphone", "sample:city"], help="clips for the rates"
    )
    parser.add_argument("--test-frames", type=int, default=6)
    parser.add_argument(
        "--clips", type=int, default=160, help="random clips of four frames recorded to train on"
    )
    parser.add_argument(
        "--steps", type=int, default=500, help="of training for the rates; 0 leaves them out"
    )
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


def size_of(text: str) -> tuple[int, int]:
    """(width, height) of WIDTHxHEIGHT."""
    width, height = map(int, text.split("x"))
    return width, height


def middle(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of `frames` `(T, 3, H, W)`, `size` (width, height) or as much as there is."""
    width, height = (
        min(wanted, there)
        for wanted, there in zip(size, (frames.shape[-1], frames.shape[-2]), strict=True)
    )
    top, left = (frames.shape[-2] - height) // 2, (frames.shape[-1] - width) // 2
    return frames[..., top : top + height, left : left + width]


def verdict(differing: int, control: int) -> str | None:
    """What is wrong with these counts, or None."""
    if differing:
        return (
            "exact_symbols: symbols or their means differ between settings; the arithmetic is not "
            "exact"
        )
    return (
        None
        if control
        else "exact_symbols: floating point gave the same symbols, so nothing is proved; "
        "use other settings"
    )


@torch.no_grad()
def shaken(codec: VideoCodec) -> VideoCodec:
    """`codec` in which no layer is zero, so that every path matters."""
    torch.manual_seed(0)
    for parameter in codec.parameters():
        if not parameter.any():
            parameter.normal_(std=0.01)
    return codec


def spread_settings() -> list[Setting]:
    """Eight settings; of any two choices all four combinations occur (an orthogonal array of
    strength 2).
    """
    other = default_device().type
    rows = [(k & 1, k >> 1 & 1, k >> 2) for k in range(8)]
    return [
        Setting(
            1 + a,
            not b,
            bool(c),
            ("fp32", "bf16")[a ^ b],
            bool(a ^ c),
            bool(b ^ c),
            ("cpu", other)[a ^ b ^ c],
        )
        for a, b, c in rows
    ]


@contextmanager
def applied(setting: Setting) -> Iterator[None]:
    """Compute as `setting` says for a while."""
    threads, products, tf32 = (
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
    )
    torch.set_num_threads(setting.threads)
    torch.set_float32_matmul_precision("medium" if setting.shortened else "highest")
    torch.backends.cudnn.allow_tf32 = setting.shortened
    try:
        with (
            torch.backends.mkldnn.flags(enabled=setting.onednn),
            torch.autocast(setting.device, torch.bfloat16, enabled=setting.autocast),
        ):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = tf32


def count_mismatches(
    codec: VideoCodec, settings: list[Setting], frames: Tensor, quality: int, title: str
) -> Tensor:
    """`(writers, readers, 2)`: how many symbols, and how many symbols plus means bit by bit, were
    read otherwise.
    """
    codecs = [prepared(codec, setting) for setting in settings]
    written = [
        write(each, setting, frames, quality)
        for each, setting in zip(codecs, settings, strict=True)
    ]
    print(
        f"{title}: each of {len(settings)} settings reads "
        f"{sum(w.numel() for w in written[0].symbols)} symbols of each"
    )
    print(
        "  differing symbols by writer, then by reader; settings are "
        f"{', '.join(f.name for f in fields(Setting))}"
    )
    counts = torch.tensor(
        [
            [
                read(each, setting, one, tuple(frames.shape[-2:]), quality)
                for each, setting in zip(codecs, settings, strict=True)
            ]
            for one in written
        ]
    )
    for setting, row in zip(settings, counts[..., 0].tolist(), strict=True):
        print(
            f"  {' '.join(map(str, astuple(setting))):45} "
            f"{' '.join(f'{count:7}' for count in row)}",
            flush=True,
        )
    return counts


def prepared(codec: VideoCodec, setting: Setting) -> VideoCodec:
    """A copy of `codec` frozen, in memory and on the device as `setting` says."""
    layout = torch.channels_last if setting.channels_last else torch.contiguous_format
    return copy.deepcopy(freeze(codec, setting.precision)).to(setting.device, memory_format=layout)


@torch.inference_mode()
def write(codec: VideoCodec, setting: Setting, frames: Tensor, quality: int) -> Written:
    """Uint8 frames `(T, 3, H, W)` as `setting` writes them."""
    references, written = None, Written([], [], [])
    index = torch.tensor([quality], device=setting.device)
    with applied(setting):
        for frame in frames.to(setting.device):
            symbol_coder = SymbolEncoder()
            listener = Listener(symbol_coder, written.symbols, written.values)
            pixels, size = frame[None].float() / 255, tuple(frame.shape[-2:])
            references = codec.code_frame(pixels, references, size, index, listener).references
            written.payloads.append(symbol_coder.finish_frame())
    return written


@torch.inference_mode()
def read(
    codec: VideoCodec, setting: Setting, written: Written, size: tuple[int, int], quality: int
) -> tuple[int, int]:
    """How many symbols, and how many values, `setting` reads otherwise; behind a payload that
    fails, all count.
    """
    references, symbols, values = None, [], []
    index = torch.tensor([quality], device=setting.device)
    with applied(setting):
        for payload in written.payloads:
            try:
                symbol_coder = SymbolDecoder(payload)
                coded = codec.code_frame(
                    None, references, size, index, Listener(symbol_coder, symbols, values)
                )
                symbol_coder.finish_frame()
                references = coded.references
            except CodecError:
                break
    return differing(written.symbols, symbols), differing(written.values, values)


def differing(wanted: list[Tensor], got: list[Tensor]) -> int:
    """How many elements are not the same, or not there."""
    missing = sum(value.numel() for value in wanted[len(got) :])
    return missing + sum(int((a != b).sum()) for a, b in zip(wanted, got, strict=False))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    sys.exit(main())
