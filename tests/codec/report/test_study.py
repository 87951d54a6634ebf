"""A study: blind pages, votes read back, and scores that recover what simulated voters think."""

import csv
import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from report_results import FlatFrames, result

from codec.errors import CodecError
from codec.report.study import KEY, PAGE, write_study
from codec.report.study_scores import Vote, read_key, read_votes, score_study, study_table

STRENGTHS = {"good": 1.2, "fair": 0.2, "weak": -0.4, "poor": -1.0}


def simulated(voters: int, seed: int, clips: int = 12) -> list[Vote]:
    """Voters who prefer as Bradley and Terry say, and see no difference now and then."""
    random = np.random.default_rng(seed)
    votes = []
    for voter in range(voters):
        for clip in range(clips):
            for one, other in combinations(STRENGTHS, 2):
                chance = 1 / (1 + np.exp(STRENGTHS[other] - STRENGTHS[one]))
                won = 0.5 if random.random() < 0.1 else float(random.random() < chance)
                votes.append(Vote(f"v{voter}", f"c{clip}", one, other, won))
    return votes


def test_simulated_voters_are_understood():
    """Catches scores of the wrong sign or order, intervals that miss the truth, and a bootstrap
    that draws nothing.
    """
    found = score_study(simulated(15, seed=3), list(STRENGTHS), resamples=200)
    assert [score.codec for score in found.scores] == list(STRENGTHS)
    assert (found.voters, found.votes, found.unit) == (15, 15 * 12 * 6, "voters")
    draws_shrink = 0.9  # one vote in ten is a draw, whatever the strengths
    for score in found.scores:
        assert score.low < score.score < score.high and score.high - score.low < 0.6
        assert score.low - 0.1 < draws_shrink * STRENGTHS[score.codec] < score.high + 0.1
        assert score.votes == 15 * 12 * 3


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Catches intervals that are far too narrow or too wide."""
    inside = []
    truth = {name: value - np.mean(list(STRENGTHS.values())) for name, value in STRENGTHS.items()}
    for seed in range(15):
        votes = [vote for vote in simulated(8, seed, clips=6) if vote.won != 0.5]
        found = score_study(votes, list(STRENGTHS), resamples=100)
        inside += [score.low <= truth[score.codec] <= score.high for score in found.scores]
    assert 0.8 < np.mean(inside) < 0.995


def test_a_codec_that_always_wins_has_a_score():
    """Catches infinite strengths, and one voter's intervals called those of many."""
    found = score_study([Vote("v", "c", "a", "b", 1.0)] * 6, ["a", "b", "unseen"], resamples=50)
    assert [score.codec for score in found.scores] == ["a", "b"] and found.unit == "votes"
    assert np.isfinite([score.score for score in found.scores]).all() and found.scores[0].share == 1
    assert "votes" in str(study_table(found).title)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two codecs on two clips."""
    folder = tmp_path_factory.mktemp("study")
    write_study(result(), FlatFrames(), ["ours", "x265"], folder, rate_tolerance=0.4)
    return folder


def test_the_page_is_blind(study: Path):
    """Catches a codec's or clip's name in the page, and keys that do not say who was who."""
    page, key = (study / PAGE).read_text(), read_key(study / KEY)
    assert (
        not re.search(r"\b(ours|x265|one_1)\b", page)
        and "clip " not in page.split("</header>")[1].split("<script>")[0]
    )
    assert len(key["pairs"]) == 6 and key["study"] in page
    for pair in key["pairs"]:
        assert {pair["one"]["codec"], pair["other"]["codec"]} == {"ours", "x265"} and 0.6 < pair[
            "rate_ratio"
        ] < 1.5
        assert pair["one"]["video"] in page and pair["other"]["tune"] == "default"


def test_pairs_of_unequal_rate_are_left_out(tmp_path: Path):
    """Catches people who judge 36 % more bits as if they were equal, and pairs that go without a
    word.
    """
    whole, said = result(), []
    nearer = {("x265", "default", 1): 950, ("x265", "default", 2): 2100}
    points = [
        replace(p, bytes=nearer.get((p.codec, p.tune, p.quality), p.bytes)) for p in whole.points
    ]
    made = replace(whole, points=points)
    write_study(made, FlatFrames(), ["ours", "x265"], tmp_path, log=said.append)
    key = read_key(tmp_path / KEY)
    assert [pair["rate_ratio"] for pair in key["pairs"]] == [pytest.approx(950 / 900, abs=1e-4)] * 2
    assert (
        key["rate_tolerance"] == 0.1
        and len([line for line in said if line.startswith("left out: one_1: ours")]) == 2
    )
    assert "4 of 6 pairs left out" in said[4] and "eval.py qualities=[...]" in said[4]
    with pytest.raises(
        CodecError,
        match=r"no pair within 1% of rate, the nearest is .* differ by 6% in rate; code one",
    ):
        write_study(made, FlatFrames(), ["ours", "x265"], tmp_path, rate_tolerance=0.01)


def test_scores_say_how_equal_the_rates_were(study: Path, tmp_path: Path):
    """Catches a ratio of the wrong side, and one that is not the farthest."""
    key = read_key(study / KEY)
    (tmp_path / "a.json").write_text(json.dumps(votes_of(key, "Ann", "x265")))
    found = {
        score.codec: score
        for score in score_study(
            read_votes([tmp_path / "a.json"], key), key["codecs"], resamples=20
        ).scores
    }
    ratios = [pair["other"]["bpp"] / pair["one"]["bpp"] for pair in key["pairs"]]
    assert found["x265"].rate_mean == pytest.approx(np.exp(np.mean(np.log(ratios))), abs=1e-3)
    assert found["x265"].rate_largest == pytest.approx(min(ratios), abs=1e-3)
    assert found["ours"].rate_mean == pytest.approx(1 / found["x265"].rate_mean)
    key["pairs"][0].pop("rate_ratio")
    (tmp_path / "key.json").write_text(json.dumps(key))
    with pytest.raises(CodecError, match=r"pairs\[0\].rate_ratio: None"):
        read_key(tmp_path / "key.json")


def votes_of(key: dict, voter: str, prefer: str) -> dict:
    """A file of votes that always prefers one codec, who stands left and right in turn."""
    votes = []
    for number, pair in enumerate(key["pairs"]):
        left, right = (pair["one"], pair["other"]) if number % 2 else (pair["other"], pair["one"])
        choice = "left" if left["codec"] == prefer else "right"
        votes.append(
            {
                "pair": number,
                "left": left["video"],
                "right": right["video"],
                "choice": choice,
                "seconds": 3.5,
            }
        )
    return {"schema": 1, "study": key["study"], "voter": voter, "votes": votes}


def test_votes_are_told_apart_by_the_key(study: Path, tmp_path: Path):
    """Catches left and right mixed up, JSON and CSV that differ, and a second vote on a pair that
    counts twice.
    """
    key = read_key(study / KEY)
    content = votes_of(key, "Ann", "x265")
    (tmp_path / "a.json").write_text(json.dumps(content))
    with (tmp_path / "b.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["study", "voter", *content["votes"][0]])
        writer.writeheader()
        writer.writerows(
            {"study": key["study"], "voter": "Ann", **vote} for vote in content["votes"]
        )
    one, other = (read_votes([tmp_path / name], key) for name in ("a.json", "b.csv"))
    assert one == other and len(read_votes([tmp_path / "a.json", tmp_path / "b.csv"], key)) == len(
        key["pairs"]
    )
    assert all((vote.won == 1.0) == (vote.first == "x265") for vote in one)
    assert score_study(one, key["codecs"], resamples=20).scores[0].codec == "x265"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"study": "another"}, "the key of"),
        (
            {"votes": [{"pair": 0, "left": "v000", "right": "v001", "choice": "maybe"}]},
            "choice: 'maybe'",
        ),
        ({"votes": [{"pair": 99, "left": "v000", "right": "v001", "choice": "left"}]}, "pair: 99"),
        ({"votes": [{"pair": 0, "left": "v999", "right": "v001", "choice": "left"}]}, "shows v999"),
        ({"votes": [{"pair": 0, "choice": "left"}]}, "lacks left, right"),
        ({"votes": []}, "no votes"),
    ],
)
def test_wrong_votes_are_refused(study: Path, tmp_path: Path, change: dict, said: str):
    """Catches votes of another study, or broken ones, that are counted."""
    key = read_key(study / KEY)
    (tmp_path / "a.json").write_text(json.dumps(votes_of(key, "Ann", "ours") | change))
    with pytest.raises(CodecError, match=said):
        read_votes([tmp_path / "a.json"], key)
