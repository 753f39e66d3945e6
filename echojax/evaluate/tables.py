"""Predictions per video and per clip, and Dice per video, as CSV. Unknown numbers are empty cells."""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from echojax.files import replaced_file


def write_csv(path: str | os.PathLike, columns: Mapping[str, Sequence[Any]]) -> None:
    """Writes columns of equal length under their names; the file appears whole.

    Numbers are written so that float32 values read back exactly.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of {os.fspath(path)} have lengths {lengths}; expected one length")
    with replaced_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))


def write_predictions(
    path: str | os.PathLike,
    name: Sequence[str],
    ef: Sequence[float],
    ef_predicted: Sequence[float],
    **more: Sequence[Any],
) -> None:
    """`predictions_<split>.csv`: one row per video with known (or unknown) and predicted LVEF in percent.

    `more` are further columns, e.g. `num_clips` or `ef_one_clip`.
    """
    write_csv(path, {"name": name, "ef": ef, "ef_predicted": ef_predicted, **more})


def write_clips(
    path: str | os.PathLike, name: Sequence[str], start: Sequence[int], ef_predicted: Sequence[float]
) -> None:
    """`clips_<split>.csv`: one row per clip; `start` is the frame at which it starts."""
    write_csv(path, {"name": name, "start": start, "ef_predicted": ef_predicted})


def write_dice(
    path: str | os.PathLike,
    name: Sequence[str],
    overall: Sequence[float],
    ed: Sequence[float],
    es: Sequence[float],
) -> None:
    """`dice_<split>.csv`: one row per video; `overall` pools the pixels of both frames."""
    write_csv(path, {"name": name, "overall": overall, "ed": ed, "es": es})


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{float(value):.9g}"
    return str(value)
