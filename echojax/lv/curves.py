"""Areas, lengths and volumes of a video's masks over time, and curves without their bad frames."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage, signal

from echojax.lv.shape import Masks, disc_diameters
from echojax.lv.volume import area_length_from, disc_volume

Curve = Float[np.ndarray, "t"]

# A parabola fitted over this time keeps peaks as high as they are; a mean of equal effect costs 2 points of LVEF.
SMOOTHING_SECONDS = 0.12
SMOOTHING_DEGREE = 2
# Where the frame rate is not known: right for 50 frames per second.
SMOOTHING_FRAMES = 7
MIN_SMOOTHING_FRAMES = 5
# A frame or two are bad where they leave the line between their neighbours by so large a share of the curve's swing,
# and by so many times its usual step from frame to frame.
BAD_SHARE = 0.3
BAD_STEPS = 6.0
MAX_BAD_FRAMES = 2


class VentricleCurves(NamedTuple):
    """What the masks of a video measure, one value per frame; nan where a mask is empty, but for areas, which are 0.

    Units are cm, cm² and mL where the size of a pixel is known, pixels, pixels² and pixels³ where not.
    """

    area: Curve
    length: Curve
    simpson_volume: Curve
    area_length_volume: Curve


def measure_frames(masks: Masks, spacing_cm: float | Sequence[float] | None = None) -> VentricleCurves:
    """Area, long axis and both volumes of every mask (t, h, w), cleaned; spacing as in `simpson_volume`."""
    diameters, length = disc_diameters(masks, spacing_cm)
    area = diameters.mean(axis=-1) * length
    volumes = disc_volume(diameters, length), area_length_from(area, length)
    return VentricleCurves(np.nan_to_num(area, nan=0.0), length, *volumes)


def bridge_bad_frames(curve: Curve) -> Curve:
    """Replaces lost and stray frames by the line between their neighbours.

    Lost are frames that are not finite or not above 0: a ventricle has a size. Stray are one or two frames that jump
    away from both of their neighbours and back. Lost frames at an end repeat their neighbour.

    Returns:
        float64; all nan where more than half of the frames are lost.
    """
    curve = np.array(curve, np.float64)
    is_bad = ~(np.isfinite(curve) & (curve > 0))
    if is_bad.sum() > len(curve) / 2:
        return np.full(len(curve), np.nan)
    curve = _interpolate(curve, is_bad)
    return _interpolate(curve, _find_stray(curve))


def smooth_curve(curve: Curve, fps: float | None = None) -> Curve:
    """`bridge_bad_frames`, then Savitzky and Golay's filter: a parabola over 0.12 s, and at least 5 frames, about each.

    Where the frame rate is not known it is taken for 50 frames per second. Curves of less than 5 frames are bridged
    alone.
    """
    bridged = bridge_bad_frames(curve)
    window = _smoothing_window(len(bridged), fps)
    if window < MIN_SMOOTHING_FRAMES or np.isnan(bridged).any():
        return bridged
    # Beside a steep fall the parabola may overshoot; no ventricle is smaller than nothing.
    return np.maximum(signal.savgol_filter(bridged, window, SMOOTHING_DEGREE, mode="interp"), 0)


def smoothing_neighbours(
    frames: Int[np.ndarray, "n"], num_frames: int, fps: float | None = None
) -> Int[np.ndarray, "m"]:
    """All frames whose values `smooth_curve` mixes into those at some frames of a curve, ascending."""
    window = _smoothing_window(num_frames, fps)
    first = np.clip(np.asarray(frames) - window // 2, 0, num_frames - window)
    return np.unique(first[:, None] + np.arange(window))


def _smoothing_window(num_frames: int, fps: float | None) -> int:
    """Odd number of frames; that of all frames where a clip is shorter."""
    window = SMOOTHING_FRAMES if fps is None else 2 * round(SMOOTHING_SECONDS * fps / 2) + 1
    return min(max(window, MIN_SMOOTHING_FRAMES), num_frames - (num_frames + 1) % 2)


def typical_swing(curve: Curve, window: int) -> float:
    """Median range of the curve within windows of so many frames: how far a beat moves it, drift or not."""
    window = min(window, len(curve))
    ranges = np.ptp(np.lib.stride_tricks.sliding_window_view(curve, window), axis=-1)
    return float(np.median(ranges))


def _find_stray(curve: Curve) -> np.ndarray:
    steady = ndimage.median_filter(curve, 5, mode="nearest")
    swing = np.ptp(np.quantile(steady, (0.05, 0.95)))
    limit = max(BAD_SHARE * swing, BAD_STEPS * float(np.median(np.abs(np.diff(curve)))) if len(curve) > 1 else 0.0)
    is_stray = np.zeros(len(curve), bool)
    for run in range(1, MAX_BAD_FRAMES + 1):
        before, after = curve[: -run - 1], curve[run + 1 :]
        inside = np.stack([curve[1 + k : len(curve) - run + k] for k in range(run)]) if len(before) else before[None]
        above, below = np.maximum(before, after), np.minimum(before, after)
        has_jumped = (inside > above + limit).all(0) | (inside < below - limit).all(0)
        for start in np.flatnonzero(has_jumped & (above - below < limit)) + 1:
            is_stray[start : start + run] = True
    return is_stray


def _interpolate(curve: Curve, is_bad: np.ndarray) -> Curve:
    if not is_bad.any() or is_bad.all():
        return curve
    frames = np.arange(len(curve))
    return np.where(is_bad, np.interp(frames, frames[~is_bad], curve[~is_bad]), curve)
