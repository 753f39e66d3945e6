"""The ventricle's area over time with ED and ES of every beat, as a still figure."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from echojax import lv
from echojax.errors import UserError
from echojax.report import style

SIZE_INCHES = (8.6, 3.6)
# Above and below the curve, as a share of its range.
ROOM_SHARE = 0.3


def plot_area_curve(
    area: Float[np.ndarray, "t"],
    title: str,
    *,
    fps: float | None = None,
    lvef_percent: Float[np.ndarray, "beats"] | None = None,
    traced: dict[str, int] | None = None,
    unit: str = "px",
) -> Figure:
    """Area of every frame, its smoothed curve, ED and ES of every beat found in it, and traced frames.

    Args:
        area: one value per frame.
        fps: frames per second; without it the axis counts frames.
        lvef_percent: LVEF of each beat that `lv.find_beats` finds, written between its ED and ES.
        traced: {"ED": frame, "ES": frame} of human tracings.
        unit: of the area, e.g. "px" or "cm²".
    """
    area = np.asarray(area, np.float64)
    if area.ndim != 1 or len(area) == 0:
        raise UserError(f"areas have shape {area.shape}; expected one per frame, (t,)")
    beats = lv.find_beats(area, fps)
    if lvef_percent is not None and len(lvef_percent) != len(beats):
        raise UserError(f"LVEF of {len(lvef_percent)} beats for an area with {len(beats)}; expected one of each")
    smooth = lv.smooth_curve(area, fps)
    time = np.arange(len(area)) / (fps or 1)
    with style.applied():
        figure, axes = style.new_axes(title, SIZE_INCHES)
        axes.plot(time, smooth, color=style.INK, linewidth=1.5)
        _draw_frames(axes, time, area, smooth)
        _draw_beats(axes, time, smooth, beats)
        if lvef_percent is not None:
            _write_lvef(axes, time, beats, lvef_percent)
        _draw_traced(axes, time, traced or {})
        if not beats:
            axes.text(0.5, 0.5, "no beat found", transform=axes.transAxes, ha="center", color=style.MUTED)
        axes.set(xlabel="Frame" if fps is None else "Time (s)", ylabel=f"LV area ({unit})")
        axes.set_title(title, pad=20 if traced else 12)
        axes.margins(x=0.02)
    return figure


def _draw_frames(axes: Axes, time: np.ndarray, area: np.ndarray, smooth: np.ndarray) -> None:
    """Every frame as a dot; those far off the curve, which would flatten it, as crosses at the bottom."""
    shown = smooth[np.isfinite(smooth)]
    low, high = (shown.min(), shown.max()) if len(shown) else (0.0, 1.0)
    room = ROOM_SHARE * max(high - low, 0.02 * abs(high), 1e-9)
    axes.set_ylim(low - room, high + room)
    is_far = ~((area >= low - room) & (area <= high + room))
    axes.plot(time[~is_far], area[~is_far], ".", color=style.MUTED, markersize=3, alpha=0.6)
    if is_far.any():
        place = axes.get_xaxis_transform()
        axes.plot(time[is_far], np.full(is_far.sum(), 0.03), "x", color=style.VERMILLION, markersize=5, transform=place)
        text = f"× lost or stray: {is_far.sum()} of {len(area)} frames"
        style.write_label(axes, text, 0.99, 0.97, style.VERMILLION, transform=axes.transAxes, ha="right", va="top")


def _draw_traced(axes: Axes, time: np.ndarray, traced: dict[str, int]) -> None:
    for phase, frame in traced.items():
        axes.axvline(time[frame], color=style.PURPLE, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
        label = {"ha": "center", "color": style.PURPLE, "fontsize": 9, "transform": axes.get_xaxis_transform()}
        axes.text(time[frame], 1.01, f"traced {phase}", **label)


def _draw_beats(axes: Axes, time: np.ndarray, smooth: np.ndarray, beats: list[lv.Beat]) -> None:
    for phase, color, offset in (("ed", style.BLUE, 8), ("es", style.VERMILLION, -8)):
        frames = [getattr(beat, phase) for beat in beats]
        for frame, beat in zip(frames, beats, strict=True):
            # What the clip's border cuts off is hollow.
            face = style.PAPER if beat.is_cut else color
            axes.plot(time[frame], smooth[frame], "o", markerfacecolor=face, markeredgecolor=color, markersize=6.5)
            axes.annotate(
                phase.upper(),
                (time[frame], smooth[frame]),
                (0, offset),
                textcoords="offset points",
                ha="center",
                va="bottom" if offset > 0 else "top",
                color=color,
                fontsize=9,
            )


def _write_lvef(axes: Axes, time: np.ndarray, beats: list[lv.Beat], lvef_percent: np.ndarray) -> None:
    for beat, value in zip(beats, lvef_percent, strict=True):
        middle = (time[beat.ed] + time[beat.es]) / 2
        text = f"LVEF {value:.0f} %" if np.isfinite(value) else "LVEF –"
        axes.text(middle, 0.08, text, transform=axes.get_xaxis_transform(), ha="center", fontsize=9, color=style.MUTED)
