"""Who spends it: what a codec uses up while it runs, shared among its parts. The networks know
nothing of it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

from codec.entropy.coding.symbol_coder import SymbolCoder
from codec.entropy.models.base import EntropyNetwork
from codec.video import VideoCodec

CODER, OTHER = "entropy coder", "other"
SEARCH, WARPING, BLOCKS = "motion search", "motion warping", "block decisions"


class Ledger:
    """Reads a meter whenever work passes from part to part; each stretch goes to the innermost part
    at work.

    Args:
        read: the meter, for example a clock. It only rises.

    Attributes:
        spent: by part; what no part did is `other`. The sum is all that the meter rose by.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self.spent: dict[str, float] = {}
        self._read, self._at_work = read, [OTHER]
        self._last = read()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is done within goes to `name`, less what parts within it do."""
        self._book()
        self._at_work.append(name)
        try:
            yield
        finally:
            self._book()
            self._at_work.pop()

    def _book(self) -> None:
        now, name = self._read(), self._at_work[-1]
        self.spent[name] = self.spent.get(name, 0.0) + now - self._last
        self._last = now


@contextmanager
def booked(codec: VideoCodec, coder: SymbolCoder, read: Callable[[], float]) -> Iterator[Ledger]:
    """Share what `codec` and the writing or reading `coder` use up within among the codec's
    parts.

    For that while the methods at which work passes from one part to another are wrapped. Methods
    `estimate_motion` and `warp` of a motion network are parts of their own: finding motion at the
    encoder, and warping by it. So is `search` of an intra or a residual network: its decisions on
    blocks.
    """
    ledger = Ledger(read)
    with ExitStack() as wrapped:
        for owner, method, part in _doors(codec, coder):
            wrapped.enter_context(_wrapped(owner, method, ledger, part))
        with ledger.part(OTHER):
            yield ledger


def networks_of(path: str, entropy: bool) -> str:
    """The part that a module or parameter at `path` in the codec belongs to, for example `motion
    entropy`.
    """
    owner = path.split(".")[0]
    owner = "residual" if owner == "entropy" else owner
    return f"{owner} entropy" if entropy else f"{owner} networks"


def entropy_networks(codec: VideoCodec) -> dict[str, EntropyNetwork]:
    """All entropy networks of a codec by their path in it."""
    return {
        path: module for path, module in codec.named_modules() if isinstance(module, EntropyNetwork)
    }


def _doors(codec: VideoCodec, coder: SymbolCoder) -> Iterator[tuple[Any, str, str]]:
    yield codec.intra, "forward", networks_of("intra", entropy=False)
    yield codec.motion, "forward", networks_of("motion", entropy=False)
    yield codec.motion, "estimate_motion", SEARCH
    yield codec.motion, "warp", WARPING
    yield codec.residual, "code", networks_of("residual", entropy=False)
    yield codec.intra, "search", BLOCKS
    yield codec.residual, "search", BLOCKS
    for path, network in entropy_networks(codec).items():
        yield network, "code", networks_of(path, entropy=True)
    yield coder, "code", CODER
    yield coder, "finish_frame", CODER


@contextmanager
def _wrapped(owner: Any, method: str, ledger: Ledger, part: str) -> Iterator[None]:
    """Put `ledger.part(part)` about a method of one object, where it has it."""
    original = getattr(owner, method, None)
    if original is None:
        yield
        return

    @wraps(original)
    def booked_call(*args: Any, **kwargs: Any) -> Any:
        with ledger.part(part):
            return original(*args, **kwargs)

    setattr(owner, method, booked_call)
    try:
        yield
    finally:
        delattr(owner, method)
