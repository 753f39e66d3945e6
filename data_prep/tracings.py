"""Rows of `VolumeTracings.csv` to tracings: which rows belong together, and which are usable.

A tracing in EchoNet-Dynamic is 21 rows of X1, Y1, X2, Y2: the long axis, then 20 chords from wall to wall. A frame that
several experts traced has the rows of all of them under one frame number.
"""

import math

import numpy as np

from data_prep.problems import KEPT, PARTLY_KEPT, Problem
from echojax.records import Tracing

STANDARD_ROWS = 21
# Long axis and two chords: the smallest polygon.
_MIN_ROWS = 3
# A row is a long axis if its direction is more than 60 degrees from that of the chords.
_AXIS_COSINE = 0.5


def group(names, frames, points, problems: list[Problem]) -> dict[str, tuple[Tracing, ...]]:
    """Groups rows by video and frame, each in order of first appearance.

    Args:
      names: str `(n,)`, stems.
      frames: float64 `(n,)`; NaN where the table has no number.
      points: float64 `(n, 4)`; NaN likewise.
      problems: gets what is unusual or unusable.

    Returns:
      usable tracings per video. The order of frames in the table is kept: the original takes the first for ES.
    """
    groups: dict[tuple[str, float | None], list[int]] = {}
    for row, (name, frame) in enumerate(zip(names, frames.tolist(), strict=True)):
        # NaN does not equal itself and would be a key of its own for every row.
        groups.setdefault((name, frame if math.isfinite(frame) else None), []).append(row)
    traced: dict[str, list[Tracing]] = {}
    for (name, frame), rows in groups.items():
        found = traced.setdefault(name, [])
        if frame is None or not frame.is_integer() or not np.isfinite(points[rows]).all():
            where = "without a frame number" if frame is None else f"of frame {frame:g}"
            text = f"{len(rows)} rows {where} hold something else than finite numbers"
            problems.append(Problem(name, "tracing_not_numeric", text, PARTLY_KEPT, "stored without this tracing"))
            continue
        found.extend(_split(name, int(frame), points[rows], problems))
    for name, found in traced.items():
        _note_frames(name, found, problems)
    return {name: tuple(found) for name, found in traced.items()}


def find_long_axes(points: np.ndarray) -> np.ndarray:
    """Finds the rows that are long axes: those across the direction that most rows share.

    Args:
      points: float64 `(n, 4)`, rows of one or more tracings of one frame.

    Returns:
      int64 indices of rows.
    """
    vectors = points[:, 2:] - points[:, :2]
    lengths = np.hypot(*vectors.T)
    unit = vectors / np.maximum(lengths, 1e-9)[:, None]
    chord = np.linalg.eigh(unit.T @ unit)[1][:, -1]
    # Chords near the apex are short, and their direction is noise.
    return np.flatnonzero((np.abs(unit @ chord) < _AXIS_COSINE) & (lengths >= np.median(lengths)))


def keep_inside(name: str, tracings, num_frames: int, height: int, width: int, problems: list[Problem]):
    """Drops tracings of frames that the video does not have; notes those that leave the image."""
    kept = []
    for tracing in tracings:
        if not 0 <= tracing.frame < num_frames:
            text = f"frame {tracing.frame} is traced, but the video has frames 0 to {num_frames - 1}"
            problems.append(Problem(name, "tracing_beyond_end", text, PARTLY_KEPT, "stored without this tracing"))
            continue
        kept.append(tracing)
        x, y = tracing.points[:, 0::2], tracing.points[:, 1::2]
        if min(x.min(), y.min()) < -0.5 or x.max() > width or y.max() > height:
            text = f"the tracing of frame {tracing.frame} leaves the image of {width}x{height} pixels"
            problems.append(Problem(name, "tracing_outside_image", text, KEPT, "stored as it is; look at it"))
    return tuple(kept)


def _split(name: str, frame: int, points: np.ndarray, problems: list[Problem]) -> list[Tracing]:
    parts = np.split(points, _boundaries(points))
    usable = [Tracing(frame, part) for part in parts if len(part) >= _MIN_ROWS]
    if len(usable) < len(parts):
        text = f"frame {frame} has {len(points)} rows, a tracing needs at least {_MIN_ROWS}"
        problems.append(Problem(name, "tracing_too_short", text, PARTLY_KEPT, "stored without this tracing"))
    if len(usable) > 1:
        text = f"frame {frame} has {len(points)} rows: {len(usable)} tracings"
        problems.append(Problem(name, "tracing_repeated", text, KEPT, "all are stored, in file order"))
    for tracing in usable:
        if len(tracing.points) < STANDARD_ROWS:
            text = f"a tracing of frame {frame} has {len(tracing.points)} rows, expected {STANDARD_ROWS}"
            problems.append(Problem(name, "tracing_short", text, KEPT, "stored; its mask may be incomplete"))
    return usable


def _boundaries(points: np.ndarray) -> np.ndarray:
    """Rows, other than the first, at which a new tracing begins."""
    if len(points) <= STANDARD_ROWS:
        return np.array([], int)
    axes = find_long_axes(points)
    if len(axes) and axes[0] == 0 and np.diff([*axes, len(points)]).min() >= _MIN_ROWS:
        return axes[1:]
    if len(points) % STANDARD_ROWS == 0:
        return np.arange(STANDARD_ROWS, len(points), STANDARD_ROWS)
    return np.array([], int)


def _note_frames(name: str, found: list[Tracing], problems: list[Problem]) -> None:
    count = len({tracing.frame for tracing in found})
    if count == 1:
        text = "one frame is traced, expected two (ED and ES)"
        problems.append(
            Problem(name, "tracing_single_frame", text, KEPT, "stored; counts as a video without ED and ES")
        )
    elif count > 2:
        text = f"{count} frames are traced, expected two (ED and ES)"
        problems.append(Problem(name, "tracing_many_frames", text, KEPT, "all are stored; largest is ED, smallest ES"))
