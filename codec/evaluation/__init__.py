"""From codecs and clips to RD points and BD-rates."""

from codec.anchors.coder import CodedResult, Coder
from codec.evaluation.evaluate import Evaluation, evaluate
from codec.evaluation.results.bd_rate import Comparison, bd_quality, bd_rate, compare
from codec.evaluation.results.rd import Point, RDResult, load, save

__all__ = [
    "CodedResult",
    "Coder",
    "Comparison",
    "Evaluation",
    "Point",
    "RDResult",
    "bd_quality",
    "bd_rate",
    "compare",
    "evaluate",
    "load",
    "save",
]
