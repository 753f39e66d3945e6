"""One phantom video and its truth."""

from dataclasses import dataclass

import numpy as np

from data_prep.phantom import marks, storage
from data_prep.phantom.heart import LATERAL, SEPTAL, BeatingHeart, find_beat
from data_prep.phantom.parameters import SIZE_PX, PhantomParameters, validate
from data_prep.phantom.scan import (
    NUM_BEAMS,
    NUM_CHANNELS,
    NUM_RADII,
    Beam,
    Clutter,
    Fan,
    Tissue,
    bilinear,
    compress,
    finish,
)

CHUNK_FRAMES = 8  # as many as stay in a core's cache
LEAFLET_POINTS = 26
# One scatterer stands for a pixel's worth of leaflet, whose echo the filter spreads over its own width.
POINT_GAIN = 2.5


@dataclass(frozen=True)
class Phantom:
    """A rendered video with its truth, per frame.

    frames: uint8 (t, 112, 112), grey.
    masks: bool (t, 112, 112), left ventricular cavity.
    long_axis: float64 (t, 2, 2), apex then middle of the mitral plane, x and y in pixels.
    chords: float64 (t, 20, 2, 2), septal and lateral end of each disc from apex to base.
    volume_ml: float64 (t,), single-plane method of discs with 20 discs.
    area_px: int64 (t,), pixels of the mask.
    ed_frame, es_frame: end-diastole, and the end-systole beside it.
    """

    parameters: PhantomParameters
    frames: np.ndarray
    masks: np.ndarray
    long_axis: np.ndarray
    chords: np.ndarray
    volume_ml: np.ndarray
    ed_frame: int
    es_frame: int

    @property
    def area_px(self) -> np.ndarray:
        return self.masks.sum((1, 2))

    @property
    def edv_ml(self) -> float:
        return float(self.volume_ml[self.ed_frame])

    @property
    def esv_ml(self) -> float:
        return float(self.volume_ml[self.es_frame])

    @property
    def ef_percent(self) -> float:
        """LVEF = 100 * (EDV - ESV) / EDV."""
        return 100 * (self.edv_ml - self.esv_ml) / self.edv_ml

    def tracing(self, frame: int) -> np.ndarray:
        """Rows X1, Y1, X2, Y2 of one frame as in VolumeTracings.csv: long axis, then 20 chords; float64 (21, 4)."""
        return np.concatenate([self.long_axis[frame].reshape(1, 4), self.chords[frame].reshape(-1, 4)])


def render(parameters: PhantomParameters) -> Phantom:
    """Renders a video; equal parameters give equal bits.

    Raises:
        UserError: parameters that describe no heart.
    """
    validate(parameters)
    heart = BeatingHeart(parameters)
    volume = heart.volume_px3 * parameters.cm_per_px**3
    beat = find_beat(volume, heart.cycle.beat_frames)
    return Phantom(
        parameters=parameters,
        frames=_render_frames(parameters, heart),
        masks=heart.masks(),
        long_axis=heart.long_axis(),
        chords=heart.chords(),
        volume_ml=volume,
        ed_frame=beat.ed_frame,
        es_frame=beat.es_frame,
    )


def _render_frames(parameters, heart):
    fan = Fan(parameters.sector)
    beam, clutter = Beam(parameters, fan), Clutter(parameters, fan)
    tissue = Tissue(parameters, heart, beam.tissue_gain)
    leaflets = _leaflet_signal(parameters, heart, fan)
    to_pixels = fan.scan_conversion()
    noise_gain, tissue_gain = beam.noise_gain[..., None], beam.tissue_gain[..., None]
    total = parameters.num_frames
    pictures = np.empty((total, SIZE_PX * SIZE_PX), np.float32)
    shown = None
    for start in range(0, total, CHUNK_FRAMES):
        frames = slice(start, min(start + CHUNK_FRAMES, total))
        s, n = heart.to_heart(fan.x, fan.y, frames)
        signal = tissue.signal(tissue.locate(s, n, frames), frames) * tissue_gain
        signal[..., :2] += leaflets(frames)
        signal += np.stack([clutter.next() for _ in range(len(signal))]) * noise_gain
        filtered = beam(np.moveaxis(signal, 0, 2).reshape(NUM_RADII, NUM_BEAMS, -1))
        filtered = filtered.reshape(NUM_RADII, NUM_BEAMS, -1, NUM_CHANNELS)
        grey = compress(filtered, clutter.gain_db[..., None], parameters)
        shown = _persist(grey, shown, parameters.appearance.persistence)
        pictures[frames] = (to_pixels @ grey.reshape(NUM_RADII * NUM_BEAMS, -1)).T
    pictures = finish(pictures.reshape(total, SIZE_PX, SIZE_PX), parameters)
    inside = np.asarray(to_pixels.sum(1)).reshape(SIZE_PX, SIZE_PX) > 0.5
    pictures = np.clip(255 * pictures * inside, 0, 255)
    pictures = marks.burn_in(np.rint(pictures).astype(np.uint8), parameters, inside)
    return storage.recompress(pictures, parameters.artefacts.jpeg_quality)


def _persist(grey, before, persistence):
    """Mixes each frame (last axis) with the one displayed before it, in place; returns the last."""
    for k in range(grey.shape[-1]):
        if before is not None:
            grey[..., k] += np.float32(persistence) * (before - grey[..., k])
        before = grey[..., k].copy()
    return before


def _leaflet_signal(parameters, heart, fan):
    """Mitral leaflets as rows of scatterers: a function of a frame slice to a signal (t, radii, beams, 2)."""
    rng = parameters.generator(7)
    positions, mirror = _leaflets(parameters, heart, rng)
    strength = 10 ** (parameters.appearance.valve_db / 20) * np.exp(0.5 * rng.standard_normal(positions.shape[1:3]))
    phase = 2 * np.pi * rng.random() + 0.6 * rng.standard_normal(positions.shape[1:3])
    echo = (mirror * strength)[..., None] * np.stack([np.cos(phase), np.sin(phase)], -1)
    radius, beam = fan.indices(positions[..., 0], positions[..., 1])
    seen = (radius >= 0) & (radius < NUM_RADII - 1) & (beam >= 0) & (beam < NUM_BEAMS - 1)
    columns, weights = bilinear(radius, beam)
    weights = weights * seen[..., None]
    samples = NUM_RADII * NUM_BEAMS

    def signal(frames):
        count = frames.stop - frames.start
        flat = (columns[frames] + np.arange(count).reshape(-1, 1, 1, 1) * samples).ravel()
        shares = [weights[frames] * echo[frames][..., None, part] for part in (0, 1)]
        grids = [np.bincount(flat, share.ravel(), count * samples) for share in shares]
        return (POINT_GAIN * np.stack(grids, -1)).reshape(count, NUM_RADII, NUM_BEAMS, 2).astype(np.float32)

    return signal


def _leaflets(parameters, heart, rng):
    """Image positions (t, 2, points, 2) of both mitral leaflets, and how well each faces the beam, (t, 2, 1)."""
    motion = parameters.motion
    chords = heart.chords()[:, -1]
    axis = heart.long_axis()
    middle, toward_apex = axis[:, 1], axis[:, 0] - axis[:, 1]
    toward_apex /= np.linalg.norm(toward_apex, axis=-1, keepdims=True)
    across = np.stack([-toward_apex[:, 1], toward_apex[:, 0]], -1)
    width = np.linalg.norm(chords[:, 1] - chords[:, 0], axis=-1)
    # The last chord lies half a disc above the mitral plane, where the leaflets are hinged.
    half_disc = np.linalg.norm(axis[:, 0] - axis[:, 1], axis=-1) / 40
    share = rng.uniform(0.45, 0.65)
    v = np.linspace(0, 1, LEAFLET_POINTS)
    open_rad, closed_rad = np.radians(motion.leaflet_open_deg), np.radians(rng.uniform(-4, 14))
    angle = closed_rad + heart.cycle.opening * (open_rad - closed_rad)
    belly = rng.uniform(-0.06, 0.12)
    positions, facing = [], []
    for side, length in ((SEPTAL, share * width), (LATERAL, (1 - share) * width)):
        inward = across if np.sum((middle - chords[:, side]) * across) > 0 else -across
        hinge = chords[:, side] - toward_apex * (half_disc + motion.leaflet_offset_px)[:, None]
        run = 1.06 * length[:, None] * v
        rise = run * np.sin(angle)[:, None] + belly * length[:, None] * 4 * v * (1 - v)
        along = run * np.cos(angle)[:, None]
        positions.append(hinge[:, None] + along[..., None] * inward[:, None] + rise[..., None] * toward_apex[:, None])
        facing.append(0.3 + 0.7 * np.cos(angle))
    return np.stack(positions, 1), np.stack(facing, 1)[..., None]
