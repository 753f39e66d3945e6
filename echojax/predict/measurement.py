"""From the frames of a clip to the ventricle's volumes over time, its beats and LVEF.

    sector -> network's size -> masks, one piece per frame -> areas, lengths, volumes -> beats -> LVEF

Everything is measured on probabilities at the network's size, where borders lie between pixels, but in the clip's own
units: centimetres where the clip's spacing is known, the clip's pixels where not.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from echojax import lv
from echojax.predict.interval import Disagreement
from echojax.predict.networks import Regression, Segmentation
from echojax.predict.views import VIEWS, View, segment_view, to_probabilities
from echojax.reading import Clip
from echojax.sector import Sector, resample, resampled_spacing


@dataclasses.dataclass(frozen=True)
class MeasuredBeat:
    """One beat; volumes and lengths are smoothed over time and in the units of its `Measurement`.

    `is_used`: counts for the pooled LVEF; cut beats only do where there are no others.
    """

    ed_frame: int
    es_frame: int
    is_cut: bool
    is_used: bool
    simpson_lvef_percent: float
    area_length_lvef_percent: float
    edv: float
    esv: float
    ed_length: float
    es_length: float


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What the masks of a clip say.

    Attributes:
      probabilities: of the left ventricle at the network's size, one piece per frame.
      raw_probabilities: the same before all but the largest piece was removed.
      is_metric: units are cm, cm² and mL; else the clip's own pixels, pixels² and pixels³.
      function: curves and beats.
      beats: with their volumes and LVEF.
      disagreement: None where there is no beat.
      regression_percent: LVEF of clips by direct regression; None without an EF network.
    """

    probabilities: Float[np.ndarray, "t s s"]
    raw_probabilities: Float[np.ndarray, "t s s"]
    is_metric: bool
    function: lv.HeartFunction
    beats: tuple[MeasuredBeat, ...]
    disagreement: Disagreement | None
    regression_percent: Float[np.ndarray, "n"] | None

    @property
    def lvef_percent(self) -> float | None:
        """Simpson's LVEF, pooled over beats; None without beats."""
        return self.pooled_percent("simpson")

    def pooled_percent(self, method: str) -> float | None:
        """Pooled LVEF by a method of `echojax.lv`; None without beats."""
        value = self.function.pooled_lvef_percent[method]
        return float(value) if np.isfinite(value) else None

    @property
    def used_beats(self) -> list[MeasuredBeat]:
        return [beat for beat in self.beats if beat.is_used]


def measure_clip(
    clip: Clip, sector: Sector, segmentation: Segmentation, regression: Regression | None = None, num_views: int = 3
) -> Measurement:
    """Segments and measures a clip; see the module's docstring.

    Args:
      num_views: how many readings of LVEF are compared, 1 to 5: of the clip as it is, and of slightly changed copies.
    """
    size = segmentation.size
    frames = resample(clip.frames, sector, size)
    logits = segmentation.segment(frames)
    raw = to_probabilities(logits)
    probabilities = lv.clean_masks(raw)
    spacing = _spacing(clip, sector, size)
    function = lv.measure_function(probabilities, clip.fps, spacing)
    beats = _measure_beats(function, clip.fps)

    def read_view(view: View) -> float:
        return _lvef_of_view(view, frames, segmentation, function, clip.fps, spacing)

    return Measurement(
        probabilities,
        raw,
        clip.spacing_cm is not None,
        function,
        beats,
        _disagreement(function, beats, read_view, num_views),
        None if regression is None else _regress(regression, clip, sector, frames, logits),
    )


def _spacing(clip: Clip, sector: Sector, size: int) -> tuple[float, float]:
    """Size of a pixel of the network's picture: in cm where the clip's is known, else in the clip's pixels."""
    return resampled_spacing(clip.spacing_cm or (1.0, 1.0), sector, size)


def _measure_beats(function: lv.HeartFunction, fps: float) -> tuple[MeasuredBeat, ...]:
    volume, length = (lv.smooth_curve(c, fps) for c in (function.curves.simpson_volume, function.curves.length))
    some_whole = any(not beat.is_cut for beat in function.beats)
    columns = zip(function.beats, function.lvef_percent["simpson"], function.lvef_percent["area_length"], strict=True)
    return tuple(
        MeasuredBeat(
            beat.ed,
            beat.es,
            beat.is_cut,
            not (beat.is_cut and some_whole),
            float(simpson),
            float(area_length),
            *(float(curve[frame]) for curve in (volume, length) for frame in (beat.ed, beat.es)),
        )
        for beat, simpson, area_length in columns
    )


def _disagreement(
    function: lv.HeartFunction, beats: tuple[MeasuredBeat, ...], read_view: Callable[[View], float], num_views: int
) -> Disagreement | None:
    pooled = function.pooled_lvef_percent
    if not np.isfinite(pooled["simpson"]):
        return None
    lvef_of_views = np.array([pooled["simpson"], *map(read_view, VIEWS[1:num_views])])
    return Disagreement(
        beats=float(np.nanstd([beat.simpson_lvef_percent for beat in beats if beat.is_used])),
        methods=abs(pooled["simpson"] - pooled["area_length"]),
        views=float(np.nanstd(lvef_of_views)),
    )


def _lvef_of_view(
    view: View, frames: np.ndarray, segmentation: Segmentation, function: lv.HeartFunction, fps: float, spacing
) -> float:
    """LVEF of a view at the beats of the clip as it is: what is asked is how sure the volumes are, not the frames.

    Only frames that smoothing mixes into the volumes at ED and ES are looked at.
    """
    beats, volume = function.beats, function.curves.simpson_volume.copy()
    used = [beat for beat in beats if not beat.is_cut] or beats
    near = lv.smoothing_neighbours(np.array([(beat.ed, beat.es) for beat in used]).ravel(), len(volume), fps)
    if segmentation.is_recurrent:
        probabilities = segment_view(segmentation.segment, frames, view)[near]
    else:
        probabilities = segment_view(segmentation.segment, frames[near], view)
    volume[near] = lv.measure_frames(probabilities, spacing).simpson_volume
    return lv.pool_lvef(lv.lvef_of_beats(lv.smooth_curve(volume, fps), beats), beats)


def _regress(regression: Regression, clip: Clip, sector: Sector, frames: np.ndarray, logits: np.ndarray) -> np.ndarray:
    if regression.size != len(frames[0]):
        frames = resample(clip.frames, sector, regression.size)
    return regression.regress(frames, logits)
