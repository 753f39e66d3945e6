"""From echo strength to a grey picture: speckle, beam, clutter, compression, scan conversion.

Tissue is a field of complex Gaussian scatterers in heart coordinates at end-diastole; each frame looks up where its
polar samples came from, so that speckle travels with the tissue. The received signal is that field times the echo
amplitude, plus clutter, filtered by the point-spread function in polar coordinates (lateral width constant in angle, so
growing with depth); its magnitude is log-compressed and brought to pixels by a sparse matrix of interpolation weights.
"""

import functools

import numpy as np
import scipy.sparse
from scipy.ndimage import gaussian_filter

from data_prep.phantom import anatomy, storage
from data_prep.phantom.heart import BeatingHeart
from data_prep.phantom.parameters import SIZE_PX, PhantomParameters, Sector

NUM_RADII = 144
NUM_BEAMS = 120
# Scatterers are smoothed to this standard deviation, so that looking up the nearest one does not flicker.
SCATTERER_PX = 0.45
FLOOR_POWER = 1e-12
# Real channels whose squares add up to the echo's power. Two are the in-phase and quadrature parts of one look; the
# third is half a look more: compounding and the reduction to 112 pixels make real speckle less stark than one look's.
NUM_CHANNELS = 3
NOISE_BANK = 6


class Fan:
    """The polar grid of one sector, (NUM_RADII, NUM_BEAMS), and its way to pixels."""

    def __init__(self, sector: Sector):
        self.sector = sector
        half = np.radians(sector.half_angle_deg)
        tilt = np.radians(sector.tilt_deg)
        self.radius = np.linspace(sector.near_px, sector.depth_px, NUM_RADII, dtype=np.float32)
        self.angle = np.linspace(tilt - half, tilt + half, NUM_BEAMS, dtype=np.float32)
        self.radius_step = self.radius[1] - self.radius[0]
        self.angle_step = self.angle[1] - self.angle[0]
        self.depth = ((self.radius - self.radius[0]) / (self.radius[-1] - self.radius[0]))[:, None]
        self.x = sector.apex_x_px + self.radius[:, None] * np.sin(self.angle)
        self.y = sector.apex_y_px + self.radius[:, None] * np.cos(self.angle)

    def indices(self, x, y):
        """Fractional radius and beam numbers of image positions."""
        dx, dy = x - self.sector.apex_x_px, y - self.sector.apex_y_px
        radius = (np.hypot(dx, dy) - self.radius[0]) / self.radius_step
        beam = (np.arctan2(dx, dy) - self.angle[0]) / self.angle_step
        return radius, beam

    def scan_conversion(self) -> scipy.sparse.csr_matrix:
        """Sparse (pixels, samples) matrix of interpolation weights; empty rows outside the sector."""
        y, x = np.mgrid[:SIZE_PX, :SIZE_PX].astype(np.float32)
        radius, beam = self.indices(x.ravel(), y.ravel())
        inside = (radius >= 0) & (radius <= NUM_RADII - 1) & (beam >= 0) & (beam <= NUM_BEAMS - 1)
        pixel = np.flatnonzero(inside)
        columns, weights = bilinear(_crisp(radius[inside]), _crisp(beam[inside]))
        shape = SIZE_PX * SIZE_PX, NUM_RADII * NUM_BEAMS
        rows = np.repeat(pixel, 4)
        return scipy.sparse.csr_matrix((weights.ravel(), (rows, columns.ravel())), shape=shape, dtype=np.float32)


def _crisp(position):
    """Draws fractional positions towards the nearest sample: halfway between bilinear and nearest, as displays are."""
    nearest = np.rint(position)
    return nearest + np.sign(position - nearest) * np.maximum(2 * np.abs(position - nearest) - 0.5, 0)


def bilinear(radius, beam):
    """Flat sample numbers and weights of the four neighbours of each position: (..., 4) each."""
    r0 = np.clip(radius.astype(np.int32), 0, NUM_RADII - 2)
    b0 = np.clip(beam.astype(np.int32), 0, NUM_BEAMS - 2)
    pr, pb = radius - r0, beam - b0
    flat = r0 * NUM_BEAMS + b0
    columns = np.stack([flat, flat + 1, flat + NUM_BEAMS, flat + NUM_BEAMS + 1], -1)
    weights = np.stack([(1 - pr) * (1 - pb), (1 - pr) * pb, pr * (1 - pb), pr * pb], -1)
    return columns, weights.astype(np.float32)


class Beam:
    """Point-spread function: three axial taps, and per radius a lateral matrix with core and side lobes."""

    def __init__(self, parameters: PhantomParameters, fan: Fan):
        look = parameters.appearance
        widening = (1 + 1.2 * (fan.depth[:, 0] - look.focus) ** 2).astype(np.float32)
        # Taps (tap, 1 - 2 tap, tap) have the variance 2 tap.
        self.tap = np.minimum(0.5 * (look.axial_px * widening / fan.radius_step) ** 2, 0.25)[1:-1, None]
        core = np.stack([_gaussian_matrix(NUM_BEAMS, look.lateral_rad * w / fan.angle_step) for w in widening[::8]])
        sidelobes = _gaussian_matrix(NUM_BEAMS, 5 * look.lateral_rad / fan.angle_step)
        lateral = core + np.float32(10 ** (look.sidelobe_db / 20) * 5) * sidelobes
        self.lateral = np.repeat(lateral, 8, axis=0)[:NUM_RADII]
        # Speckle power after the filters depends on how many independent scatterers they join: normalise it away.
        axial_px, lateral_px = look.axial_px * widening, look.lateral_rad * widening * fan.radius
        joined = np.sqrt((SCATTERER_PX**2 + axial_px**2) * (SCATTERER_PX**2 + lateral_px**2)) / SCATTERER_PX**2
        self.tissue_gain = np.sqrt(joined).astype(np.float32)[:, None]
        axial_power = np.pad((1 - 2 * self.tap) ** 2 + 2 * self.tap**2, ((1, 1), (0, 0)), mode="edge")
        self.noise_gain = (1 / np.sqrt(axial_power * (self.lateral**2).sum(2))).astype(np.float32)

    def __call__(self, signal):
        """Filters a signal, float32 (radii, beams, channels)."""
        blurred = self.lateral @ signal
        tap = self.tap[..., None]
        inner = blurred[1:-1]
        blurred[1:-1] = inner + tap * (blurred[:-2] + blurred[2:] - 2 * inner)
        return blurred


def _gaussian_matrix(size, sigma):
    """Matrix that convolves `size` samples with a Gaussian of unit sum."""
    offsets = np.arange(size, dtype=np.float32)
    kernel = np.exp(-0.5 * ((offsets[:, None] - offsets) / max(sigma, 0.2)) ** 2)
    return kernel / kernel[size // 2].sum()


class Tissue:
    """Scatterers in heart coordinates: two complex fields whose mixture drifts slowly, times the echo amplitude."""

    def __init__(self, parameters: PhantomParameters, heart: BeatingHeart, tissue_gain: np.ndarray):
        self.parameters, self.heart = parameters, heart
        rng = parameters.generator(4)
        amplitude = 10 ** (anatomy.paint_anatomy(parameters) / 20)
        look, motion = parameters.appearance, parameters.motion
        fine = _scatterers(rng) * np.float32(np.sqrt(1 - look.coherent))
        # The part without speckle: in phase everywhere, so the beam's filter does not average it away as it does the
        # rest. It turns with the mixture of both fields and keeps its power.
        coherent = np.float32(np.sqrt(look.coherent) / tissue_gain.mean())
        fine[:, 0] += coherent
        fine[:, NUM_CHANNELS + 1] += coherent
        self.texture = fine * amplitude.reshape(-1, 1)
        contraction = heart.cycle.contraction.mean(0)
        # Out-of-plane motion: the plane leaves with contraction and returns, and drifts slowly besides.
        self.mixing = look.decorrelation * (contraction + 0.15 * heart.cycle.beat)
        self.rv_motion = motion.rv_motion_px * contraction
        chambers, length = parameters.chambers, parameters.ventricle.length_px
        free_wall = -(parameters.ventricle.half_width_px + parameters.ventricle.septum_px + chambers.rv_width_px)
        self.rv_profile = np.exp(-0.5 * ((anatomy.N_PX - free_wall) / 9) ** 2).astype(np.float32)
        self.rv_along = np.exp(-0.5 * ((anatomy.S_PX - 0.6 * length) / (0.35 * length)) ** 2).astype(np.float32)

    def locate(self, s, n, frames):
        """Texture row numbers of heart positions (t, ...) in the given frames, int32.

        All tissue lies further out than the truth says by the margin that a tracer leaves inside of what can be seen:
        the same number of pixels in every frame, as an eye at the screen keeps it.
        """
        margin = np.float32(self.parameters.appearance.border_offset_px)
        rest_s, rest_n, _ = self.heart.rest(s, np.copysign(np.maximum(np.abs(n) - margin, 0), n), frames)
        return self._rows(rest_s, rest_n, frames)

    def _rows(self, rest_s, rest_n, frames):
        i = ((rest_s - anatomy.S_PX[0]) * np.float32(1 / anatomy.STEP_PX) + np.float32(0.5)).astype(np.int32)
        np.clip(i, 0, anatomy.SHAPE[0] - 1, out=i)
        n_scale = np.float32(1 / anatomy.STEP_PX)
        j = ((rest_n - anatomy.N_PX[0]) * n_scale).astype(np.int32)
        np.clip(j, 0, anatomy.SHAPE[1] - 1, out=j)
        inward = self.rv_motion[frames].astype(np.float32).reshape((-1,) + (1,) * (rest_s.ndim - 1))
        shifted = rest_n - inward * self.rv_profile[j] * self.rv_along[i]
        j = ((shifted - anatomy.N_PX[0]) * n_scale + np.float32(0.5)).astype(np.int32)
        np.clip(j, 0, anatomy.SHAPE[1] - 1, out=j)
        return i * np.int32(anatomy.SHAPE[1]) + j

    def signal(self, rows, frames):
        """Echo of texture rows (t, ...): float32 (t, ..., channels)."""
        both = self.texture.take(rows, axis=0)
        shape = (-1,) + (1,) * rows.ndim
        mixing = self.mixing[frames].astype(np.float32).reshape(shape)
        return np.cos(mixing) * both[..., :NUM_CHANNELS] + np.sin(mixing) * both[..., NUM_CHANNELS:]


def _scatterers(rng):
    """Two independent fields of unit power at half-pixel steps: float32 (cells, 2 * channels)."""
    coarse = anatomy.SHAPE[0] // 2, anatomy.SHAPE[1] // 2
    white = rng.standard_normal((2 * NUM_CHANNELS, *coarse), dtype=np.float32)
    rows, columns = (_refinement(size) for size in coarse)
    fine = rows @ white @ columns.T
    return np.ascontiguousarray(fine.reshape(2 * NUM_CHANNELS, -1).T) * np.float32(NUM_CHANNELS**-0.5)


@functools.lru_cache(maxsize=4)
def _refinement(size):
    """Matrix that takes white noise at whole pixels to smooth noise of unit variance at half pixels."""
    fine = np.arange(2 * size, dtype=np.float32)[:, None] * 0.5
    weights = np.exp(-0.5 * ((fine - np.arange(size, dtype=np.float32)) / SCATTERER_PX) ** 2)
    return weights / np.sqrt((weights**2).sum(1, keepdims=True))


class Clutter:
    """What does not move with the heart, in polar coordinates: haze that flickers, shadows, dropout, reverberation."""

    def __init__(self, parameters: PhantomParameters, fan: Fan):
        look = parameters.appearance
        self.memory = look.haze_memory
        self.rng = parameters.generator(5)
        place = parameters.generator(6)
        shape = NUM_RADII, NUM_BEAMS
        near = look.haze_near_db * np.exp(-fan.depth / look.haze_depth)
        haze_db = look.haze_db + near + 6 * anatomy.smooth_field(place, shape, (3, 4)) + 4 * fan.depth
        self.haze = np.hypot(10 ** (haze_db / 20), _clouds(parameters, fan)).astype(np.float32)
        self.gain_db = _gain_map(look, fan, place) + _contact_loss(parameters.artefacts, fan)
        self.rings = _reverberations(look, fan, place) + _ladder(parameters, fan)
        self.bank = self.rng.standard_normal((NOISE_BANK, *shape, NUM_CHANNELS), dtype=np.float32)
        self.bank *= np.float32(NUM_CHANNELS**-0.5)
        self.state = self._white()

    def _white(self):
        """White noise of unit power: a field of the bank at a random offset and sign, cheaper than new numbers."""
        which, shift, turn = self.rng.integers((NOISE_BANK, NUM_RADII, NUM_BEAMS))
        return self.rng.choice((-1, 1)).astype(np.float32) * np.roll(self.bank[which], (shift, turn), (0, 1))

    def next(self):
        """Clutter signal of the next frame, float32 (radii, beams, channels), before the beam's filter."""
        self.state = self.memory * self.state + np.sqrt(1 - self.memory**2) * self._white()
        return self.state * self.haze[..., None] + self.rings


def _clouds(parameters, fan):
    """Amplitude of dense fog over parts of the sector, (radii, beams): clutter as strong as tissue, mostly shallow."""
    rng = parameters.generator(11)
    angle = np.linspace(-1, 1, NUM_BEAMS, dtype=np.float32)
    power = np.zeros((NUM_RADII, NUM_BEAMS), np.float32)
    for _ in range(parameters.artefacts.num_clouds):
        depth, side = rng.triangular(0, 0.15, 0.8), rng.uniform(-0.9, 0.9)
        reach = ((fan.depth - depth) / rng.uniform(0.12, 0.35)) ** 2 + ((angle - side) / rng.uniform(0.25, 0.8)) ** 2
        level = parameters.artefacts.cloud_db + rng.normal(0, 2) - 5 * reach
        power += 10 ** ((level + 2 * anatomy.smooth_field(rng, power.shape, (6, 8))) / 10)
    return np.sqrt(power)


def _contact_loss(faults, fan):
    """Gain in dB where the probe's edge has no contact: a wedge at one side that ends in the depth."""
    angle = np.linspace(-1, 1, NUM_BEAMS, dtype=np.float32)
    wedge = np.clip((faults.contact_side * angle - 1 + faults.contact_width) / 0.12, 0, 1)
    loss = -faults.contact_db * wedge * np.clip((0.75 - fan.depth) / 0.35, 0, 1)
    return (abs(faults.contact_side) * loss).astype(np.float32)


def _ladder(parameters, fan):
    """Echoes between probe and skin: arcs at multiples of one depth, each 3 to 6 dB below the one before."""
    rng = parameters.generator(12)
    spacing, fall_db, middle, reach = (rng.uniform(*r) for r in ((0.025, 0.09), (3, 6), (-0.5, 0.5), (0.3, 0.9)))
    angle = np.linspace(-1, 1, NUM_BEAMS, dtype=np.float32)
    span = np.exp(-(((angle - middle) / reach) ** 2))
    phase = 2 * np.pi * rng.random() + anatomy.smooth_field(rng, (1, NUM_BEAMS), (1, 12))
    arcs = np.zeros((NUM_RADII, NUM_BEAMS), np.float32)
    for k in range(parameters.artefacts.num_ladder_echoes):
        level = parameters.artefacts.ladder_db - fall_db * k
        arcs += np.exp(-0.5 * ((fan.depth - spacing * (k + 1)) / 0.008) ** 2) * span * 10 ** (level / 20)
    quadrature = [np.cos(phase), np.sin(phase), np.zeros_like(phase)]
    return (2 * arcs[..., None] * np.stack(quadrature, -1)).astype(np.float32)


def _gain_map(look, fan, rng):
    """Receive gain in dB: gain, depth compensation, dropout sectors, shadows, weak edges."""
    angle = np.linspace(-1, 1, NUM_BEAMS, dtype=np.float32)
    depth = fan.depth
    gain = look.gain_db + look.attenuation_db * (depth - 0.4) - look.edge_db * angle**4
    gain = gain + 4 * anatomy.smooth_field(rng, (NUM_RADII, NUM_BEAMS), (3, 4))
    gain = gain + 3 * anatomy.smooth_field(rng, (NUM_RADII, NUM_BEAMS), (8, 10))
    for side, drop in ((1, look.lateral_dropout_db), (-1, look.septal_dropout_db)):
        edge = rng.uniform(0.1, 0.7)
        band = np.clip((depth - rng.uniform(-0.2, 0.4)) / 0.2, 0, 1)
        gain = gain + drop * np.clip((side * angle - edge) / 0.3, 0, 1) * band
    for _ in range(look.num_shadows):
        at, width = rng.uniform(-1, 1), rng.uniform(0.03, 0.15)
        start = rng.uniform(0, 0.7)
        shadow = np.exp(-(((angle - at) / width) ** 4)) * np.clip((depth - start) / 0.1, 0, 1)
        gain = gain - rng.uniform(6, 25) * shadow
    return gain.astype(np.float32)


def _reverberations(look, fan, rng):
    """Standing echoes of chest wall and probe: arcs at fixed depths, float32 (radii, beams, channels)."""
    signal = np.zeros((NUM_RADII, NUM_BEAMS, NUM_CHANNELS), np.float32)
    angle = np.linspace(-1, 1, NUM_BEAMS, dtype=np.float32)
    for _ in range(look.num_reverberations):
        at, level = rng.uniform(0.02, 0.22), rng.uniform(-38, -22)
        span = np.exp(-(((angle - rng.uniform(-0.6, 0.6)) / rng.uniform(0.2, 0.7)) ** 2))
        bend = at + 0.004 * anatomy.smooth_field(rng, (1, NUM_BEAMS), (1, 4))
        ring = np.exp(-0.5 * ((fan.depth - bend) / 0.008) ** 2) * span * 10 ** (level / 20)
        phase = 2 * np.pi * rng.random() + 2 * anatomy.smooth_field(rng, (1, NUM_BEAMS), (1, 20))
        signal[..., :2] += 2 * ring[..., None] * np.stack([np.cos(phase), np.sin(phase)], -1)
    return signal


def compress(signal, gain_db, parameters: PhantomParameters) -> np.ndarray:
    """Magnitude of a filtered signal (..., channels) to grey share 0..1: log compression, then gamma."""
    look = parameters.appearance
    power = np.einsum("...c,...c->...", signal, signal)
    decibel = 10 * np.log10(power + np.float32(FLOOR_POWER)) + gain_db
    share = np.clip(1 + decibel / np.float32(look.dynamic_range_db), 0, 1)
    return share ** np.float32(look.gamma)


def finish(pictures: np.ndarray, parameters: PhantomParameters) -> np.ndarray:
    """What happens to pixels after scan conversion, (t, h, w) in 0..1: resampling, unsharp masking, then flicker."""
    look = parameters.appearance
    rng = parameters.generator(9)
    if parameters.artefacts.source_px != SIZE_PX:
        pictures = storage.resample(pictures, parameters.artefacts.source_px)
    sharp = pictures + np.float32(look.sharpness) * (pictures - gaussian_filter(pictures, (0, 0.8, 0.8)))
    bank = np.float32(look.flicker) * rng.standard_normal((NOISE_BANK, *pictures.shape[1:]), dtype=np.float32) + 1
    for picture, which, shift in zip(sharp, *rng.integers((NOISE_BANK, SIZE_PX), size=(len(sharp), 2)).T, strict=True):
        picture *= np.roll(bank[which], shift)
    return sharp
