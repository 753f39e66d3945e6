"""From an expert's tracing to a mask, and from a video's tracings to end diastole (ED) and end systole (ES).

A tracing in EchoNet's form is a table of lines X1, Y1, X2, Y2 in pixels: first the long axis, then chords across the
ventricle, usually twenty. The ends of the chords, down one side and up the other, are the contour.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from echojax.errors import UserError

MIN_CHORDS = 3
# Far outside any image, and small enough that products of two coordinates are exact.
MAX_COORDINATE_PX = 1e6


class TracedFrame(Protocol):
    """What `echojax.records.Tracing` offers: a frame index and the table of lines."""

    frame: int
    points: np.ndarray


class EdEs(NamedTuple):
    """The tracings of a video's two phases."""

    ed: TracedFrame
    es: TracedFrame


def mask_from_tracing(tracing: Float[np.ndarray, "n 4"], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """Fills the contour of a tracing, bit for bit as EchoNet-Dynamic and CSS do (`skimage.draw.polygon`).

    Args:
        tracing: rows X1, Y1, X2, Y2 in pixels. Row 0, the long axis, is not part of the contour. Coordinates are
            rounded half to even before filling. What lies outside the image is cut off.
        height, width: size of the image in pixels.

    Raises:
        UserError: fewer than 3 chords, another number of columns, or coordinates that are not finite or absurdly large.
    """
    tracing = np.asarray(tracing)
    if tracing.ndim != 2 or tracing.shape[1] != 4:
        raise UserError(f"a tracing has shape {tracing.shape}; expected rows of the four columns X1, Y1, X2, Y2")
    chords = tracing[1:]
    if len(chords) < MIN_CHORDS:
        raise UserError(
            f"a tracing has {len(tracing)} rows; expected the long axis and at least {MIN_CHORDS} chords "
            "(EchoNet-Dynamic: 21 rows). Leave this tracing out or trace the frame again"
        )
    if not (np.abs(chords) <= MAX_COORDINATE_PX).all():
        raise UserError(
            f"a tracing has coordinates that are not finite or beyond {MAX_COORDINATE_PX:.0e} pixels; "
            "remove its rows or trace the frame again"
        )
    x = np.concatenate([chords[:, 0], chords[::-1, 2]])
    y = np.concatenate([chords[:, 1], chords[::-1, 3]])
    return fill_polygon(np.rint(x).astype(np.int64), np.rint(y).astype(np.int64), height, width)


def fill_polygon(x: Int[np.ndarray, "n"], y: Int[np.ndarray, "n"], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """Pixels inside or on a polygon with integer vertices, in exact arithmetic.

    O'Rourke's rule: a pixel belongs to the polygon if it is a vertex, or if the ray to its right crosses an odd number
    of edges, or the ray to its left does. The two rays count an edge's lower or its upper end, not both, so a pixel on
    an edge is odd for at least one of them, unless an even number of edges coincide there.
    """
    x_next, y_next = np.roll(x, 1), np.roll(y, 1)
    rows = np.arange(height)[:, None]
    right_ray = (y > rows) != (y_next > rows)
    left_ray = (y < rows) != (y_next < rows)
    # The edge meets the row at x = numerator / dy. With dy > 0, floor division gives exact floors and ceilings.
    sign = np.where(y_next < y, -1, 1)
    dy = np.maximum(np.abs(y_next - y), 1)
    numerator = x * dy + sign * (rows - y) * (x_next - x)
    ceiling = -(-numerator // dy)
    floor = numerator // dy
    # Column j of the counts: crossings that lie to the right of all pixels before j, or to the left of all from j on.
    right_ends = _count_columns(ceiling, right_ray, width)
    left_ends = _count_columns(floor + 1, left_ray, width)
    crossings_right = np.cumsum(right_ends[:, :0:-1], axis=1)[:, ::-1]
    crossings_left = np.cumsum(left_ends[:, :-1], axis=1)
    mask = ((crossings_right | crossings_left) & 1).astype(bool)
    in_image = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    mask[y[in_image], x[in_image]] = True
    return mask


def _count_columns(
    columns: Int[np.ndarray, "h n"], where: Bool[np.ndarray, "h n"], width: int
) -> Int[np.ndarray, "h width+1"]:
    """How often each column, clipped to 0 .. width, occurs in each row."""
    height = len(columns)
    flat = np.clip(columns, 0, width) + np.arange(height)[:, None] * (width + 1)
    return np.bincount(flat[where], minlength=height * (width + 1)).reshape(height, width + 1)


def area_px(mask: Bool[np.ndarray, "*b h w"]) -> Int[np.ndarray, "*b"]:
    """Number of pixels in each mask."""
    return np.count_nonzero(np.asarray(mask), axis=(-2, -1))


def ed_es_tracings(tracings: Sequence[TracedFrame], height: int, width: int, order: str = "area") -> EdEs | None:
    """Tells end diastole from end systole among a video's tracings.

    Of several tracings of one frame the first counts. Of more than two traced frames the extremes count.

    Args:
        tracings: in the order of the file.
        height, width: frame size in pixels.
        order: "area": ED has the largest traced area in pixels, ES the smallest; equal areas fall back to row order.
            "rows": the original's reading, ES is the frame that comes first in the file and ED the last.

    Returns:
        The two tracings, or None where fewer than two distinct frames are traced.
    """
    if order not in ("area", "rows"):
        raise UserError(f"order of ED and ES is {order!r}; expected 'area' or 'rows'")
    first_of_frame = {}
    for tracing in tracings:
        first_of_frame.setdefault(tracing.frame, tracing)
    distinct = list(first_of_frame.values())
    if len(distinct) < 2:
        return None
    if order == "area":
        areas = [int(area_px(mask_from_tracing(tracing.points, height, width))) for tracing in distinct]
        # The sort is stable: equal areas keep the order of the file.
        distinct = [distinct[i] for i in np.argsort(areas, kind="stable")]
    return EdEs(ed=distinct[-1], es=distinct[0])
