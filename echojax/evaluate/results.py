"""`metrics.json`: {stage or metric group: {metric: {"value", "interval": [low, high], "n", "level", "data", ...}}}.

Undefined numbers (nan) are null. Every metric says how wide its interval is meant to be and what it was measured on, so
that a number from phantoms cannot pass for a clinical one.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from echojax.errors import UserError
from echojax.evaluate.resampling import Interval
from echojax.files import write_text

DATA_SOURCES = ("phantom", "real", "synthetic")


def metric_entry(interval: Interval, data: str, level: float = 0.95, split: str | None = None) -> dict[str, Any]:
    """One metric as it stands in `metrics.json`.

    Args:
        interval: value, ends and number of videos.
        data: "phantom", "real" or "synthetic".
        level: share meant to lie in the interval; 0.9 for `legacy90`.
        split: "TRAIN", "VAL" or "TEST", where it is one of them.
    """
    if data not in DATA_SOURCES:
        raise UserError(f"metrics come from {data!r}; expected one of {', '.join(DATA_SOURCES)}")
    entry = {
        "value": _null_if_nan(interval.value),
        "interval": [_null_if_nan(interval.low), _null_if_nan(interval.high)],
        "n": int(interval.n),
        "level": float(level),
        "data": data,
    }
    return entry if split is None else {**entry, "split": split.upper()}


def update_metrics(
    path: str | os.PathLike,
    group: str,
    metrics: Mapping[str, Interval],
    *,
    data: str,
    level: float = 0.95,
    split: str | None = None,
) -> None:
    """Writes the metrics of one group into `path`, keeping all others that are there. The file appears whole.

    Two processes that update one file at the same moment may lose one of the updates.
    """
    groups = _read_json(pathlib.Path(path))
    entries = {name: metric_entry(interval, data, level, split) for name, interval in metrics.items()}
    groups[group] = {**groups.get(group, {}), **entries}
    write_text(path, json.dumps(groups, indent=2, allow_nan=False) + "\n")


def load_metrics(path: str | os.PathLike) -> dict[str, dict[str, Interval]]:
    """Reads `metrics.json` back: {group: {metric: Interval}}; {} where there is no such file.

    Raises:
        UserError: the file is not of this form.
    """
    groups = _read_json(pathlib.Path(path))
    try:
        return {group: {name: _interval(entry) for name, entry in entries.items()} for group, entries in groups.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds an entry without value, interval and n; delete it and evaluate again") from error


def _read_json(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        groups = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); delete it and evaluate again") from error
    if not isinstance(groups, dict):
        raise UserError(
            f"{path} holds a {type(groups).__name__}; expected groups of metrics. Delete it and evaluate again"
        )
    return groups


def _interval(entry: dict[str, Any]) -> Interval:
    value, low, high = (
        math.nan if number is None else float(number) for number in (entry["value"], *entry["interval"])
    )
    return Interval(value, low, high, int(entry["n"]))


def _null_if_nan(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
