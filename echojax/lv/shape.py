"""The long axis of a mask and its discs: what volumes are computed from.

Everything here is sums over pixels, written for any array library: NumPy arrays are cleaned first and computed in
float64; JAX arrays, traced ones too, are taken as they are and can be differentiated.

A pixel is a rectangle: a line that crosses it leaves part of it on either side, so that areas between lines come out in
fractions of a pixel, and a soft mask counts each pixel by its share.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from echojax.errors import UserError
from echojax.lv.cleaning import clean_masks

Masks = Bool[np.ndarray, "*b h w"] | Float[np.ndarray, "*b h w"]
Values = Float[np.ndarray, "*b"]

NUM_DISCS = 20
# The axis runs through the middles of both ends of the mask, each so long as a share of it.
END_SHARE = 0.15
# The length is measured in a band about the axis: half its width as a share of the mask's, and at least, in pixels.
BAND_SHARE = 0.06
MIN_BAND_PX = 1.0
# So many discs beyond either end are folded back onto the ventricle; the outermost of them take all that is left.
NUM_FOLDED = 4
# Halves that differ by less than this share of the area count as equal.
SAME_HALVES = 2e-3
BLOCK_FRAMES = 4


class LongAxis(NamedTuple):
    """From the apex to the middle of the mitral plane; nan where the mask is empty.

    The narrower end of a mask is its apex.
    """

    apex: Float[np.ndarray, "*b 2"]  # x, y in pixels; pixel centres are whole numbers
    base: Float[np.ndarray, "*b 2"]
    length: Float[np.ndarray, "*b"]  # cm with spacing, pixels without


class Pixels(NamedTuple):
    """The pixels of masks in a row, in cm with spacing and in pixels without."""

    area: Float[np.ndarray, "*b p"]  # of each pixel that belongs to the mask
    x: Float[np.ndarray, "p"]
    y: Float[np.ndarray, "p"]
    dx: float
    dy: float
    xp: Any  # the array library


class Line(NamedTuple):
    """A directed piece of a straight line: a point, the angle from the y axis towards x, and both ends along it."""

    x: Values
    y: Values
    angle: Values
    start: Values
    end: Values

    @property
    def length(self) -> Values:
        return self.end - self.start


def long_axis(masks: Masks, spacing_cm: float | Sequence[float] | None = None) -> LongAxis:
    """The long axis of each mask.

    It starts as the principal axis of the mask's area, then turns to run through the middles of both of its ends. Its
    length is that of the mask in a narrow band about it, which is fine to a fraction of a pixel and, where the mitral
    plane is tilted, ends in its middle.

    Args:
        masks: bool, or the share of each pixel in 0 .. 1.
        spacing_cm: size of a pixel in cm, one number or (vertical, horizontal).
    """
    pixels = pixels_of(masks, spacing_cm)
    line = find_line(pixels)
    xp = pixels.xp
    flip = _is_upside_down(pixels, line)
    start, end = xp.where(flip, line.end, line.start), xp.where(flip, line.start, line.end)
    is_empty = _is_empty(pixels)
    apex, base = (xp.where(is_empty[..., None], xp.nan, _point_at(pixels, line, position)) for position in (start, end))
    return LongAxis(apex, base, xp.where(is_empty, xp.nan, line.length))


def disc_diameters(
    masks: Masks, spacing_cm: float | Sequence[float] | None = None, num_discs: int = NUM_DISCS
) -> tuple[Float[np.ndarray, "*b d"], Values]:
    """Widths of each mask across equal parts of its long axis, and the axis' length; nan where a mask is empty.

    A width is the part's area over its thickness. What lies beyond an end of the axis is folded back about it: at a
    tilted mitral plane the corner on one side then fills the one that is missing on the other.

    Args:
        masks, spacing_cm: as in `long_axis`.
        num_discs: number of parts.

    Raises:
        UserError: fewer than one disc, or masks and spacing that are none.
    """
    if num_discs < 1:
        raise UserError(f"{num_discs} discs; expected at least one, 20 by the guidelines")
    masks = _as_array(masks)
    if not isinstance(masks, np.ndarray) or masks.ndim < 3:
        return _disc_diameters(pixels_of(masks, spacing_cm), num_discs)
    # A few frames at a time: their tables stay in the processor's cache.
    frames = masks.reshape(-1, *masks.shape[-2:])
    blocks = [frames[start : start + BLOCK_FRAMES] for start in range(0, len(frames), BLOCK_FRAMES)]
    parts = [_disc_diameters(pixels_of(block, spacing_cm), num_discs) for block in blocks]
    diameters = np.concatenate([np.zeros((0, num_discs)), *(part[0] for part in parts)])
    length = np.concatenate([np.zeros(0), *(part[1] for part in parts)])
    return diameters.reshape(*masks.shape[:-2], num_discs), length.reshape(masks.shape[:-2])


def disc_chords(masks: Masks, num_discs: int = NUM_DISCS) -> Float[np.ndarray, "*b d 2 2"]:
    """Both ends (x, y) of each disc's middle line in pixels, from the apex to the base, to be drawn; nan where empty.

    Args:
        masks: bool or soft NumPy arrays.
        num_discs: number of discs.
    """
    pixels = pixels_of(masks, None)
    line = find_line(pixels)
    along, across = _along_and_across(pixels, line)
    share = (np.arange(num_discs) + 0.5) / num_discs
    middle = line.start[..., None] + share * line.length[..., None]
    # A chord is as wide as the mask in a slice of one pixel's thickness.
    sides = _pixel_sides(pixels, line.angle)
    weight = _share_before(sides, along, middle + 0.5) - _share_before(sides, along, middle - 0.5)
    weight = weight * pixels.area[..., None, :]
    width = np.sum(weight, axis=-1)
    offset = np.sum(weight * across[..., None, :], axis=-1) / np.maximum(width, 1e-9)
    ends = np.stack([offset - width / 2, offset + width / 2], axis=-1)
    sin, cos = np.sin(line.angle)[..., None, None], np.cos(line.angle)[..., None, None]
    x = line.x[..., None, None] + middle[..., None] * sin + ends * cos
    y = line.y[..., None, None] + middle[..., None] * cos - ends * sin
    chords = np.stack([x, y], axis=-1)
    starts_at_base = _is_upside_down(pixels, line)[..., None, None, None]
    chords = np.where(starts_at_base, np.flip(chords, axis=-3), chords)
    return np.where(_is_empty(pixels)[..., None, None, None], np.nan, chords)


def _disc_diameters(pixels: Pixels, num_discs: int) -> tuple[Float[np.ndarray, "*b d"], Values]:
    xp = pixels.xp
    line = find_line(pixels)
    thickness = (line.length / num_discs)[..., None]
    along, _ = _along_and_across(pixels, line)
    num_folded = min(NUM_FOLDED, num_discs)
    steps = xp.arange(-num_folded + 1, num_discs + num_folded, dtype=along.dtype)
    below = _area_before(pixels, _pixel_sides(pixels, line.angle), along, line.start[..., None] + steps * thickness)
    total = xp.sum(pixels.area, axis=-1)[..., None]
    cumulative = xp.concat([xp.zeros_like(total), below, total], axis=-1)
    areas = cumulative[..., 1:] - cumulative[..., :-1]
    first, last = num_folded, num_folded + num_discs
    folded_start, folded_end = (xp.flip(part, axis=-1) for part in (areas[..., :first], areas[..., last:]))
    rest = xp.zeros_like(areas[..., first : last - num_folded])
    inside = areas[..., first:last]
    inside = inside + xp.concat([folded_start, rest], axis=-1) + xp.concat([rest, folded_end], axis=-1)
    is_empty = _is_empty(pixels)
    length = xp.where(is_empty, xp.nan, line.length)
    return xp.where(is_empty[..., None], xp.nan, inside / thickness), length


def pixels_of(masks: Masks, spacing_cm: float | Sequence[float] | None) -> Pixels:
    """Masks as pixels with places and areas; NumPy masks are cleaned and cut to where there is any of them.

    Raises:
        UserError: fewer than two axes, values outside 0 .. 1 (NumPy), or a spacing that is not above 0.
    """
    dy, dx = parse_spacing(spacing_cm)
    masks = _as_array(masks)
    if masks.ndim < 2:
        raise UserError(f"masks have shape {masks.shape}; expected (..., height, width)")
    top = left = 0
    if isinstance(masks, np.ndarray):
        masks = clean_masks(masks).astype(np.float64)
        rows, columns = _occupied(masks)
        masks, top, left = masks[..., rows, columns], rows.start, columns.start
    xp = masks.__array_namespace__()
    if not xp.isdtype(masks.dtype, "real floating"):
        masks = xp.astype(masks, xp.float32)
    height, width = masks.shape[-2:]
    y, x = xp.meshgrid(xp.arange(height, dtype=masks.dtype), xp.arange(width, dtype=masks.dtype), indexing="ij")
    area = xp.reshape(masks, (*masks.shape[:-2], height * width)) * (dx * dy)
    return Pixels(area, xp.reshape((x + left) * dx, (-1,)), xp.reshape((y + top) * dy, (-1,)), dx, dy, xp)


def _as_array(masks: Any) -> Any:
    """Arrays of any library as they are, lists and the like as NumPy's."""
    return masks if hasattr(masks, "__array_namespace__") else np.asarray(masks)


def _occupied(masks: Masks) -> tuple[slice, slice]:
    """Rows and columns outside which all masks are empty."""
    any_mask = masks.any(axis=tuple(range(masks.ndim - 2)))
    found = (np.flatnonzero(any_mask.any(axis=axis)) for axis in (1, 0))
    rows, columns = (slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 1) for places in found)
    return rows, columns


def parse_spacing(spacing_cm: float | Sequence[float] | None) -> tuple[float, float]:
    """Vertical and horizontal size of a pixel: in cm, or 1 where it is not known."""
    if spacing_cm is None:
        return 1.0, 1.0
    both = np.broadcast_to(np.asarray(spacing_cm, np.float64), (2,)) if np.size(spacing_cm) in (1, 2) else np.zeros(2)
    if not (np.isfinite(both).all() and (both > 0).all()):
        raise UserError(
            f"spacing_cm is {spacing_cm!r}; expected the size of a pixel in cm, one number above 0 or the pair "
            "(vertical, horizontal), or None where it is not known"
        )
    return float(both[0]), float(both[1])


def find_line(pixels: Pixels) -> Line:
    """The long axis: principal axis, then through the middles of both ends."""
    line = _measured(pixels, *_principal_axis(pixels))
    along, _ = _along_and_across(pixels, line)
    xp = pixels.xp
    edges = xp.stack([line.start + END_SHARE * line.length, line.end - END_SHARE * line.length], axis=-1)
    share = _share_before(_pixel_sides(pixels, line.angle), along, edges)
    x0, y0 = _centre(pixels, pixels.area * share[..., 0, :])
    x1, y1 = _centre(pixels, pixels.area * (1 - share[..., 1, :]))
    # A single pixel has no direction.
    is_point = xp.abs(x1 - x0) + xp.abs(y1 - y0) == 0
    angle = xp.atan2(x1 - x0, xp.where(is_point, xp.ones_like(y0), y1 - y0))
    return _measured(pixels, (x0 + x1) / 2, (y0 + y1) / 2, angle)


def _principal_axis(pixels: Pixels) -> tuple[Values, Values, Values]:
    """Centre of the area, and the direction in which it reaches farthest, downwards."""
    xp = pixels.xp
    x0, y0 = _centre(pixels, pixels.area)
    total = _safe_sum(xp, pixels.area)
    x, y = pixels.x - x0[..., None], pixels.y - y0[..., None]
    xx, yy, xy = (xp.sum(pixels.area * product, axis=-1) / total for product in (x * x, y * y, x * y))
    return x0, y0, xp.atan2(2 * xy, yy - xx) / 2


def _measured(pixels: Pixels, x: Values, y: Values, angle: Values) -> Line:
    """Gives an axis its ends: length and middle of the mask in a band about it."""
    xp = pixels.xp
    along, across = _along_and_across(pixels, Line(x, y, angle, x, x))
    sides = _pixel_sides(pixels, angle + np.pi / 2)
    total = xp.sum(pixels.area, axis=-1)
    least = half_band = MIN_BAND_PX * (sides[0] + sides[1]) / 2
    for _ in range(2):
        # The length sets the mean width, which sets the band.
        share = _share_before(sides, across, xp.stack([-half_band, half_band], axis=-1))
        in_band = pixels.area * (share[..., 1, :] - share[..., 0, :])
        area = _safe_sum(xp, in_band)
        length = area / (2 * half_band)
        middle = xp.sum(in_band * along, axis=-1) / area
        half_band = xp.maximum(least, BAND_SHARE * total / length)
    return Line(x, y, angle, middle - length / 2, middle + length / 2)


def _is_upside_down(pixels: Pixels, line: Line) -> Bool[np.ndarray, "*b"]:
    """Whether the apex is at the end of the line: the half there has less area."""
    along, _ = _along_and_across(pixels, line)
    middle = ((line.start + line.end) / 2)[..., None]
    first = _area_before(pixels, _pixel_sides(pixels, line.angle), along, middle)[..., 0]
    # Halves of equal area, as of an ellipse, differ by a little: the upper end is the apex then.
    return first > pixels.xp.sum(pixels.area, axis=-1) * (0.5 + SAME_HALVES)


def _along_and_across(pixels: Pixels, line: Line) -> tuple[Float[np.ndarray, "*b p"], Float[np.ndarray, "*b p"]]:
    sin, cos = pixels.xp.sin(line.angle)[..., None], pixels.xp.cos(line.angle)[..., None]
    x, y = pixels.x - line.x[..., None], pixels.y - line.y[..., None]
    return x * sin + y * cos, x * cos - y * sin


def _pixel_sides(pixels: Pixels, angle: Values) -> tuple[Values, Values]:
    """Extents of a pixel's longer and shorter side along a direction."""
    xp = pixels.xp
    horizontal, vertical = xp.abs(pixels.dx * xp.sin(angle)), xp.abs(pixels.dy * xp.cos(angle))
    longer, shorter = xp.maximum(horizontal, vertical), xp.minimum(horizontal, vertical)
    # Where a side has no extent the share below divides 0 by 0; a hundredth of a pixel changes nothing.
    return longer, xp.maximum(shorter, 0.01 * longer)


def _area_before(
    pixels: Pixels, sides: tuple[Values, Values], position: Float[np.ndarray, "*b p"], edges: Float[np.ndarray, "*b e"]
) -> Float[np.ndarray, "*b e"]:
    """Area of the mask before each of several lines across a direction."""
    return pixels.xp.sum(_share_before(sides, position, edges) * pixels.area[..., None, :], axis=-1)


def _share_before(
    sides: tuple[Values, Values], position: Float[np.ndarray, "*b p"], edges: Float[np.ndarray, "*b e"]
) -> Float[np.ndarray, "*b e p"]:
    """Share of each pixel's area before each of several lines across a direction.

    The pixel's extent along the direction is a trapezoid, the box of its longer side p smoothed by its shorter side q.
    With c the distance of the line from the centre, clipped to (p + q) / 2, its integral up to the line is

        1/2 + (c - sign(c) max(|c| - (p - q) / 2, 0)² / 2q) / p
    """
    xp = position.__array_namespace__()
    longer, shorter = sides[0][..., None, None], sides[1][..., None, None]
    reach = (longer + shorter) / 2
    distance = xp.clip(edges[..., :, None] - position[..., None, :], -reach, reach)
    beyond = xp.maximum(xp.abs(distance) - (longer - shorter) / 2, 0)
    return 0.5 + (distance - xp.sign(distance) * beyond**2 / (2 * shorter)) / longer


def _centre(pixels: Pixels, weight: Float[np.ndarray, "*b p"]) -> tuple[Values, Values]:
    xp = pixels.xp
    total = _safe_sum(xp, weight)
    return xp.sum(weight * pixels.x, axis=-1) / total, xp.sum(weight * pixels.y, axis=-1) / total


def _point_at(pixels: Pixels, line: Line, position: Values) -> Float[np.ndarray, "*b 2"]:
    xp = pixels.xp
    x = (line.x + position * xp.sin(line.angle)) / pixels.dx
    y = (line.y + position * xp.cos(line.angle)) / pixels.dy
    return xp.stack([x, y], axis=-1)


def _is_empty(pixels: Pixels) -> Bool[np.ndarray, "*b"]:
    return pixels.xp.sum(pixels.area, axis=-1) <= 0


def _safe_sum(xp: Any, weight: Float[np.ndarray, "*b p"]) -> Values:
    """The sum, or 1 in place of 0: what is divided by it is masked out later."""
    total = xp.sum(weight, axis=-1)
    return xp.where(total > 0, total, xp.ones_like(total))
