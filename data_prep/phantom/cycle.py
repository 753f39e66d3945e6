"""The heart's clock: contraction of the walls and opening of the valves, frame by frame."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from data_prep.phantom.parameters import PhantomParameters

SHORTEST_BEAT = 0.42  # of the mean


@dataclass(frozen=True)
class Cycle:
    """Signals of one video, one value per frame.

    contraction: share of full contraction, 0 at end-diastole and 1 at end-systole; float (2, t), septal and lateral.
    opening: mitral leaflets, 0 closed to 1 open; float (t,).
    beat: running count of beats, whole at end-diastole; float (t,).
    beat_frames: mean number of frames per beat.
    """

    contraction: np.ndarray
    opening: np.ndarray
    beat: np.ndarray
    beat_frames: float


def build_cycle(parameters: PhantomParameters) -> Cycle:
    """Beats with their natural jitter, and what contraction and valves do in each."""
    motion = parameters.motion
    rng = parameters.generator(1)
    seconds = np.arange(parameters.num_frames) / parameters.fps
    mean_length = 60 / motion.heart_rate_bpm
    # One beat before the first frame, so that a delayed wall has a beat to come from.
    num_beats = int(np.ceil(seconds[-1] / mean_length / SHORTEST_BEAT)) + 4
    lengths = mean_length * _beat_lengths(motion, num_beats, rng)
    depths = 1 + motion.depth_jitter * rng.standard_normal(num_beats)
    # What a beat ejects depends on how long the ventricle filled before it (Frank-Starling).
    depths *= 1 - motion.filling_share * np.clip(1 - np.roll(lengths, 1) / mean_length, 0, 0.6)
    depths = np.clip(depths, 0.4, 1.05)
    starts = np.concatenate([[0], np.cumsum(lengths)]) - lengths[0] - motion.start_phase * lengths[1]
    beat = np.interp(seconds, starts, np.arange(num_beats + 1.0))
    wave = _contraction_wave(motion.systole, motion.diastasis)
    delays = np.array([0.0, motion.lateral_delay])[:, None]
    delayed = beat - delays
    contraction = wave(delayed % 1) * depths[np.floor(delayed).astype(int)]
    opening = np.clip(_opening_wave(motion.systole)(beat % 1), 0, 1)
    return Cycle(contraction, opening, beat, mean_length * parameters.fps)


def _beat_lengths(motion, num_beats, rng):
    """Length of each beat over the mean; after one that comes early, the next waits (compensatory pause)."""
    lengths = np.clip(1 + motion.rr_jitter * rng.standard_normal(num_beats), 0.6, 1.6)
    early = rng.random(num_beats) < motion.premature_share
    lengths = np.where(early, 0.68 * lengths, lengths)
    return np.maximum(np.where(np.roll(early, 1) & ~early, 1.25 * lengths, lengths), SHORTEST_BEAT)


def _contraction_wave(systole, diastasis):
    """Contraction over one beat: ejection, a short rest, early filling, diastasis, atrial kick."""
    rest = 1 - systole
    phases = [0, 0.5 * systole, systole, systole + 0.12 * rest, systole + 0.45 * rest, systole + 0.78 * rest, 1]
    values = [0, 0.6, 1, 0.93, diastasis + 0.04, diastasis, 0]
    return PchipInterpolator(phases, values)


def _opening_wave(systole):
    """Mitral opening over one beat: shut in systole, E wave, half closed, A wave."""
    rest = 1 - systole
    phases = [0, systole + 0.05 * rest, systole + 0.2 * rest, systole + 0.5 * rest, systole + 0.72 * rest]
    return PchipInterpolator([*phases, systole + 0.86 * rest, 1], [0, 0, 1, 0.55, 0.5, 0.85, 0])
