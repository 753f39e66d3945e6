"""The fan of an ultrasound sector, fitted to where a picture moves.

A phased array or curved probe paints the part of a ring between two beams:

    |angle - tilt| <= half_angle,    near <= radius <= far,

angle and radius seen from the apex, angle 0 straight down. The machine, or whoever cropped the picture, may have cut it
by vertical lines on the left and right and a horizontal one below.
"""

import dataclasses
import math

import numpy as np
import scipy.ndimage
import scipy.optimize
from jaxtyping import Bool, Float

# What a still pixel inside the fan costs, against one for a moving pixel outside: cavities and the far field are often
# black, while little moves outside.
_STILL_INSIDE = 0.3
_MIN_HALF_ANGLE, _MAX_HALF_ANGLE, _MAX_TILT = np.radians([12.0, 65.0, 20.0])
# Half angle in degrees and the virtual apex's distance above the picture's, in heights: phased arrays, a curved probe.
_STARTS = ((45.0, 0.0), (34.0, 0.0), (22.0, 0.0), (30.0, 0.4))
_POWELL = {"maxiter": 4, "xtol": 1e-2, "ftol": 1e-3}


@dataclasses.dataclass(frozen=True)
class Fan:
    """A fan in a picture; lengths in pixels, angles in radians.

    Attributes:
      apex_x, apex_y: where all beams meet, possibly above the picture.
      tilt: angle of the middle beam.
      half_angle: between the middle beam and either side.
      near, far: radii at which the picture begins and ends.
      left, right, bottom: lines beyond which nothing is shown.
    """

    apex_x: float
    apex_y: float
    tilt: float
    half_angle: float
    near: float
    far: float
    left: float
    right: float
    bottom: float

    def depth_inside(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """How far points lie inside, in pixels; negative outside."""
        return np.minimum(self._depth_uncut(y, x), self._depth_of_cut(y, x))

    def mask(self, height: int, width: int) -> Bool[np.ndarray, "h w"]:
        """Pixels whose centre lies inside."""
        return self.depth_inside(*_grid(height, width)) >= 0

    def shown_share(self, height: int, width: int) -> float:
        """How much of the whole fan's area is neither cut nor outside a picture of this size; 0 to 1."""
        margin = round(0.5 * max(height, width))
        y, x = _grid(height + 2 * margin, width + 2 * margin)
        y, x = y - margin, x - margin
        whole = self._depth_uncut(y, x) >= 0
        is_shown = whole & (self._depth_of_cut(y, x) >= 0) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        return float(is_shown.sum() / max(1, whole.sum()))

    def scaled(self, factor: float) -> "Fan":
        """The same fan in a picture with `factor` times as many pixels a side."""
        lengths = {name: getattr(self, name) * factor for name in ("near", "far")}
        # Pixel centres lie half a pixel inside their edges.
        places = ("apex_x", "apex_y", "left", "right", "bottom")
        return dataclasses.replace(
            self, **lengths, **{name: (getattr(self, name) + 0.5) * factor - 0.5 for name in places}
        )

    def _depth_uncut(self, y, x):
        dx, dy = x - self.apex_x, y - self.apex_y
        radius, angle = np.hypot(dx, dy), np.arctan2(dx, dy)
        across = (self.half_angle - np.abs(angle - self.tilt)) * radius
        return np.minimum(np.minimum(self.far - radius, radius - self.near), across)

    def _depth_of_cut(self, y, x):
        return np.minimum(np.minimum(x - self.left, self.right - x), self.bottom - y)


def fit_fan(moving: Float[np.ndarray, "h w"]) -> Fan | None:
    """The fan that explains best where a picture moves.

    Args:
      moving: share of each pixel that moves, 0 to 1. About a hundred pixels a side are enough: edges are found to a
        fraction of a pixel.

    Returns:
      the fan that minimises the area that moves outside plus `_STILL_INSIDE` times the area that is still inside; None
      where nothing of any size moves.
    """
    piece = largest_piece(moving > 0.5)
    if piece is None:
        return None
    # Every start on a grid of half as many pixels a side, the best of them on the whole one.
    halved = _halve(moving)
    fits = [_improve(start.scaled(0.5), halved) for start in _starts(piece)]
    best, _ = min(fits, key=lambda fit: fit[1])
    return _improve(best.scaled(2), moving)[0]


def _improve(start: Fan, moving: Float[np.ndarray, "h w"]) -> tuple[Fan, float]:
    """The best fan near `start`, and its misfit.

    Powell's method goes along one coordinate after the other. Apex and angles would hinder each other; where the sides
    cross two rows does not.
    """
    y, x = _grid(*moving.shape)
    rows = float(start.apex_y + start.near), float(start.apex_y + start.far)

    def cost(edges):
        fan = _fan_between(edges, rows)
        inside = np.clip(fan.depth_inside(y, x) + 0.5, 0, 1)
        misfit = np.sum((1 - inside) * moving + _STILL_INSIDE * inside * (1 - moving))
        return float(misfit + _implausibility(fan))

    fit = scipy.optimize.minimize(cost, _edges_of(start, rows), method="Powell", options=_POWELL)
    return _fan_between(fit.x, rows), fit.fun


def _edges_of(fan: Fan, rows: tuple[float, float]) -> np.ndarray:
    """Where the left and the right side cross two rows, where the middle beam begins and ends, and the cuts."""
    down = np.array(rows) - fan.apex_y
    left, right = (fan.apex_x + np.tan(fan.tilt + side * fan.half_angle) * down for side in (-1, 1))
    return np.array([*left, *right, fan.apex_y + fan.near, fan.apex_y + fan.far, fan.left, fan.right, fan.bottom])


def _fan_between(edges: np.ndarray, rows: tuple[float, float]) -> Fan:
    """The inverse of `_edges_of`."""
    upper_left, lower_left, upper_right, lower_right, begin, end, left, right, bottom = map(float, edges)
    height = rows[1] - rows[0]
    left_slope, right_slope = (lower_left - upper_left) / height, (lower_right - upper_right) / height
    # Sides that do not meet above would have no apex.
    apex_y = rows[0] - (upper_right - upper_left) / max(0.05, right_slope - left_slope)
    left_angle, right_angle = math.atan(left_slope), math.atan(right_slope)
    return Fan(
        apex_x=upper_left + left_slope * (apex_y - rows[0]),
        apex_y=apex_y,
        tilt=(left_angle + right_angle) / 2,
        half_angle=(right_angle - left_angle) / 2,
        near=begin - apex_y,
        far=end - apex_y,
        left=left,
        right=right,
        bottom=bottom,
    )


def _halve(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h2 w2"]:
    height, width = values.shape
    padded = np.pad(values, [(0, height % 2), (0, width % 2)])
    return padded.reshape((height + 1) // 2, 2, (width + 1) // 2, 2).mean((1, 3))


def largest_piece(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"] | None:
    """The largest connected piece without thin lines and single pixels; None if nothing is left."""
    solid = scipy.ndimage.binary_opening(mask, np.ones((3, 3)))
    pieces, count = scipy.ndimage.label(scipy.ndimage.binary_closing(solid, iterations=2) | solid)
    if count == 0:
        return None
    return pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])


def _starts(piece):
    rows, columns = np.flatnonzero(piece.any(1)), np.flatnonzero(piece.any(0))
    height = rows[-1] - rows[0] + 1.0
    middle = np.flatnonzero(piece[rows[0] : rows[0] + 3].any(0)).mean()
    for half_angle_deg, above in _STARTS:
        yield Fan(
            apex_x=middle,
            apex_y=rows[0] - above * height,
            tilt=0.0,
            half_angle=np.radians(half_angle_deg),
            near=above * height,
            far=(1 + above) * height,
            left=columns[0] - 0.5,
            right=columns[-1] + 0.5,
            bottom=rows[-1] + 0.5,
        )


def _implausibility(fan: Fan) -> float:
    """Grows where a fan leaves what probes can do, and a little with its depth, of which a cut one shows no end; in
    pixels of misfit."""
    angles = max(0.0, _MIN_HALF_ANGLE - fan.half_angle) + max(0.0, fan.half_angle - _MAX_HALF_ANGLE)
    tilt = max(0.0, abs(fan.tilt) - _MAX_TILT)
    return 1e4 * (angles + tilt) + 10 * max(0.0, -fan.near) + 0.05 * fan.far


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return y, x
