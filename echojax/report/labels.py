"""Names beside the points of a plot, each where it covers least: points, curves, names that are there already."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.text import Annotation

# Where a name may stand, seen from its point, from the best to the worst.
DIRECTIONS = ((1, 1), (1, 0), (-1, 0), (0, 1), (0, -1), (-1, 1), (1, -1), (-1, -1))
DISTANCES_POINTS = (6, 12)
OFFSETS_POINTS = tuple((distance * right, distance * up) for distance in DISTANCES_POINTS for right, up in DIRECTIONS)
# What a point takes to each side.
POINT_RADIUS_POINTS = 4
# What is bad about a place, in areas of the text: to lie outside of the axes, to be nearer to another point that has a
# name, and to be far from its own, per point of distance.
OUTSIDE_WEIGHT = 3
AMBIGUITY_WEIGHT = 1
DISTANCE_WEIGHT = 0.01
_HORIZONTAL = {1: "left", 0: "center", -1: "right"}
_VERTICAL = {1: "bottom", 0: "center", -1: "top"}


class Label(NamedTuple):
    """A name and the point it belongs to, in the units of the axes; `style` is for Matplotlib's text."""

    text: str
    x: float
    y: float
    style: Mapping


def write_labels(axes: Axes, labels: Sequence[Label], points: Float[np.ndarray, "n 2"]) -> list[Annotation]:
    """Writes labels beside their points, the first with the first choice of places.

    Limits, scales and ticks of the axes must be final.

    Args:
      points: what should stay uncovered beside the labelled points, in the units of the axes.
    """
    figure = axes.get_figure()
    figure.draw_without_rendering()  # only a figure that is laid out knows where its points are
    px_per_point = figure.dpi / 72
    named = np.array([(label.x, label.y) for label in labels], np.float64).reshape(-1, 2)
    centres_px = axes.transData.transform(np.concatenate([named, points]))
    radius_px = POINT_RADIUS_POINTS * px_per_point
    taken = np.concatenate([centres_px - radius_px, centres_px + radius_px], axis=1)
    frame = np.concatenate([axes.bbox.min, axes.bbox.max])
    written = []
    for i, label in enumerate(labels):
        text = axes.annotate(label.text, (label.x, label.y), (0, 0), textcoords="offset points", **label.style)
        size_px = text.get_window_extent().size
        offsets_px = np.multiply(OFFSETS_POINTS, px_per_point)
        boxes = np.array([_box(centres_px[i], offset, size_px) for offset in offsets_px])
        is_ambiguous = _gaps(boxes, centres_px[: len(labels)]).argmin(axis=1) != i
        far = AMBIGUITY_WEIGHT * is_ambiguous + DISTANCE_WEIGHT * np.abs(OFFSETS_POINTS).max(axis=1)
        best = int(np.argmin(_lost_areas(boxes, taken, frame) + far * np.prod(size_px)))
        right, up = OFFSETS_POINTS[best]
        text.set(position=(right, up), ha=_HORIZONTAL[np.sign(right)], va=_VERTICAL[np.sign(up)])
        taken = np.concatenate([taken, boxes[best : best + 1]])
        written.append(text)
    return written


def _box(centre: np.ndarray, offset: np.ndarray, size: np.ndarray) -> Float[np.ndarray, "4"]:
    """Left, bottom, right and top of a text that stands to that side of a point which `offset` says."""
    corner = centre + offset + size * (np.sign(offset) - 1) / 2
    return np.concatenate([corner, corner + size])


def _lost_areas(
    boxes: Float[np.ndarray, "n 4"], taken: Float[np.ndarray, "m 4"], frame: Float[np.ndarray, "4"]
) -> Float[np.ndarray, "n"]:
    """The areas that texts would cover of what is there, and weighted those that would lie outside of the axes."""
    outside = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - _overlaps(boxes, frame[None])[:, 0]
    return _overlaps(boxes, taken).sum(axis=1) + OUTSIDE_WEIGHT * outside


def _gaps(boxes: Float[np.ndarray, "n 4"], points: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "n m"]:
    """Distances of boxes from points; 0 where a point lies within."""
    outside = np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:])
    return np.linalg.norm(np.maximum(outside, 0), axis=-1)


def _overlaps(boxes: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    return np.prod(np.maximum(sides, 0), axis=-1)
