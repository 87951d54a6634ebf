"""What the tests of pages share."""

from collections.abc import Iterator

import pytest
from browser import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:  # noqa: F821
    """One Chromium for all tests; they are skipped where there is none, or no playwright."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: pip install -e '.[dev]'"
    )
    path = chromium()
    with sync_api.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()
