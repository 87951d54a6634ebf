"""The table of a source tree: what is counted, and what is not."""

import runpy
from pathlib import Path

import pytest

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "house.py"))

FILES = {
    "codec/__init__.py": "",
    "codec/video.py": "from codec.layers import warp\n\n\ndef late():\n    import codec.slow\n",
    "codec/slow.py": "x = 1\n" * 60,
    "codec/layers/__init__.py": "from . import blocks\n",
    "codec/layers/blocks.py": "import math\nfrom typing import TYPE_CHECKING\n\n"
    "if TYPE_CHECKING:\n    from codec.slow import x\n",
    "codec/layers/warp.py": f"from .blocks import math\n# {'a' * 99}\n",
    "data/__init__.py": "",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package whose figures can be counted by hand."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_figures_are_those_counted_by_hand(tree: Path):
    """Catches files counted for the wrong package, and lines, importers or functions miscounted."""
    figures = TOOL["measure"](tree, ["codec.video", "codec.gone"])
    assert figures["codec"] == "3 / 65" and figures["codec.layers"] == "3 / 8"
    assert figures["all files / lines"] == "7 / 73"
    assert figures["modules of 50 lines or fewer"] == "6"
    # warp by video; blocks by two, slow by two
    assert figures["modules with one importer"] == "1"
    assert figures["lines of a function, median / 95 %"] == "2 / 2"
    assert figures["lines over 100 columns"] == "1"
    assert figures["import closure of codec.gone"] == "–"


def test_a_closure_is_what_an_import_loads(tree: Path):
    """Catches imports in functions or for type checkers, relative ones, and packages forgotten."""
    modules = TOOL["read_modules"](tree)
    assert TOOL["closure"](modules, "codec.video") == {
        "codec",
        "codec.video",
        "codec.layers",
        "codec.layers.blocks",
        "codec.layers.warp",
    }


def test_trees_stand_beside_each_other(tree: Path, capsys: pytest.CaptureFixture[str]):
    """Catches a column that is missing, and this tree not read where none is named."""
    TOOL["main"](["--tree", str(tree), "--tree", str(tree)])
    lines = capsys.readouterr().out.splitlines()
    assert (
        "| codec.layers | 3 / 8 | 3 / 8 |" in lines and len({row.count("|") for row in lines}) == 1
    )
    TOOL["main"]([])
    assert "| codec.report | " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="give another --tree"):
        TOOL["main"](["--tree", str(tree / "codec")])
