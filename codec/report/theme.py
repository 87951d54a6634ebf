"""Colours and type of the figures; the palette is Okabe and Ito's, told apart by colour-blind readers too."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Colours of a figure: paper, ink, grid, and a line colour for every codec in turn."""

    paper: str
    ink: str
    grid: str
    lines: tuple[str, ...]


_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B4FA3", "#5B6470")
LIGHT = Theme("#ffffff", "#222222", "#e3e3e3", _LINES)
MARKERS = ("o", "s", "^", "D", "v", "P")


def style(theme: Theme) -> dict[str, object]:
    """Settings for `matplotlib.rc_context`."""
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(inked, theme.ink),
        "figure.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "grid.color": theme.grid,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "lines.linewidth": 1.6,
        "lines.markersize": 5,
        "legend.frameon": False,
        "savefig.dpi": 160,
    }
