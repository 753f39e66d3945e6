"""Geometry of the beating left ventricle: the map from a frame back to end-diastole, and the truth that follows.

Anatomy is drawn once, at end-diastole, in heart coordinates (s, n). A frame asks of every sample where its tissue was
at end-diastole:

    along the axis    s0 = piecewise linear in s: the base descends towards the apex, the atria stretch
    inside the cavity n0 = n * w0(s0) / w(s0, t)
    in and beyond the wall   n0^2 = n^2 + w0(s0)^2 - w(s0, t)^2

with w the half width of the cavity on either side. The last line keeps the cross-sectional area of any annulus of
tissue (an incompressible wall), so that walls thicken by themselves as the cavity shrinks, and far tissue hardly moves.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_prep.phantom.cycle import Cycle, build_cycle
from data_prep.phantom.parameters import SIZE_PX, PhantomParameters, Ventricle

NUM_DISCS = 20
STEP_PX = 0.25  # resolution of the tables along the axis
AXIS_PX = np.arange(-36, 124, STEP_PX)  # the s of every table entry
SEPTAL, LATERAL = 0, 1


def cavity_half_width(ventricle: Ventricle, s) -> np.ndarray:
    """Half width of the cavity at end-diastole, septal and lateral: (2, *s.shape) pixels.

    Zero at and above the apex. Below the mitral plane it goes on, shrinking to zero: not a cavity any more, but the
    tube that carries the motion of the base on into the atria.
    """
    u = np.asarray(s) / ventricle.length_px
    rise = np.clip((ventricle.widest - u) / ventricle.widest, 0, 1)
    cap = (1 - rise**ventricle.bluntness) ** (1 / ventricle.bluntness)
    fall = _smoothstep((u - ventricle.widest) / (1.08 - ventricle.widest))
    shape = np.where(u > 0, cap, 0) * (1 - (1 - ventricle.annulus) * fall) * (1 - _smoothstep((u - 1) / 0.7))
    lean = ventricle.asymmetry * shape + ventricle.bend * np.sin(np.pi * np.clip(u, 0, 1)) * shape
    bulge = ventricle.bulge * np.exp(-(((u - ventricle.bulge_at) / 0.12) ** 2)) * shape
    return ventricle.half_width_px * np.stack([shape - lean - bulge, shape + lean])


def _smoothstep(x):
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


class BeatingHeart:
    """The left ventricle over the frames of one video.

    Tables over `AXIS_PX`, one row per frame: `rest_s` (end-diastolic s of the tissue seen at s), `width` and
    `rest_width` (half widths at s now and of the same tissue at end-diastole; sides first).
    """

    def __init__(self, parameters: PhantomParameters):
        self.parameters = parameters
        self.cycle: Cycle = build_cycle(parameters)
        self.strength = self._solve_strength()
        self.rest_s = self._rest_s(self.cycle.contraction.mean(0))
        self.rest_width = np.stack([_lookup(w, self.rest_s) for w in self._rest_widths])
        self.width = self.rest_width * self._shrink(self.rest_s, self.cycle.contraction)

    @cached_property
    def _rest_widths(self):
        return cavity_half_width(self.parameters.ventricle, AXIS_PX)

    @cached_property
    def _gains(self):
        """Relative contraction of each side along the axis: (2, len(AXIS_PX))."""
        motion = self.parameters.motion
        u = AXIS_PX / self.parameters.ventricle.length_px
        along = 1 - (1 - motion.base_gain) * _smoothstep((u - 0.55) / 0.45)
        gains = np.stack([motion.septal_gain * along, motion.lateral_gain * along])
        if motion.weak_side:
            side = SEPTAL if motion.weak_side < 0 else LATERAL
            gains[side] *= 1 - motion.weakness * np.exp(-(((u - motion.weak_at) / 0.2) ** 2))
        return gains

    def _shrink(self, rest_s, contraction):
        """Half width over its end-diastolic value: (2, t, s)."""
        gains = np.stack([_lookup(g, rest_s) for g in self._gains])
        return np.maximum(1 - self.strength * gains * contraction[:, :, None], 0.12)

    def _solve_strength(self):
        """Radial contraction that gives the ejection fraction asked for when both sides are contracted (bisection)."""
        goal = 1 - self.parameters.motion.ef_percent / 100
        full = np.ones((2, 1))
        rest_s = self._rest_s(np.ones(1))
        rest_width = np.stack([_lookup(w, rest_s) for w in self._rest_widths])
        still = self._rest_widths[:, None]
        relaxed = self._discs(np.zeros(1), self._rest_s(np.zeros(1)), still, still)
        low, high = 0.0, 1.2
        for _ in range(24):
            self.strength = 0.5 * (low + high)
            width = rest_width * self._shrink(rest_s, full)
            volume = self._discs(np.ones(1), rest_s, rest_width, width)
            low, high = (self.strength, high) if volume[0] > goal * relaxed[0] else (low, self.strength)
        return self.strength

    def _ends(self, contraction):
        """s of apex and base now: (t,) each."""
        motion, length = self.parameters.motion, self.parameters.ventricle.length_px
        total = motion.shortening * length * contraction
        return motion.apex_share * total, length - (1 - motion.apex_share) * total

    def _rest_s(self, contraction):
        length, atria = self.parameters.ventricle.length_px, self.parameters.chambers.la_length_px
        apex, base = self._ends(contraction)
        first, *below = AXIS_PX[0], length + atria, AXIS_PX[-1]
        rest = [first, 0, length, *below]
        return np.stack([np.interp(AXIS_PX, [first, a, b, *below], rest) for a, b in zip(apex, base, strict=True)])

    def _chords(self, contraction, rest_s, rest_width, width):
        """Discs of each frame: s (t, 20) and the n of both chord ends (t, 20, 2)."""
        apex, base = self._ends(contraction)
        s = apex[:, None] + (np.arange(NUM_DISCS) + 0.5) / NUM_DISCS * (base - apex)[:, None]
        position = (s - AXIS_PX[0]) / STEP_PX
        column = np.clip(position.astype(int), 0, len(AXIS_PX) - 2)
        part = position - column
        row = np.arange(len(s))[:, None]
        now, before, below = (
            table[..., row, column] * (1 - part) + table[..., row, column + 1] * part
            for table in (width, rest_width, rest_s - self.parameters.ventricle.length_px)
        )
        ends = np.stack([-now[SEPTAL], now[LATERAL]], axis=-1)
        # The mitral plane is s0 = length + n0 * tan(tilt): it cuts one end of the last chords.
        slope = np.tan(np.radians(self.parameters.ventricle.base_tilt_deg))
        if abs(slope) > 1e-6:
            cut = below / slope
            side = np.where(cut < 0, SEPTAL, LATERAL)
            scale = np.take_along_axis(now / before, side[None], 0)[0]
            if slope > 0:
                ends[..., 0] = np.maximum(ends[..., 0], cut * scale)
            else:
                ends[..., 1] = np.minimum(ends[..., 1], cut * scale)
        ends[..., 1] = np.maximum(ends[..., 0], ends[..., 1])
        return s, ends

    def _discs(self, contraction, rest_s, rest_width, width):
        apex, base = self._ends(contraction)
        _, ends = self._chords(contraction, rest_s, rest_width, width)
        diameter = ends[..., 1] - ends[..., 0]
        return np.pi / 4 * (base - apex) / NUM_DISCS * (diameter**2).sum(-1)

    @cached_property
    def volume_px3(self) -> np.ndarray:
        """Volume by the method of discs, (t,): pi/4 * length/20 * sum of squared diameters."""
        return self._discs(self.cycle.contraction.mean(0), self.rest_s, self.rest_width, self.width)

    @cached_property
    def poses(self):
        """Apex position (t, 2) and axis angle (t,) in radians: swing with contraction, drift with breath."""
        motion, ventricle = self.parameters.motion, self.parameters.ventricle
        contraction = self.cycle.contraction.mean(0)
        seconds = np.arange(self.parameters.num_frames) / self.parameters.fps
        offset = self.parameters.generator(2).uniform(0, 2 * np.pi, 3)
        breath = np.sin(2 * np.pi * motion.breath_hz * seconds[:, None] + offset)
        x = ventricle.apex_x_px + motion.swing_x_px * contraction + 0.6 * motion.breath_px * breath[:, 0]
        y = ventricle.apex_y_px + motion.swing_y_px * contraction + motion.breath_px * breath[:, 1]
        angle = ventricle.axis_deg + motion.swing_deg * contraction + 0.5 * motion.breath_px * breath[:, 2]
        return np.stack([x, y], -1), np.radians(angle)

    def to_image(self, s, n) -> np.ndarray:
        """Heart coordinates now, (t, ...), to image x, y: (t, ..., 2)."""
        apex, angle = self.poses
        shape = (-1,) + (1,) * (np.ndim(s) - 1)
        sin, cos = np.sin(angle).reshape(shape), np.cos(angle).reshape(shape)
        x = apex[:, 0].reshape(shape) + s * sin + n * cos
        y = apex[:, 1].reshape(shape) + s * cos - n * sin
        return np.stack([x, y], -1)

    def to_heart(self, x, y, frames=slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Image positions of any shape to heart coordinates (s, n) of each frame, float32 (t, *x.shape)."""
        apex, angle = self.poses
        shape = (-1,) + (1,) * np.ndim(x)
        apex, angle = apex[frames].astype(np.float32), angle[frames].astype(np.float32)
        sin, cos = np.sin(angle).reshape(shape), np.cos(angle).reshape(shape)
        along = apex[:, 0].reshape(shape) * sin + apex[:, 1].reshape(shape) * cos
        across = apex[:, 0].reshape(shape) * cos - apex[:, 1].reshape(shape) * sin
        return sin * x + cos * y - along, cos * x - sin * y - across

    def long_axis(self) -> np.ndarray:
        """Apex and middle of the mitral plane in image pixels: (t, 2, 2), points of x, y."""
        s = np.stack(self._ends(self.cycle.contraction.mean(0)), -1)
        return self.to_image(s, np.zeros_like(s))

    def chords(self) -> np.ndarray:
        """The 20 discs of each frame from apex to base, (t, 20, 2, 2): septal and lateral end, x and y."""
        s, ends = self._chords(self.cycle.contraction.mean(0), self.rest_s, self.rest_width, self.width)
        return self.to_image(np.stack([s, s], -1), ends)

    def rest(self, s, n, frames=slice(None)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the tissue at heart coordinates (t, ...) was at end-diastole.

        Args:
            s, n: float32 (t, ...), for the frames of the slice.
            frames: slice of frames with a start and stop, or all.

        Returns:
            s0 and n0, float32 (t, ...), and whether the place is within the half width of the cavity, bool.
        """
        rest_s, widths = self._flat_tables(frames)
        column = ((s - np.float32(AXIS_PX[0])) * np.float32(1 / STEP_PX) + np.float32(0.5)).astype(np.int32)
        np.clip(column, 0, len(AXIS_PX) - 1, out=column)
        column += (np.arange(len(s), dtype=np.int32) * len(AXIS_PX)).reshape((-1,) + (1,) * (s.ndim - 1))
        s0 = rest_s[column]
        # Septal and lateral table lie one after the other.
        column += np.where(n < 0, np.int32(0), np.int32(len(rest_s)))
        width, rest_width = np.moveaxis(widths.take(column, axis=0), -1, 0)
        distance = np.abs(n)
        within = distance < width
        beyond = np.sqrt(np.maximum(distance * distance + rest_width * rest_width - width * width, 0))
        n0 = np.where(within, distance * (rest_width / np.maximum(width, np.float32(1e-3))), beyond)
        return s0, np.copysign(n0, n), within

    def _flat_tables(self, frames):
        rest_s = self.rest_s[frames].astype(np.float32).ravel()
        widths = np.stack([self.width[:, frames], self.rest_width[:, frames]], -1).astype(np.float32)
        return rest_s, widths.reshape(-1, 2)

    def masks(self) -> np.ndarray:
        """Left ventricular cavity as a tracer draws it, bool (t, 112, 112).

        It reaches from the apex to the mitral plane and includes papillary muscles and trabeculae.
        """
        y, x = np.mgrid[:SIZE_PX, :SIZE_PX].astype(np.float32)
        s0, n0, within = self.rest(*self.to_heart(x, y))
        slope = np.float32(np.tan(np.radians(self.parameters.ventricle.base_tilt_deg)))
        return within & (s0 < np.float32(self.parameters.ventricle.length_px) + slope * n0)


def _lookup(table, s):
    """Linear interpolation of a table over AXIS_PX."""
    return np.interp(s, AXIS_PX, table)


@dataclass(frozen=True)
class Beat:
    """End-diastole and the end-systole next to it, as frame numbers."""

    ed_frame: int
    es_frame: int


def find_beat(volume: np.ndarray, beat_frames: float) -> Beat:
    """The pair of frames with the largest fall in volume within a beat: ED is among the largest volumes of the video,
    ES the smallest within one beat after it, or before it at the video's end."""
    reach = max(2, round(beat_frames))
    best = None
    for ed in np.argsort(-volume, kind="stable")[: max(3, len(volume) // 20)]:
        after = volume[ed : ed + reach + 1]
        before_start = max(0, ed - reach)
        before = volume[before_start : ed + 1]
        es = ed + int(after.argmin()) if after.min() <= before.min() else before_start + int(before.argmin())
        if best is None or volume[ed] - volume[es] > volume[best.ed_frame] - volume[best.es_frame]:
            best = Beat(int(ed), int(es))
    return best
