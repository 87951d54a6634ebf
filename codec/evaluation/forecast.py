"""How long the points of an evaluation will take: a guess first, then from the points that were
made.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from codec.evaluation.store import Store
from codec.evaluation.work import Task
from data.progress import amount

# Seconds of a point and of a pixel in it: coding, decoding and scores on one core of 2023.
LEARNED = (2.0, 2e-6)
STANDARD = (0.3, 4e-7)


class Forecast:
    """Seconds that are left, by what a codec took for a pixel on other clips and qualities.

    A codec of which no point is made yet takes what it took in earlier evaluations that used this
    store, or else a guess, corrected by what points of other codecs took here.

    Args:
        tasks: all that are to be made.
        store: remembers what codecs took.
        jobs: points that are made at once.
    """

    def __init__(self, tasks: Sequence[Task], store: Store, jobs: int) -> None:
        self._left = {task.stream_key: task for task in tasks}
        self._store, self._jobs = store, jobs
        self._took: dict[str, list[float]] = defaultdict(list)  # seconds a pixel, by codec
        self._seconds = self._guessed = 0.0  # of all points that were made
        self._known = {name: store.read("speeds", name) for name in {_name(task) for task in tasks}}

    def made(self, task: Task, seconds: float) -> None:
        """A point is made, and took so long."""
        del self._left[task.stream_key]
        took = self._took[_name(task)]
        took.append(seconds / task.pixels)
        self._seconds, self._guessed = self._seconds + seconds, self._guessed + _guess(task)
        self._store.write("speeds", _name(task), self._measured(task))

    def seconds(self) -> float:
        """That are left, of the wall clock."""
        work = sum(self._seconds_of(task) for task in self._left.values())
        return work / max(1, min(self._jobs, len(self._left)))

    def is_a_guess(self) -> bool:
        """Whether there is a codec of which nothing is known."""
        names = {_name(task) for task in self._left.values()}
        return any(not self._took[name] and not self._known[name] for name in names)

    def seconds_once_measured(self) -> float | None:
        """None until a point is made: a guess need not be said twice."""
        return self.seconds() if self._seconds else None

    def _seconds_of(self, task: Task) -> float:
        if self._took[_name(task)]:
            return task.pixels * self._measured(task)
        if known := self._known[_name(task)]:
            return task.pixels * known
        return _guess(task) * (self._seconds / self._guessed if self._guessed else 1.0)

    def _measured(self, task: Task) -> float:
        """Seconds a pixel; the first point of a codec loads and compiles what the others have."""
        took = self._took[_name(task)]
        return median(took[1:] or took)


def _guess(task: Task) -> float:
    start, pixel = LEARNED if getattr(task.coder, "device", None) else STANDARD
    return start + pixel * task.pixels


def _name(task: Task) -> str:
    """Of a codec, as a file may be called; tunings take as long as each other."""
    return "".join(
        letter if letter.isalnum() or letter in "-_" else "_" for letter in task.coder.name
    )


def plan_line(tasks: Sequence[Task], missing: Sequence[Task]) -> str:
    """What will be done: `evaluate: 24 points of 2 codecs on 2 clips, 4 of them kept from before,
    20 to make`.
    """
    codecs = amount(len({task.coder.name for task in tasks}), "codec")
    clips = amount(len({id(task.clip) for task in tasks}), "clip")
    kept = f"{len(tasks) - len(missing)} of them kept from before"
    return (
        f"evaluate: {amount(len(tasks), 'point')} of {codecs} on {clips}, {kept}, {len(missing)} "
        "to make"
    )
