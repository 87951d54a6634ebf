"""A headless Chromium for tests of pages, and what went wrong while it showed one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOCAL = ("file:", "data:", "blob:")


def chromium() -> str:
    """Path of the executable (`CHROMIUM` in the environment names another); skips the test where
    there is none.
    """
    found = os.environ.get("CHROMIUM") or next(
        (path for name in NAMES if (path := shutil.which(name))), None
    )
    if not found:
        pytest.skip(
            "no Chromium on this machine: apt-get install chromium, or name one in CHROMIUM"
        )
    return found


@contextmanager
def opened(browser: "Browser", page: Path, **context: object) -> Iterator["Page"]:  # noqa: F821
    """The page in a window of its own; fails when it reported an error, failed, or asked for
    anything.
    """
    window = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | context)
    window.set_default_timeout(20_000)
    tab = window.new_page()
    said: list[str] = []
    tab.on(
        "console",
        lambda message: (
            said.append(f"console: {message.text}") if message.type == "error" else None
        ),
    )
    tab.on("pageerror", lambda error: said.append(f"error: {error}"))
    tab.on(
        "request",
        lambda request: (
            None if request.url.startswith(LOCAL) else said.append(f"request: {request.url}")
        ),
    )
    try:
        tab.goto(page.as_uri())
        yield tab
        assert said == []
    finally:
        window.close()
