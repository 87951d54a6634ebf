"""A study as a voter meets it: in a headless Chromium, from disk."""

import json
from pathlib import Path

import pytest
from report_results import FlatFrames, result

from codec.report.study import KEY, PAGE, write_study
from codec.report.study_scores import read_key, read_votes

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: pip install -e '.[dev]'"
)
from browser import opened  # noqa: E402


@pytest.mark.parametrize("width", [1280, 400])
def test_a_study_is_voted_on_resumed_and_saved(
    browser: sync_api.Browser, tmp_path: Path, width: int
):
    """Catches votes that are lost when the page is closed, keys that do nothing, files that cannot
    be scored, small pictures.
    """
    write_study(result(), FlatFrames(), ["ours", "x265"], tmp_path, rate_tolerance=0.4)
    key = read_key(tmp_path / KEY)
    with opened(
        browser, tmp_path / PAGE, accept_downloads=True, viewport={"width": width, "height": 900}
    ) as page:

        def start() -> None:
            page.locator("#voter").fill("Ann")
            page.keyboard.press("Enter")

        def vote(press: str, number: int) -> None:
            page.locator("#count", has_text=f"Pair {number} of {len(key['pairs'])}").wait_for()
            page.locator("#votes button:enabled").first.wait_for()
            page.keyboard.press(press)

        start()
        page.locator("#votes button:enabled").first.wait_for()
        boxes = [page.locator("#duo canvas").nth(side).bounding_box() for side in (0, 1)]
        assert (boxes[0]["x"] == boxes[1]["x"]) == (width < 700) and all(
            box["width"] > 300 for box in boxes
        )
        page.locator("#more button").nth(1).click()
        assert (
            "To vote" in page.locator("#why").inner_text()
            and page.locator("#votes button:enabled").count() == 0
        )
        page.locator("#more button").nth(1).click()
        for number in (1, 2):
            vote("1", number)
        page.reload()
        start()
        vote("2", 3)
        for number in range(4, len(key["pairs"]) + 1):
            vote("3", number)
        for kind in ("json", "csv"):
            with page.expect_download() as waiting:
                page.locator(f"[data-save='{kind}']").click()
            waiting.value.save_as(tmp_path / f"votes.{kind}")
    assert json.loads((tmp_path / "votes.json").read_text())["votes"][0]["window"] == f"{width}x900"
    assert f'"{width}x900"' in (tmp_path / "votes.csv").read_text()
    votes = read_votes([tmp_path / "votes.json"], key)
    assert votes == read_votes([tmp_path / "votes.csv"], key)
    assert len(votes) == len(key["pairs"]) and sorted(vote.won for vote in votes) == [
        0,
        0,
        0,
        0.5,
        1,
        1,
    ]
