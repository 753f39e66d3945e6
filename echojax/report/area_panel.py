"""The curve of LV area over time under a clip, drawn once, with a marker that moves."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from echojax import lv
from echojax.report import drawing, style

# On grey ultrasound amber and sky blue stand out, also to colour-blind eyes.
PREDICTED_COLOR = "#ffb000"
TRUE_COLOR = "#56c8ff"
GROUND_COLOR = "#10161c"
TEXT_COLOR = "#c9d3dc"
CURSOR_COLOR = "#ffffff"

HEIGHT_PX = 128
MARKER_RADIUS_PX = 3.5


class AreaPanel(NamedTuple):
    """The drawn curve, and where on it each frame stands."""

    picture: UInt8[np.ndarray, "h w 3"]
    columns: Int[np.ndarray, "t"]
    rows: Int[np.ndarray, "t"]  # of the predicted area
    top: int  # first row of the plot's inside
    bottom: int  # last row


def draw_panel(
    predicted: Bool[np.ndarray, "t h w"] | Float[np.ndarray, "t h w"],
    true: Mapping[int, Bool[np.ndarray, "h w"]],
    fps: float,
    width: int,
) -> AreaPanel:
    """Draws the predicted area of every frame and the known area of those in `true`, in pixels over seconds."""
    traced = sorted(true)
    known = lv.area_px(np.stack([true[frame] for frame in traced])) if traced else []
    # Probabilities add up to an expected area, bool masks to a count.
    return draw_areas(predicted.sum(axis=(1, 2), dtype=np.float64), dict(zip(traced, known, strict=True)), fps, width)


def draw_areas(
    areas: Float[np.ndarray, "t"], true: Mapping[int, float], fps: float, width: int, unit: str = "px"
) -> AreaPanel:
    """Draws the area of every frame and the known area of those in `true`, over seconds; `unit` is theirs."""
    seconds = np.arange(len(areas)) / fps
    with style.applied():
        figure = Figure(figsize=(width / drawing.DPI, HEIGHT_PX / drawing.DPI), dpi=drawing.DPI)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0.145, 0.26, 0.82, 0.53))
        if true:
            _draw_true(axes, true, fps, is_line=len(true) == len(areas))
        axes.plot(seconds, areas, color=PREDICTED_COLOR, linewidth=1.5)
        _style(figure, axes)
        axes.set_xlim(0, len(areas) / fps)
        picture = drawing.render(figure)
        inside = axes.transAxes.transform([(0, 0), (0, 1)])[:, 1]
        points = axes.transData.transform(np.stack([seconds, areas], axis=1))
    _write_legend(picture, bool(true), unit)
    # Rows count from the top, matplotlib's pixels from the bottom.
    rows = HEIGHT_PX - 1 - np.rint(points[:, 1]).astype(int)
    bottom, top = HEIGHT_PX - 1 - np.rint(inside).astype(int)
    return AreaPanel(picture, np.rint(points[:, 0]).astype(int), rows, int(top), int(bottom))


def panel_at(panel: AreaPanel, frame: int) -> UInt8[np.ndarray, "h w 3"]:
    """The panel with its marker at a frame."""
    picture = panel.picture.copy()
    white = drawing.parse_color(CURSOR_COLOR)
    x, y = panel.columns[frame], panel.rows[frame]
    drawing.paint(
        picture[panel.top : panel.bottom + 1, x : x + 1], np.full((panel.bottom + 1 - panel.top, 1), 0.5), white
    )
    reach = int(MARKER_RADIUS_PX + 1)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(MARKER_RADIUS_PX + 0.5 - np.hypot(rows, columns), 0, 1)
    # The panel's margins are wider than the marker.
    drawing.paint(picture[y - reach : y + reach + 1, x - reach : x + reach + 1], disc, white)
    return picture


def _draw_true(axes: Axes, true: Mapping[int, float], fps: float, is_line: bool) -> None:
    traced = sorted(true)
    areas = [true[frame] for frame in traced]
    shape = {"linewidth": 1.3} if is_line else {"linestyle": "none", "marker": "o", "markersize": 4}
    axes.plot(np.array(traced) / fps, areas, color=TRUE_COLOR, **shape)


def _style(figure: Figure, axes: Axes) -> None:
    figure.set_facecolor(GROUND_COLOR)
    axes.set_facecolor(GROUND_COLOR)
    axes.set_ylim(0, max(1.0, 1.12 * axes.dataLim.y1))
    axes.grid(color="#2a343d", linewidth=0.6)
    axes.spines[["left", "bottom"]].set_color("#4a5660")
    axes.tick_params(colors=TEXT_COLOR, labelcolor=TEXT_COLOR, labelsize=7, length=2, pad=2)
    axes.locator_params(axis="y", nbins=4)
    # Few enough for short labels, of which the last has room beside the plot.
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel("time (s)", fontsize=7, color=TEXT_COLOR, labelpad=1)


def _write_legend(picture: UInt8[np.ndarray, "h w 3"], has_true: bool, unit: str) -> None:
    y = 5
    drawing.paste_text(picture, f"LV area ({unit})", 6, y, drawing.parse_color(TEXT_COLOR), 8)
    x = picture.shape[1] - 6
    entries = [("predicted", PREDICTED_COLOR), ("known", TRUE_COLOR)][: 1 + has_true]
    for text, color in reversed(entries):
        text_width = drawing.text_opacity(text, 8, bold=True).shape[1]
        x -= text_width
        drawing.paste_text(picture, text, x, y, drawing.parse_color(color), 8, bold=True)
        x -= 12
