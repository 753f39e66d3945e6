"""One look for all plots: light ground, few lines, labels beside what they name, colours for colour-blind eyes.

Figures are made with `matplotlib.figure.Figure` and drawn by Agg, so that nothing depends on pyplot or a display.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from echojax.files import replaced_file

INK = "#1b2733"
MUTED = "#5b6875"
GRID = "#e3e8ed"
PAPER = "#ffffff"
# Okabe and Ito's palette, darkened where thin text needs the contrast.
BLUE = "#0a66a8"
VERMILLION = "#c24a00"
GREEN = "#00795a"
PURPLE = "#9a3f78"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE)

# About 380 points wide: shown at the width of a phone, 11 point text stays about 11 pixels.
SIZE_INCHES = (5.3, 4.7)
PNG_DPI = 200

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    # Names in an SVG do not change from run to run.
    "svg.hashsalt": "echojax",
}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Applies the style to figures made, and to figures saved, inside the block."""
    with mpl.rc_context(RC):
        yield


def new_axes(title: str, size_inches: tuple[float, float] = SIZE_INCHES) -> tuple[Figure, Axes]:
    """An empty plot under a title."""
    figure = Figure(figsize=size_inches)
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def write_label(axes: Axes, text: str, x: float, y: float, color: str, **options) -> None:
    """Writes a label in the colour of what it names, on a light ground that keeps it readable over points and lines."""
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(x, y, text, color=color, fontsize=10, bbox=box, **options)


def save_figure(figure: Figure, path: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes `path`.png and `path`.svg (`path` has no suffix), each whole or not at all; returns both paths."""
    paths = pathlib.Path(f"{os.fspath(path)}.png"), pathlib.Path(f"{os.fspath(path)}.svg")
    with applied():
        for target in paths:
            # Without a date equal figures are equal files.
            metadata = {"Date": None} if target.suffix == ".svg" else None
            with replaced_file(target) as temporary:
                figure.savefig(temporary, dpi=PNG_DPI, metadata=metadata)
    return paths
