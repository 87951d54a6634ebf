"""Packing an index into a folder of shards: in parallel, resumable, whole or reported."""

from __future__ import annotations

import csv
import io
import logging
import multiprocessing
import os
import tempfile
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import TimeoutError as LateError
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pebble import ProcessExpired, ProcessFuture, ProcessPool

from common.progress import Progress, progress_over
from common.resources import available_cores
from data.errors import DataError
from data.shards.member import Packed, pack_member
from data.shards.plan import Member, Plan
from data.shards.shard_file import (
    Record,
    Rejection,
    Shard,
    is_whole,
    records,
    unfinished,
    write_index,
)

AHEAD = 4  # members in work or waiting, for each process
PATIENCE = (300.0, 2.0)  # seconds that a member may take, and more for each frame
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """What lies in a folder of shards.

    Attributes:
        index: of the shards; None while members of the plan are missing.
        shards, members, rejected, missing: how many; `members` of the plan that are done, rejected
            ones among them.
        bytes, source_bytes: of the shards, and of what they were made from.
        psnr, least_psnr: dB, the mean over encoded members and the least; None where none was
            encoded.
    """

    index: Path | None
    shards: int
    members: int
    rejected: int
    missing: int
    bytes: int
    source_bytes: int
    psnr: float | None
    least_psnr: float | None

    def __str__(self) -> str:
        ratio = (
            f"{self.bytes / self.source_bytes:.2f} times their sources"
            if self.source_bytes
            else "no source"
        )
        quality = (
            ""
            if self.psnr is None
            else f"; luma {self.psnr:.1f} dB against the sources, at least {self.least_psnr:.1f}"
        )
        left = (
            f"; {self.missing} members are still to be packed (other parts?)"
            if self.missing
            else f"; index {self.index}"
        )
        members = f"{self.members} members, {self.rejected} of them rejected"
        return f"{self.shards} shards, {members}, {self.bytes / 1e9:.3f} GB, {ratio}{quality}{left}"


def pack(
    plan: Plan, out: Path, part: tuple[int, int] = (1, 1), workers: int | None = None
) -> Summary:
    """Pack one part of a plan into `out`, keep the shards that are there already, and merge when
    nothing is missing.

    Args:
        plan: what to pack.
        out: a folder of its own.
        part: which of how many parts, from 1.
        workers: processes, one core each; None is all that this process may use, 0 works in this
            process.

    Raises:
        DataError: `out` holds shards of another plan, a disk is full, or every sequence was
            rejected.
    """
    kind = f"shard-{part[0]:04d}of{part[1]:04d}" if part[1] > 1 else "shard"
    try:
        out.mkdir(parents=True, exist_ok=True)
        ours = ("records", "index.parquet", "rejected.csv", "logs")
        if strange := [
            path for path in out.iterdir() if path.name not in ours and ".tar" not in path.name
        ]:
            raise DataError(
                f"{out}: holds {strange[0].name}, which corvid data pack did not write; give a "
                "folder of its own"
            )
        for left in out.glob(f".{kind}-??????.tar.part"):
            left.unlink()
        gaps, number = _gaps(plan, out=out, wanted=plan.part(*part), kind=kind)
        _fill(
            plan,
            out=out,
            kind=kind,
            number=number,
            gaps=gaps,
            workers=available_cores() if workers is None else workers,
        )
        return merge(plan, out)
    except OSError as error:
        what = f"{error.filename or out}: {error.strerror or error}"
        raise DataError(
            f"{what}; make room or mend the disk, then run it again: it goes on"
        ) from error


def _gaps(plan: Plan, out: Path, wanted: range, kind: str) -> tuple[list[range], int]:
    """What of a part is not yet packed, and the number of its next shard."""
    gaps = []
    start = wanted.start
    number = 0
    own = {
        path: record
        for path, record in _records(plan, out).items()
        if path.stem.rpartition("-")[0] == kind
    }
    for path, record in progress_over(own.items(), "check shards", "shard", shown=bool(own)):
        number = max(number, int(path.stem.rpartition("-")[2]) + 1)
        if not is_whole(out, path, record):
            log.warning("%s.tar: damaged or missing; it is packed again", out / path.stem)
            (out / f"{path.stem}.tar").unlink(missing_ok=True)
            path.unlink()
            continue
        if record.first > start:
            gaps.append(range(start, record.first))
        start = record.stop
    return [*gaps, range(start, wanted.stop)], number


def _records(plan: Plan, out: Path) -> dict[Path, Record]:
    found = records(out)
    for path, record in found.items():
        if record.digest != plan.digest:
            raise DataError(
                f"{path}: of another index or other options; give another folder, or remove {out}"
            )
    return found


def _fill(plan: Plan, out: Path, kind: str, number: int, gaps: list[range], workers: int) -> None:
    """Write shards for some ranges of members."""
    total = sum(map(len, gaps))
    with (
        tempfile.TemporaryDirectory(prefix="corvid-pack-") as scratch,
        Progress("pack", total, "clip") as progress,
    ):
        for gap in gaps:
            made = _made(plan, numbers=gap, workers=workers, scratch=Path(scratch))
            try:
                while gap:
                    gap = _one_shard(
                        plan,
                        shard=Shard(out, f"{kind}-{number:06d}"),
                        gap=gap,
                        made=made,
                        progress=progress,
                    )
                    number += 1
            finally:
                made.close()


def _one_shard(
    plan: Plan, shard: Shard, gap: range, made: Iterator[Packed | Rejection], progress: Progress
) -> range:
    """Write one shard from the front of a gap; what is left of it."""
    rejected = []
    source_bytes = 0
    quality: list[float] = []
    stop = gap.start
    try:
        while stop < gap.stop and shard.bytes < plan.options.shard_mb * 2**20:
            outcome = next(made)
            stop += 1
            progress.update()
            if not isinstance(outcome, Packed):
                rejected.append(outcome)
                log.warning("rejected %s", outcome[3])
                continue
            shard.add(outcome)
            row = outcome.member.rows[0]
            encoded = outcome.psnr is not None
            if outcome.psnr is not None:
                quality.append(outcome.psnr)
            source_bytes += (
                row["bytes"] * outcome.member.frames // max(1, row["file_frames"])
                if encoded
                else row["bytes"]
            )

        psnr = (sum(quality), len(quality), min(quality, default=100.0))
        shard.finish(
            Record(
                gap.start,
                stop=stop,
                bytes=0,
                rejected=rejected,
                digest=plan.digest,
                source_bytes=source_bytes,
                psnr=psnr,
            )
        )
    except BaseException:
        shard.drop()
        raise
    return range(stop, gap.stop)


def _made(
    plan: Plan, numbers: range, workers: int, scratch: Path
) -> Generator[Packed | Rejection, None, None]:
    """Members or why there is none, in order."""
    members = plan.members(numbers)
    if not workers:
        for member in members:
            try:
                yield pack_member(member, root=plan.root, options=plan.options, scratch=scratch)
            except DataError as error:
                yield _rejection(member, str(error))
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data.shards.member"])  # loaded once, not by every process
    pool = ProcessPool(max_workers=workers, context=context)
    waiting: deque[tuple[Member, ProcessFuture]] = deque()
    try:
        for member in members:
            limit = PATIENCE[0] + PATIENCE[1] * member.frames
            waiting.append(
                (
                    member,
                    pool.schedule(
                        pack_member, args=[member, plan.root, plan.options, scratch], timeout=limit
                    ),
                )
            )
            if len(waiting) == AHEAD * workers:
                yield _outcome(*waiting.popleft())
        while waiting:
            yield _outcome(*waiting.popleft())
    finally:
        pool.stop()
        pool.join()


def _outcome(member: Member, future: ProcessFuture) -> Packed | Rejection:
    try:
        return future.result()
    except DataError as error:
        return _rejection(member, str(error))
    except LateError:
        return _rejection(
            member,
            f"{member.rows[0]['path']}: took more than "
            f"{PATIENCE[0] + PATIENCE[1] * member.frames:g} s",
        )
    except ProcessExpired as error:
        return _rejection(
            member,
            f"{member.rows[0]['path']}: the process reading it died (exit code {error.exitcode})",
        )


def _rejection(member: Member, reason: str) -> Rejection:
    return (member.rows[0]["path"], member.first, member.frames, reason)


def merge(plan: Plan, out: Path) -> Summary:
    """Write `index.parquet` and `rejected.csv` from all shards of a folder, if all parts are there.

    Raises:
        DataError: parts overlap, or every sequence was rejected.
    """
    found = _records(plan, out)
    done = 0
    for path, record in found.items():
        if record.first < done:
            raise DataError(
                f"{path}: packed twice, in parts of different numbers; give another folder, or "
                f"remove {out}"
            )
        done = record.stop
    members = sum(record.stop - record.first for record in found.values())
    rejected = [rejection for record in found.values() for rejection in record.rejected]
    _write_rejected(out / "rejected.csv", rejected)
    if len(rejected) == len(plan):
        raise DataError(
            f"{out}: every sequence was rejected, see {out / 'rejected.csv'}; the first: "
            f"{rejected[0][3]}"
        )
    target = None
    if members == len(plan):
        target = out / "index.parquet"
        write_index(target, pa.concat_tables([pq.read_table(path) for path in found]))
    total, count, least = (
        list(values) for values in zip(*(record.psnr for record in found.values()), strict=True)
    )
    return Summary(
        index=target,
        shards=sum(record.bytes > 0 for record in found.values()),
        members=members,
        rejected=len(rejected),
        missing=len(plan) - members,
        bytes=sum(record.bytes for record in found.values()),
        source_bytes=sum(record.source_bytes for record in found.values()),
        psnr=sum(total) / sum(count) if sum(count) else None,
        least_psnr=min(least) if sum(count) else None,
    )


def _write_rejected(path: Path, rejected: list[Rejection]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [("path", "first", "frames", "reason"), *rejected]
    )
    part = unfinished(path)
    part.write_text(text.getvalue(), encoding="utf-8")
    os.replace(part, path)
