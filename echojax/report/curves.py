"""Training curves from `log.jsonl`: one JSON object per line with a `step` and named numbers."""

import json
import math
import os
import pathlib
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from echojax.errors import UserError
from echojax.report import style

# Numbers of a line that are no curves.
NOT_CURVES = ("step", "epoch", "time", "wall_time")
MAX_COLUMNS = 2
PANEL_INCHES = (4.6, 3.0)

Series = dict[int, float]


def load_log(path: str | os.PathLike) -> dict[str, Series]:
    """Reads {name: {step: value}} from a log.

    A step that was logged again after a resume counts once, the last time. A last line that was cut off is ignored.

    Raises:
        UserError: no such file, or a line in its midst that is not a JSON object with a step.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; expected the log that training writes")
    lines = path.read_text(encoding="utf-8").splitlines()
    series: dict[str, Series] = {}
    for number, line in enumerate(lines, start=1):
        entry = _parse_line(line)
        if entry is None:
            if number == len(lines):
                break
            raise UserError(f"{path} line {number} is not a JSON object with a whole-numbered step; mend or remove it")
        for name, value in entry.items():
            if name not in NOT_CURVES and isinstance(value, (int, float)) and not isinstance(value, bool):
                series.setdefault(name, {})[entry["step"]] = float(value)
    return series


def plot_curves(log_path: str | os.PathLike, title: str, names: tuple[str, ...] | None = None) -> Figure:
    """One panel per quantity over steps; `train/loss` and `val/loss` share the panel `loss`.

    Args:
        log_path: a `log.jsonl`.
        title: stands above all panels.
        names: quantities to show, e.g. ("loss", "dice"); all by default.
    """
    panels: dict[str, dict[str, Series]] = {}
    for name, values in load_log(log_path).items():
        group, _, quantity = name.rpartition("/")
        if names is None or quantity in names:
            panels.setdefault(quantity, {})[group] = values
    if not panels:
        raise UserError(
            f"{log_path} holds no curves{f' named {names}' if names else ''}; expected numbers beside a step"
        )
    num_columns = min(MAX_COLUMNS, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    with style.applied():
        figure = Figure(figsize=(PANEL_INCHES[0] * num_columns, PANEL_INCHES[1] * num_rows + 0.4))
        figure.suptitle(title, x=0.01, ha="left", fontsize=12.5, fontweight="bold")
        all_axes = figure.subplots(num_rows, num_columns, squeeze=False).flat
        for axes, (quantity, groups) in zip(all_axes, panels.items(), strict=False):
            _draw_panel(axes, quantity, groups)
        for axes in list(all_axes)[len(panels) :]:
            axes.remove()
    return figure


def _draw_panel(axes: Axes, quantity: str, groups: dict[str, Series]) -> None:
    axes.set_title(quantity.replace("_", " "), fontsize=11, fontweight="normal", pad=6)
    axes.set_xlabel("step")
    axes.margins(x=0.02)
    for color, (group, values) in zip(style.SERIES, groups.items(), strict=False):
        steps = sorted(values)
        marker = "o" if len(steps) < 30 else None
        axes.plot(steps, [values[step] for step in steps], color=color, linewidth=1.8, marker=marker, markersize=3.5)
        if group:
            label = {"xytext": (4, 0), "textcoords": "offset points", "color": color, "fontsize": 10, "va": "center"}
            axes.annotate(group, (steps[-1], values[steps[-1]]), annotation_clip=False, **label)


def _parse_line(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or type(entry.get("step")) is not int:
        return None
    return entry
