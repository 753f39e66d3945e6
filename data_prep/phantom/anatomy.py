"""The heart at end-diastole as a map of echo strength, in heart coordinates.

Chambers, walls and surroundings are painted one over the other, in dB, with edges one pixel soft. Brightness within a
tissue varies smoothly (patches), as fibre direction and contact do in life; that is also what makes walls drop out.
"""

import functools

import numpy as np

from data_prep.phantom.heart import cavity_half_width
from data_prep.phantom.parameters import PhantomParameters

STEP_PX = 0.5
S_PX = np.arange(-32, 118, STEP_PX, dtype=np.float32)
N_PX = np.arange(-92, 92, STEP_PX, dtype=np.float32)
SHAPE = (len(S_PX), len(N_PX))


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]) -> np.ndarray:
    """Smooth noise of unit variance, float32 `shape`, with `cells` bumps along each axis."""
    rows, columns = (_interpolation(size, max(1, round(count))) for size, count in zip(shape, cells, strict=True))
    return rows @ rng.standard_normal((rows.shape[1], columns.shape[1])).astype(np.float32) @ columns.T


@functools.lru_cache(maxsize=64)
def _interpolation(size, cells):
    """Matrix from `cells` + 3 random numbers to `size` values: cubic B-spline of unit variance at every place."""
    position = np.linspace(0, cells, size, dtype=np.float32)
    knot = np.arange(cells + 3, dtype=np.float32) - 1
    x = np.abs(position[:, None] - knot)
    weights = np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0))
    return weights / np.sqrt((weights**2).sum(1, keepdims=True))


class Canvas:
    """A level map in dB that shapes are painted on. `s` and `n` broadcast to `SHAPE`."""

    def __init__(self, level):
        self.level = np.broadcast_to(level, SHAPE).astype(np.float32)
        self.s, self.n = S_PX[:, None], N_PX[None, :]

    def paint(self, inside, level, softness=1.2):
        """Replaces the level where `inside` (signed distance in pixels, positive within) says so."""
        share = np.clip(0.5 + inside / softness, 0, 1)
        self.level += share * (level - self.level)

    def brighten(self, s, n, radius_s, radius_n, level):
        """A soft bright spot; never darkens."""
        falloff = ((self.s - s) / radius_s) ** 2 + ((self.n - n) / radius_n) ** 2
        self.level = np.maximum(self.level, level - 6 * falloff)

    def ellipse(self, s, n, radius_s, radius_n, power=2.0):
        """Approximate signed distance to a superellipse, positive within."""
        reach = np.abs((self.s - s) / radius_s) ** power + np.abs((self.n - n) / radius_n) ** power
        return (1 - reach ** (1 / power)) * min(radius_s, radius_n)


def paint_anatomy(parameters: PhantomParameters) -> np.ndarray:
    """Echo level of every tissue at end-diastole, dB: float32 `SHAPE` over (S_PX, N_PX)."""
    look = parameters.appearance
    rng = parameters.generator(3)
    patches = look.patchiness_db * smooth_field(rng, SHAPE, (9, 11)) + 2 * smooth_field(rng, SHAPE, (24, 30))
    canvas = Canvas(_surroundings(parameters, rng))
    _paint_atria(canvas, parameters, patches, rng)
    _paint_right_ventricle(canvas, parameters, patches, rng)
    _paint_left_ventricle(canvas, parameters, patches, rng)
    _paint_fibrous_body(canvas, parameters, rng)
    return canvas.level + look.grain_db * smooth_field(rng, SHAPE, (60, 74))


def _surroundings(parameters, rng):
    look = parameters.appearance
    left, right = look.left_background_db, look.right_background_db
    level = left + (right - left) * np.clip(0.5 + N_PX[None, :] / 40, 0, 1)
    # Brightest beside the heart, fading towards the sector's sides.
    outside_px = np.maximum(np.abs(N_PX[None, :]) - parameters.ventricle.half_width_px - 5, 0)
    level = level - look.background_fade_db * outside_px
    return level + 4.5 * smooth_field(rng, SHAPE, (4, 5)) + 2.5 * smooth_field(rng, SHAPE, (16, 20))


def _wall_half_width(parameters):
    """Outer border of the left ventricle's wall: (2, SHAPE[0]); negative above the apical wall."""
    ventricle = parameters.ventricle
    thickness = np.array([ventricle.septum_px, ventricle.lateral_wall_px])[:, None]
    cap = np.clip((S_PX + ventricle.apex_wall_px) / ventricle.apex_wall_px, 0, 1)
    stretch = ventricle.length_px / (ventricle.length_px + ventricle.apex_wall_px)
    inner = cavity_half_width(ventricle, (S_PX + ventricle.apex_wall_px) * stretch)
    return np.where(cap > 0, np.maximum(inner, cavity_half_width(ventricle, S_PX)) + thickness * np.sqrt(cap), -1.0)


def _paint_left_ventricle(canvas, parameters, patches, rng):
    ventricle, look = parameters.ventricle, parameters.appearance
    outer = _wall_half_width(parameters)
    base = ventricle.length_px + np.tan(np.radians(ventricle.base_tilt_deg)) * canvas.n
    septal = canvas.n < 0
    reach = np.where(septal, outer[0][:, None], outer[1][:, None]) - np.abs(canvas.n)
    septal_fade, lateral_fade = _fading_db(parameters)
    level = np.where(septal, look.septum_db + septal_fade, look.lateral_db + lateral_fade) + patches
    # The septum ends sharply at the right ventricle; elsewhere the wall passes into lung and chest wall.
    softness = np.where(septal & (canvas.s > 0.15 * ventricle.length_px), 1.5, look.wall_blur_px)
    canvas.paint(np.minimum(reach, 0.5 * softness * (base - canvas.s)), level, softness)
    inner = cavity_half_width(ventricle, S_PX)
    roughness = ventricle.trabeculae * np.clip(1.2 - S_PX / ventricle.length_px, 0, 1)[:, None]
    # What the eye sees as border wavers about the one that Tissue.locate lays outside of the traced border.
    waver = 0.6 * smooth_field(rng, SHAPE, (22, 26))
    border_px = 1.2 + look.border_blur_px * np.clip(0.5 + 0.5 * smooth_field(rng, SHAPE, (10, 12)), 0, 2)
    # Painted at end-diastole, and as soft as that at end-systole, when the wall has thickened.
    border_px = border_px * np.sqrt(1 - parameters.motion.ef_percent / 100)
    sides = np.where(septal, inner[0][:, None], inner[1][:, None]) - np.abs(canvas.n)
    inside = np.minimum(sides, canvas.s + look.border_offset_px) + waver
    # Trabeculae: strands within a few pixels of the border; the tracer counts them as cavity, and so does the truth.
    strands = smooth_field(rng, SHAPE, (50, 60)) > 0.9
    level = np.where(strands & (inside < 5), look.lateral_db - 6, look.blood_db)
    blood = look.blood_db + (level - look.blood_db) * np.minimum(1, 1.2 * roughness)
    canvas.paint(np.minimum(inside, base - canvas.s + 1.5), blood, border_px)
    if ventricle.papillary:
        _paint_papillary(canvas, parameters, inner, rng)


def _fading_db(parameters):
    """Change of level of septum and lateral wall along the axis: (SHAPE[0], 1) each, dB, 0 or less.

    A wall that the beam runs along returns little: the septum's apical part, and any segment of the lateral wall.
    """
    faults, u = parameters.artefacts, S_PX[:, None] / parameters.ventricle.length_px
    septal = np.clip(0.5 + (faults.septal_fade_at - u) / 0.12, 0, 1)
    lateral = np.exp(-(((u - faults.lateral_fade_at) / 0.25) ** 4))
    return -faults.septal_fade_db * septal, -faults.lateral_fade_db * lateral


def _paint_papillary(canvas, parameters, inner, rng):
    """A muscle that leans from the lateral wall into the cavity."""
    ventricle = parameters.ventricle
    s = ventricle.length_px * rng.uniform(0.3, 0.6)
    wall = np.interp(s, S_PX, inner[1])
    radius = ventricle.length_px * rng.uniform(0.08, 0.2), wall * rng.uniform(0.1, 0.25)
    level = parameters.appearance.lateral_db - 12 * (1 - ventricle.papillary)
    muscle = canvas.ellipse(s, wall * rng.uniform(0.78, 1.0), *radius) + 0.8 * smooth_field(rng, SHAPE, (30, 36))
    canvas.paint(muscle, level + 4 * smooth_field(rng, SHAPE, (24, 30)), softness=2.5)


def _paint_right_ventricle(canvas, parameters, patches, rng):
    ventricle, chambers, look = parameters.ventricle, parameters.chambers, parameters.appearance
    length = ventricle.length_px
    start, end = chambers.rv_start * length, 1.02 * length
    share = np.clip((S_PX - start) / (end - start), 0, 1)
    septum = np.maximum(_wall_half_width(parameters)[0], 0)
    width = chambers.rv_width_px * share ** rng.uniform(0.45, 0.9) * (1 - 0.2 * share**4)
    # n of the cavity's two borders, as distances to the left of the long axis.
    near, far = septum[:, None], (septum + width)[:, None]
    depth = np.minimum(-canvas.n - near, far + canvas.n)
    within = np.minimum(canvas.s - start, end - canvas.s)
    wall = np.minimum(depth + chambers.rv_wall_px, within + chambers.rv_wall_px)
    # The tricuspid leaflets close it: thinner than the wall, and dimmer the steeper the beam meets them.
    valve = np.where(canvas.s > end - 1, -rng.uniform(0, 25), 0)
    canvas.paint(wall, look.right_wall_db + valve + patches)
    # The right ventricle is coarse inside: strands, the moderator band, a blurred free wall.
    strands = np.maximum(look.blood_db, look.right_wall_db - 22 + 9 * smooth_field(rng, SHAPE, (40, 48)))
    canvas.paint(np.minimum(depth, within) + 0.8 * smooth_field(rng, SHAPE, (22, 26)), strands, softness=3)


def _paint_atria(canvas, parameters, patches, rng):
    ventricle, chambers, look = parameters.ventricle, parameters.chambers, parameters.appearance
    base = ventricle.length_px
    septal, lateral = cavity_half_width(ventricle, np.array([0.98 * base]))[:, 0]
    wall = 4.0
    left_n = 0.5 * (lateral - septal) + 0.15 * chambers.la_half_width_px
    right_n = left_n - chambers.la_half_width_px - chambers.atrial_septum_px - chambers.ra_half_width_px
    atria = [
        (left_n, chambers.la_length_px, chambers.la_half_width_px),
        (right_n, chambers.ra_length_px, chambers.ra_half_width_px),
    ]
    bottom = base + max(chambers.la_length_px, chambers.ra_length_px)
    posterior = canvas.s - (bottom - 2 + 0.006 * (canvas.n - left_n) ** 2)
    canvas.paint(posterior, look.posterior_db + patches, softness=6)
    for n, length, half_width in atria:
        outer = canvas.ellipse(base + 0.45 * length, n, 0.55 * length + wall, half_width + wall, power=2.5)
        ring = np.maximum(look.lateral_db, look.posterior_db - 6) + chambers.atrial_wall_db
        canvas.paint(np.minimum(outer, canvas.s - base + 4), ring + patches, softness=4)
    waver = smooth_field(rng, SHAPE, (22, 26))
    for n, length, half_width in atria:
        inner = canvas.ellipse(base + 0.45 * length, n, 0.55 * length, half_width, power=2.5)
        canvas.paint(np.minimum(inner, canvas.s - base + 2) + 0.8 * waver, look.blood_db, softness=3)
    middle = left_n - chambers.la_half_width_px - 0.5 * chambers.atrial_septum_px
    septum = np.minimum(0.5 * chambers.atrial_septum_px - np.abs(canvas.n - middle), canvas.s - base)
    canvas.paint(np.minimum(septum, bottom - canvas.s), look.septum_db + patches)


def _paint_fibrous_body(canvas, parameters, rng):
    """The bright spots of an apical view: the crux, the lateral annulus, the tricuspid annulus, the pericardium."""
    ventricle, look = parameters.ventricle, parameters.appearance
    base, bright = ventricle.length_px, look.pericardium_db
    septal, lateral = cavity_half_width(ventricle, np.array([0.98 * base]))[:, 0]
    crux = -septal - 0.5 * ventricle.septum_px
    lateral_annulus = lateral + 0.5 * ventricle.lateral_wall_px + rng.uniform(0, 3)
    tricuspid_annulus = crux - parameters.chambers.rv_width_px - rng.uniform(0, 4)
    # Place along and across, range of both radii, dimmer than the pericardium by, and how often.
    spots = (
        (base + 1, crux, (1.5, 5), (1.2, 3), 0, 1.0),
        (base + rng.uniform(4, 12), crux, (3, 8), (1, 2.5), 3, 1.0),
        (base + rng.uniform(-6, 4), lateral_annulus, (2, 9), (1.5, 5), 3, 0.8),
        (base + rng.uniform(-4, 4), tricuspid_annulus, (2, 6), (1.5, 5), 5, 0.6),
    )
    for s, n, radius_s, radius_n, dimmer, chance in spots:
        if rng.random() < chance:
            level = bright - dimmer + rng.normal(0, 3)
            canvas.brighten(s, n, rng.uniform(*radius_s), rng.uniform(*radius_n), level)
    if rng.random() < 0.5:
        _paint_pericardium(canvas, parameters, rng)
    _paint_streaks(canvas, parameters)


def _paint_streaks(canvas, parameters):
    """Bright reflectors beside and behind the heart (lung, pleura, diaphragm), two in three on the lateral side."""
    rng = parameters.generator(10)
    base = parameters.ventricle.length_px
    edges = _wall_half_width(parameters)
    for _ in range(parameters.artefacts.num_streaks):
        s = base * rng.uniform(0.5, 1.5)
        gap = rng.uniform(5, 30)
        lateral = rng.random() < 0.67
        near = np.interp(min(s, 0.95 * base), S_PX, edges[int(lateral)]) + (
            0 if lateral else parameters.chambers.rv_width_px
        )
        level = parameters.appearance.pericardium_db + rng.normal(-4, 4)
        canvas.brighten(s, (1 if lateral else -1) * (near + gap), rng.uniform(5, 20), rng.uniform(1.5, 7), level)


def _paint_pericardium(canvas, parameters, rng):
    """A bright line along the outside of the lateral wall."""
    base = parameters.ventricle.length_px
    edge = _wall_half_width(parameters)[1]
    line = 1.5 - np.abs(canvas.n - edge[:, None] - 1)
    span = np.minimum(canvas.s - base * rng.uniform(0.2, 0.7), 1.3 * base - canvas.s)
    level = parameters.appearance.pericardium_db + rng.normal(-4, 3) + 3 * smooth_field(rng, SHAPE, (12, 4))
    canvas.paint(np.minimum(line, span), level, softness=2)
