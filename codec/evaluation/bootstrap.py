"""How far a mean over clips would move with other clips: a percentile bootstrap."""

from collections.abc import Sequence

import numpy as np

DRAWS = 10_000
SEED = 0
FEWEST = 3
SHARE = 0.95


def mean_interval(values: Sequence[float], share: float = SHARE) -> tuple[float, float] | None:
    """Interval of the mean when the clips are drawn again, with replacement, as many as there are.

    Args:
        values: one a clip.
        share: how many of the redrawn means lie in the interval, 0..1.

    Returns:
        Its ends; always the same for the same values. None below 3 clips, of which no interval can
        be told.

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, 13.3.
    """
    if len(values) < FEWEST:
        return None
    drawn = np.random.default_rng(SEED).choice(
        np.asarray(values, dtype=float), size=(DRAWS, len(values))
    )
    low, high = np.quantile(drawn.mean(axis=1), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
