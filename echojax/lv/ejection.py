"""LVEF from masks: per beat, pooled over beats, and EchoDFKD's ratio of areas."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from echojax.lv.beats import Beat, find_beats
from echojax.lv.curves import Curve, VentricleCurves, measure_frames, smooth_curve
from echojax.lv.shape import Masks

METHODS = ("simpson", "area_length", "area")


class HeartFunction(NamedTuple):
    """What the masks of a video say about the heart.

    Attributes:
        curves: of every frame, as measured.
        beats: ED and ES of every beat, found in the area.
        lvef_percent: {method: LVEF of each beat}, with volumes smoothed over time; methods are `METHODS`.
        pooled_lvef_percent: {method: the video's LVEF}; nan where no beat was found.
    """

    curves: VentricleCurves
    beats: list[Beat]
    lvef_percent: dict[str, Float[np.ndarray, "beats"]]
    pooled_lvef_percent: dict[str, float]


def measure_function(
    masks: Masks, fps: float | None = None, spacing_cm: float | Sequence[float] | None = None
) -> HeartFunction:
    """Curves, beats and LVEF of a video from the mask of every frame.

    LVEF needs no spacing as long as pixels are square; of others only the spacing says which way is longer.

    Args:
        masks: (t, h, w), bool or soft.
        fps: frames per second, where known.
        spacing_cm: size of a pixel in cm, one number or (vertical, horizontal), where known.
    """
    curves = measure_frames(masks, spacing_cm)
    beats = find_beats(curves.area, fps)
    sizes = (curves.simpson_volume, curves.area_length_volume, curves.area)
    lvef = {method: lvef_of_beats(smooth_curve(size, fps), beats) for method, size in zip(METHODS, sizes, strict=True)}
    return HeartFunction(curves, beats, lvef, {method: pool_lvef(of_beats, beats) for method, of_beats in lvef.items()})


def lvef(edv: Float[np.ndarray, "*b"], esv: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """LVEF = 100 (EDV - ESV) / EDV in percent; negative where ESV is larger; nan where EDV is 0 or nan."""
    edv, esv = np.asarray(edv, np.float64), np.asarray(esv, np.float64)
    known = np.where(edv > 0, edv, np.nan)
    return 100 * (known - esv) / known


def area_lvef(area_ed: Float[np.ndarray, "*b"], area_es: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """EchoDFKD's LVEF, 100 (A_ED - A_ES) / A_ED in percent of areas, not volumes; 0 where the ED area is 0."""
    return np.nan_to_num(lvef(area_ed, area_es), nan=0.0)


def lvef_of_beats(size: Curve, beats: Sequence[Beat]) -> Float[np.ndarray, "beats"]:
    """LVEF of each beat from a curve of volumes (or of areas)."""
    ed, es = (np.array([getattr(beat, phase) for beat in beats], int) for phase in ("ed", "es"))
    return lvef(size[ed], size[es])


def pool_lvef(lvef_percent: Float[np.ndarray, "beats"], beats: Sequence[Beat]) -> float:
    """A video's LVEF: the median over its beats, those that are cut left out unless all are; nan without beats."""
    is_whole = np.array([not beat.is_cut for beat in beats], bool)
    used = np.asarray(lvef_percent)[is_whole if is_whole.any() else slice(None)]
    used = used[np.isfinite(used)]
    return float(np.median(used)) if len(used) else float("nan")
