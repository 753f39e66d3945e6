"""Training curves from `log.jsonl`: one JSON object per line with a `step`, a `phase` and named numbers."""

import itertools
import json
import math
import os
import pathlib
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from echojax.errors import UserError
from echojax.report import style

# Entries of a line that are no curves.
NOT_CURVES = ("step", "phase", "epoch", "time")
MAX_COLUMNS = 2
PANEL_INCHES = (4.6, 3.0)
# Lines of fewer steps show them as dots.
FEW_STEPS = 30
# Least distance of two labels, as a share of the axes' height.
LABEL_GAP = 0.1

Series = dict[int, float]  # {step: value}


def load_log(path: str | os.PathLike) -> dict[str, dict[str, Series]]:
    """Reads {quantity: {phase: {step: value}}} from a log.

    A step that was logged again after a resume counts once, the last time. A last line that was cut off is ignored.

    Raises:
        UserError: no such file, or a line in its midst that is not a JSON object with a step.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; expected the log that training writes")
    lines = path.read_text(encoding="utf-8").splitlines()
    curves: dict[str, dict[str, Series]] = {}
    for number, line in enumerate(lines, start=1):
        entry = _parse_line(line)
        if entry is None:
            if number == len(lines):
                break
            raise UserError(f"{path} line {number} is not a JSON object with a whole-numbered step; mend or remove it")
        for name, value in entry.items():
            if name not in NOT_CURVES and isinstance(value, (int, float)) and not isinstance(value, bool):
                phases = curves.setdefault(name, {})
                phases.setdefault(str(entry.get("phase", "")), {})[entry["step"]] = float(value)
    return curves


def plot_curves(log_path: str | os.PathLike, title: str, names: tuple[str, ...] | None = None) -> Figure:
    """One panel per quantity over steps, in which each phase has its line.

    Args:
        log_path: a `log.jsonl`.
        title: stands above all panels.
        names: quantities to show, e.g. ("loss", "dice"); all by default.
    """
    panels = {name: phases for name, phases in load_log(log_path).items() if names is None or name in names}
    if not panels:
        raise UserError(
            f"{log_path} holds no curves{f' named {names}' if names else ''}; expected numbers beside a step"
        )
    num_columns = min(MAX_COLUMNS, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    phases = dict.fromkeys(phase for panel in panels.values() for phase in panel)
    colors = dict(zip(phases, itertools.cycle(style.SERIES), strict=False))
    with style.applied():
        figure = Figure(figsize=(PANEL_INCHES[0] * num_columns, PANEL_INCHES[1] * num_rows + 0.4))
        figure.suptitle(title, x=0.01, ha="left", fontsize=12.5, fontweight="bold")
        all_axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
        for axes, quantity in zip(all_axes, panels, strict=False):
            _draw_panel(axes, quantity, panels[quantity], colors)
        for axes in all_axes[len(panels) :]:
            axes.remove()
    return figure


def _draw_panel(axes: Axes, quantity: str, phases: dict[str, Series], colors: dict[str, str]) -> None:
    axes.set_title(quantity.replace("_", " "), fontsize=11, fontweight="normal", pad=6)
    axes.set_xlabel("step")
    axes.margins(x=0.02)
    last_values = {}
    for phase, values in phases.items():
        steps = sorted(values)
        marker = "o" if len(steps) < FEW_STEPS else None
        heights = [values[step] for step in steps]
        axes.plot(steps, heights, color=colors[phase], linewidth=1.8, marker=marker, markersize=3.5)
        if math.isfinite(heights[-1]):
            last_values[phase] = heights[-1]
    _label_lines(axes, last_values, colors)


def _label_lines(axes: Axes, last_values: dict[str, float], colors: dict[str, str]) -> None:
    """Names each line right of the axes at the height where it ends, or above the label below it."""
    bottom, top = axes.get_ylim()
    previous = -math.inf
    for phase, value in sorted(last_values.items(), key=lambda item: item[1]):
        height = max((value - bottom) / (top - bottom), previous + LABEL_GAP)
        axes.text(1.02, height, phase, transform=axes.transAxes, color=colors[phase], fontsize=10, va="center")
        previous = height


def _parse_line(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or type(entry.get("step")) is not int:
        return None
    return entry
