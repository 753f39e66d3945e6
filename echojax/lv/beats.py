"""Beats of a ventricle: end diastole (ED) and end systole (ES) from the curve of its area or volume.

The curve is smoothed, then read as a zigzag: it must fall from an ED, and rise from an ES, by a share of its typical
swing before that counts as an extreme. What is too short to be a beat, as where a mask leaks for a few frames in the
middle of one, is then joined with the beat it lies in. Else nothing is assumed about how regular beats are.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from echojax.errors import UserError
from echojax.lv.curves import bridge_bad_frames, smooth_curve, typical_swing

# What a move must reach to be part of a beat: this share of the typical swing, and this many times the noise.
MOVE_SHARE = 0.35
MOVE_OVER_NOISE = 2.5
# A curve that swings less than this share of its mean, or this many times its noise, does not beat.
MIN_RELATIVE_SWING = 0.02
MIN_SWING_OVER_NOISE = 4.0
# Longer than a slow beat, so that each window holds a full swing.
WINDOW_SECONDS = 1.5
WINDOW_FRAMES = 60
# No heart beats faster than 220 times a minute, and even irregular ones hardly have a beat that takes less than this
# share of their long ones: of the upper quartile, which spurious beats move little, where there are so many distances.
SHORTEST_BEAT_SECONDS = 60 / 220
SHORTEST_BEAT_SHARE = 0.35
MIN_DISTANCES = 3


class Beat(NamedTuple):
    """One contraction: frames of its ED and the ES after it.

    `is_cut` says that one of them is the video's first or last frame: the true one may lie outside. Only a video that
    shows no contraction but a relaxation has a beat whose ES comes before its ED; it is cut, too.
    """

    ed: int
    es: int
    is_cut: bool


class PhaseFrames(NamedTuple):
    """Frames of every ED and of every ES, with those whose beat the video does not show whole."""

    ed: list[int]
    es: list[int]


def find_beats(curve: Float[np.ndarray, "t"], fps: float | None = None) -> list[Beat]:
    """ED and ES of every beat of a curve of areas or volumes.

    Args:
        curve: one value per frame in any unit; lost frames may be nan or 0, and single stray frames are bridged.
        fps: frames per second, where known.

    Returns:
        Beats in order; none where the curve is flat, too noisy or lost in more than half of its frames.

    Raises:
        UserError: a curve of another shape than (t,), or a frame rate that is not above 0.
    """
    return _pair(_turning_points(curve, fps), len(curve))


def find_phases(curve: Float[np.ndarray, "t"], fps: float | None = None) -> PhaseFrames:
    """Every ED and ES of a curve, also an ES at its start or an ED at its end that belong to no beat of `find_beats`.

    Arguments and errors are those of `find_beats`.
    """
    turns = _turning_points(curve, fps)
    return PhaseFrames(*([frame for frame, is_maximum in turns if is_maximum == is_ed] for is_ed in (True, False)))


def _turning_points(curve: Float[np.ndarray, "t"], fps: float | None) -> list[tuple[int, bool]]:
    curve = np.asarray(curve, np.float64)
    if curve.ndim != 1:
        raise UserError(f"the curve has shape {curve.shape}; expected one value per frame, (t,)")
    if fps is not None and not fps > 0:
        raise UserError(f"fps is {fps}; expected frames per second above 0, or None where they are not known")
    if len(curve) < 3:
        return []
    smooth = smooth_curve(curve, fps)
    if np.isnan(smooth).any():
        return []
    swing = typical_swing(smooth, WINDOW_FRAMES if fps is None else max(3, round(WINDOW_SECONDS * fps)))
    noise = 1.4826 * float(np.median(np.abs(bridge_bad_frames(curve) - smooth)))
    if swing <= max(MIN_RELATIVE_SWING * float(smooth.mean()), MIN_SWING_OVER_NOISE * noise):
        return []
    turns = find_extremes(smooth, max(MOVE_SHARE * swing, MOVE_OVER_NOISE * noise))
    return join_short_beats(turns, smooth, 0.0 if fps is None else SHORTEST_BEAT_SECONDS * fps)


def find_extremes(curve: Float[np.ndarray, "t"], least_move: float) -> list[tuple[int, bool]]:
    """Turning points between moves of at least `least_move`, as (frame, is a maximum), alternating.

    The first and the last may be the curve's ends.
    """
    extremes = []
    low = high = 0
    rising = None
    for frame, value in enumerate(curve):
        if value > curve[high]:
            high = frame
        if value < curve[low]:
            low = frame
        if rising is not True and value >= curve[low] + least_move:
            extremes.append((low, False))
            rising, high = True, frame
        elif rising is not False and value <= curve[high] - least_move:
            extremes.append((high, True))
            rising, low = False, frame
    if rising is not None:
        extremes.append((high, True) if rising else (low, False))
    return extremes


def join_short_beats(
    extremes: list[tuple[int, bool]], curve: Float[np.ndarray, "t"], shortest_frames: float
) -> list[tuple[int, bool]]:
    """Takes out, in pairs, turning points of what is too short to be a beat by itself.

    Two ED, or two ES, that lie nearer than `shortest_frames`, or than `SHORTEST_BEAT_SHARE` of the video's long
    distances, belong to one beat: of the moves between such the smallest of the video is undone, again and again.
    Distances from the curve's ends say nothing, as the true extreme may lie outside.
    """
    extremes, ends = list(extremes), (0, len(curve) - 1)
    while True:
        frames = np.array([frame for frame, _ in extremes], int)
        is_inside = ~np.isin(frames, ends)
        distances = np.where(is_inside[2:] & is_inside[:-2], frames[2:] - frames[:-2], np.inf)
        known = distances[np.isfinite(distances)]
        long = float(np.quantile(known, 0.75)) if len(known) >= MIN_DISTANCES else 0.0
        (close,) = np.nonzero(distances < max(shortest_frames, SHORTEST_BEAT_SHARE * long))
        if not len(close):
            return extremes
        moves = np.abs(np.diff(curve[frames]))
        between = np.union1d(close, close + 1)
        smallest = between[np.argmin(moves[between])]
        del extremes[smallest : smallest + 2]


def main_beat(curve: Float[np.ndarray, "t"], beats: list[Beat]) -> Beat | None:
    """The beat with the largest fall of the curve; one that is not cut comes first. None where there are no beats."""
    if not beats:
        return None
    return max(beats, key=lambda beat: (not beat.is_cut, curve[beat.ed] - curve[beat.es]))


def _pair(extremes: list[tuple[int, bool]], num_frames: int) -> list[Beat]:
    ends = (0, num_frames - 1)
    falls = [(first, second) for first, second in itertools.pairwise(extremes) if first[1]]
    if falls:
        return [Beat(ed, es, ed in ends or es in ends) for (ed, _), (es, _) in falls]
    if len(extremes) == 2:
        (es, _), (ed, _) = extremes
        return [Beat(ed, es, True)]
    return []
