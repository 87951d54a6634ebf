"""`docs/life_of_a_frame.md` against the code, and the pages that must link to it."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = (DOCS / "life_of_a_frame.md").read_text()
NAMES = sorted(set(re.findall(r"`((?:codec|data)(?:\.\w+)+)`", PAGE)))
MOST_FILES = 15


def named(name: str) -> object:
    """The class, function or method of a dotted name, or a module."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there(name: str):
    """Catches a page that speaks of code that was renamed, moved or removed."""
    found = named(name)
    assert inspect.isclass(found) or inspect.isfunction(found)


def test_a_newcomer_reads_few_files():
    """Catches a page that grows until nobody reads what it names, and one that names nothing."""
    files = {Path(inspect.getsourcefile(inspect.unwrap(named(name)))) for name in NAMES}
    assert 10 < len(files) <= MOST_FILES, sorted(files)
    assert all(file.is_relative_to(ROOT) for file in files)


def test_code_marks_are_names_or_plain_words():
    """Catches a file or a class in code marks that the tests above overlook."""
    marks = set(re.findall(r"`([^`\n]+)`", PAGE)) - set(NAMES)
    assert not [mark for mark in marks if ".py" in mark.split(" ")[0] or mark[0].isupper()]


@pytest.mark.parametrize("page", ["life_of_a_frame.md", "glossary.md"])
@pytest.mark.parametrize("source", ["README.md", "docs/architecture.md"])
def test_the_page_is_linked(page: str, source: str):
    """Catches a page that nobody finds."""
    link = f"docs/{page}" if source == "README.md" else page
    assert f"]({link})" in (ROOT / source).read_text() and (DOCS / page).exists()
