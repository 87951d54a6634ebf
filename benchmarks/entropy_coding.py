"""The entropy coder against CompressAI's, on the symbols of a predicted frame of a real clip, in
one run.

Tensors in and bytes out, and back, for both. CompressAI's takes and gives lists, so turning tensors
into lists and back is in its time, as it is where it is used; its CDF tables are lists beforehand.
Both code the same symbols by the same tables. Ours is given all rows, those that say that nothing
is coded too; CompressAI's is given the coded ones, which takes none of its time. Runs interleaved,
medians.

    python benchmarks/entropy_coding.py [--checkpoint RUN] [--clip sample:bigbuckbunny]
        [--quality 32] [--json FILE]
"""

import argparse
import statistics
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from coding_speed import our_codec
from compressai.ans import BufferedRansEncoder, RansDecoder
from parts.figures import report
from torch import Tensor

from codec.checkpoint import load_codec
from codec.entropy.coding.cdf_tables import CdfTables
from codec.entropy.coding.rans import PayloadReader, PayloadWriter
from codec.entropy.coding.symbol_coder import SymbolCoder, SymbolEncoder, SymbolModel
from codec.video import VideoCodec
from data.io.source_clip import read_source
from data.sources.discovery import find_videos


@dataclass
class Part:
    """What one `code` of a codec codes: `symbols` and `rows` `(1, C, h, w)`."""

    symbols: Tensor
    rows: Tensor
    tables: CdfTables


class RecordingCoder(SymbolCoder):
    """A symbol coder that remembers what goes through `inner`."""

    def __init__(self, inner: SymbolCoder) -> None:
        self.inner, self.encodes = inner, inner.encodes
        self.parts: list[Part] = []

    def code(self, component: str, latent: Tensor | None, model: SymbolModel) -> Tensor:
        sent = self.inner.code(component, latent, model)
        self.parts.append(Part(torch.round(sent - model.means).int(), model.indexes, model.tables))
        return sent


class Peer:
    """CompressAI's coder, given the coded symbols of `parts`."""

    def __init__(self, parts: list[Part]) -> None:
        self.coded = [Part(p.symbols[p.rows >= 0], p.rows[p.rows >= 0], p.tables) for p in parts]
        lists = {p.tables: as_lists(p.tables) for p in parts}
        self.lists = [lists[p.tables] for p in parts]

    def encode(self) -> bytes:
        encoder = BufferedRansEncoder()
        for part, lists in zip(self.coded, self.lists, strict=True):
            encoder.encode_with_indexes(part.symbols.tolist(), part.rows.tolist(), *lists)
        return encoder.flush()

    def decode(self, payload: bytes) -> list[Tensor]:
        decoder = RansDecoder()
        decoder.set_stream(payload)
        each = zip(self.coded, self.lists, strict=True)
        return [
            torch.tensor(decoder.decode_stream(p.rows.tolist(), *lists), dtype=torch.int32)
            for p, lists in each
        ]


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--checkpoint",
        default=None,
        help="a file or run folder; without it codec=corvid_s, untrained",
    )
    parser.add_argument("--clip", default="sample:bigbuckbunny")
    parser.add_argument("--quality", type=int, default=32)
    parser.add_argument("--frames", type=int, default=3, help="the last of so many is measured")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, default=None)
    choice = parser.parse_args()
    source = read_source(find_videos(choice.clip)[0], choice.frames)
    codec = load_codec(choice.checkpoint) if choice.checkpoint else our_codec("corvid_s")
    parts = symbols_of(codec, source.rgb, choice.quality)
    coded = sum(int((part.rows >= 0).sum()) for part in parts)
    every = sum(part.rows.numel() for part in parts)
    print(
        f"{source.name} {source.width}×{source.height}, quality {choice.quality}: {every} values, "
        f"{coded} coded"
    )
    show(measure(parts, choice.repeats), coded, choice.json)


@torch.inference_mode()
def symbols_of(codec: VideoCodec, frames: Tensor, quality: int) -> list[Part]:
    """What the last of uint8 `frames` `(T, 3, H, W)` is coded as, the first being intra."""
    references, size = None, tuple(frames.shape[-2:])
    for frame in frames:
        symbol_coder = RecordingCoder(SymbolEncoder())
        coded = codec.code_frame(
            frame[None].float() / 255, references, size, torch.tensor([quality]), symbol_coder
        )
        references = coded.references
    return symbol_coder.parts


def measure(parts: list[Part], repeats: int) -> dict[str, float]:
    """Median seconds to encode and decode all parts as one payload, and its bytes, of both coders.

    Raises:
        RuntimeError: a coder gave other symbols back.
    """
    peer, runs = Peer(parts), []
    for _ in range(repeats + 1):
        times = [time.perf_counter()]
        ours = encode(parts)
        times.append(time.perf_counter())
        back = decode(ours, parts)
        times.append(time.perf_counter())
        theirs = peer.encode()
        times.append(time.perf_counter())
        peer_back = peer.decode(theirs)
        times.append(time.perf_counter())
        runs.append(np.diff(times))
    expected = [part.symbols * (part.rows >= 0) for part in parts]
    same = [
        *map(torch.equal, back, expected),
        *map(torch.equal, peer_back, [part.symbols for part in peer.coded]),
    ]
    if not all(same):
        raise RuntimeError("entropy_coding: a coder gave other symbols back")
    names = ("encode", "decode", "peer_encode", "peer_decode")
    medians = {name: statistics.median(run[i] for run in runs[1:]) for i, name in enumerate(names)}
    return medians | {"bytes": len(ours), "peer_bytes": len(theirs)}


def encode(parts: list[Part]) -> bytes:
    """Our coder, as `SymbolEncoder` uses it."""
    writer = PayloadWriter()
    for part in parts:
        writer.write(part.symbols, part.rows, part.tables)
    return writer.finish()


def decode(payload: bytes, parts: list[Part]) -> list[Tensor]:
    """Our coder, as `SymbolDecoder` uses it."""
    reader = PayloadReader(payload)
    symbols = [reader.read(part.rows, part.tables) for part in parts]
    reader.finish()
    return symbols


def as_lists(tables: CdfTables) -> tuple[list[list[int]], list[int], list[int]]:
    """CDFs, their lengths and offsets, as CompressAI takes them."""
    rows = [row.tolist() for row in np.split(tables.cumulative, tables.first[1:-1])]
    width = max(map(len, rows))
    return (
        [row + [0] * (width - len(row)) for row in rows],
        [len(row) for row in rows],
        tables.offsets.tolist(),
    )


def show(measured: dict[str, float], coded: int, file: Path | None) -> None:
    """One line a figure, and the same as JSON."""
    for name in ("encode", "decode"):
        print(
            f"{name}: {1000 * measured[name]:.2f} ms, CompressAI "
            f"{1000 * measured['peer_' + name]:.2f} ms"
        )
    figures = {
        "entropy_decode_speedup": round(measured["peer_decode"] / measured["decode"], 2),
        "entropy_encode_speedup": round(measured["peer_encode"] / measured["encode"], 2),
        "entropy_decode_msymbols_per_s": round(coded / measured["decode"] / 1e6, 1),
        "entropy_payload_bytes": measured["bytes"],
        "compressai_payload_bytes": measured["peer_bytes"],
    }
    report(figures, file)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
