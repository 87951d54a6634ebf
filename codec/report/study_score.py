"""Scores out of votes: Bradley-Terry, with intervals from drawing the voters again."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import choix
import numpy as np
from rich.table import Table

from codec.report.study_votes import Vote

DRAWS = 1000
FEW_VOTERS = 5
PRIOR = 0.5
TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class Score:
    """What a codec was worth to the voters.

    Attributes:
        score: log of its strength; the mean over codecs is 0. A beats B with probability 1 / (1 + exp(B - A)).
        low, high: ends of the bootstrap 95 % interval.
        votes: it took part in.
        share: of them that it won; a draw is half.
        rate_mean: its rate over the other's, the geometric mean over its votes: above 1 it was given more bits.
        rate_largest: the ratio of these that is farthest from 1.
    """

    codec: str
    score: float
    low: float
    high: float
    votes: int
    share: float
    rate_mean: float
    rate_largest: float


@dataclass(frozen=True)
class StudyScores:
    """Scores, best first, and how they came about; `unit` is what the bootstrap draws: voters or votes."""

    scores: list[Score]
    voters: int
    votes: int
    unit: str

    def to_json(self) -> dict[str, Any]:
        """As `study_score.json` holds them."""
        return {"schema": 1, **asdict(self)}


def score_study(votes: Sequence[Vote], codecs: Sequence[str], draws: int = DRAWS, seed: int = 0) -> StudyScores:
    """Bradley-Terry scores of the codecs, with a percentile bootstrap over voters.

    With fewer than five voters single votes are drawn instead, which says nothing about other people. A draw counts half
    for both, and every two codecs that met get a draw more (a codec that always won would be infinitely strong).

    Source: Bradley and Terry, *Rank Analysis of Incomplete Block Designs*, 1952; solved by `choix` (Maystre and
    Grossglauser, *Fast and Accurate Inference of Plackett-Luce Models*, 2015).
    """
    names = [name for name in codecs if any(name in (vote.first, vote.second) for vote in votes)]
    voters = list(dict.fromkeys(vote.voter for vote in votes))
    unit = "voters" if len(voters) >= FEW_VOTERS else "votes"
    groups = [[v for v in votes if v.voter == voter] for voter in voters] if unit == "voters" else [[vote] for vote in votes]
    wins = np.stack([_wins(group, names) for group in groups])
    prior = PRIOR * ((wins.sum(0) + wins.sum(0).T) > 0)
    random = np.random.default_rng(seed)
    drawn = [_strengths(wins[random.integers(len(wins), size=len(wins))].sum(0) + prior) for _ in range(draws)]
    low, high = np.percentile(drawn, TAILS, axis=0)
    total, found = wins.sum(0), _strengths(wins.sum(0) + prior)
    scores = []
    for index, name in enumerate(names):
        won, part = total[index].sum(), total[index].sum() + total[:, index].sum()
        between = (float(found[index]), float(low[index]), float(high[index]))
        scores.append(Score(name, *between, round(part), float(won / part), *_rates(votes, name)))
    return StudyScores(sorted(scores, key=lambda score: -score.score), len(voters), len(votes), unit)


def study_table(found: StudyScores) -> Table:
    """The scores in a terminal."""
    title = f"Bradley–Terry scores of {found.votes} votes by {found.voters} voters (interval over {found.unit})"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("codec", "score", "95 % interval", "votes won", "of", "rate / other's", "largest"):
        table.add_column(name, justify="left" if name == "codec" else "right", no_wrap=name != "codec")
    for row in found.scores:
        between = f"{row.low:+.2f} to {row.high:+.2f}"
        cells = (f"{row.score:+.2f}", between, f"{100 * row.share:.0f} %", str(row.votes))
        cells += (f"{row.rate_mean:.3f}", f"{row.rate_largest:.3f}")
        table.add_row(row.codec, *(cell.replace("-", "−") for cell in cells))
    return table


def _rates(votes: Sequence[Vote], name: str) -> tuple[float, float]:
    """Of the ratios of a codec's rate to the other's: the geometric mean, and the one farthest from 1."""
    logs = [math.log(v.ratio) for v in votes if v.first == name] + [-math.log(v.ratio) for v in votes if v.second == name]
    return math.exp(math.fsum(logs) / len(logs)), math.exp(max(logs, key=abs))


def _wins(votes: Sequence[Vote], names: Sequence[str]) -> np.ndarray:
    """`wins[i, j]`: how often codec i was preferred to codec j."""
    wins = np.zeros((len(names), len(names)))
    for vote in votes:
        first, second = names.index(vote.first), names.index(vote.second)
        wins[first, second] += vote.won
        wins[second, first] += 1 - vote.won
    return wins


def _strengths(wins: np.ndarray) -> np.ndarray:
    strengths = choix.ilsr_pairwise_dense(wins, alpha=1e-6)
    return strengths - strengths.mean()
