"""From codecs and clips to RD points and BD-rates."""

from codec.anchors.coder import CodedResult, Coder
from codec.evaluation.bd_rate import Comparison, compare
from codec.evaluation.curves import bd_quality, bd_rate
from codec.evaluation.evaluate import Evaluation, evaluate
from codec.evaluation.rd import Point, RDResult, save
from codec.evaluation.schema import load

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
