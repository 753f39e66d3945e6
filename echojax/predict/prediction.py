"""One clip's prediction: measurement, interval and flags, and what is needed to show them."""

import dataclasses

import numpy as np

from echojax.predict.flags import VOIDING, find_flags
from echojax.predict.interval import Correction
from echojax.predict.measurement import Measurement, measure_clip
from echojax.predict.networks import Regression, Segmentation
from echojax.reading import Clip, Flag
from echojax.sector import Sector, find_sector

DEFAULT_VIEWS = 3
DEFAULT_LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """Low and high end of LVEF in percent.

    Attributes:
      low, high: None where there is no interval; `reason` then says why and is None otherwise.
      level: probability with which intervals of this kind hold the truth.
      calibrated_on: in words; None without a calibration.
    """

    low: float | None
    high: float | None
    level: float
    calibrated_on: str | None
    reason: str | None


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What `echojax predict` finds in a clip.

    Attributes:
      clip, sector: what was looked at.
      measurement: volumes, beats, LVEF.
      correction: of LVEF as read from the masks; None for a network without calibration.
      interval: of corrected LVEF.
      flags: what is doubtful.
      networks: {"segmentation": description, "ef": description or None}.
      num_views: how many readings of LVEF were compared for the interval; see `measure_clip`.
    """

    clip: Clip
    sector: Sector
    measurement: Measurement
    correction: Correction | None
    interval: Interval
    flags: tuple[Flag, ...]
    networks: dict
    num_views: int

    @property
    def lvef_percent(self) -> float | None:
        """Simpson's LVEF pooled over beats, corrected where the network is calibrated; None where no beat was found."""
        read = self.measurement.lvef_percent
        return read if read is None or self.correction is None else self.correction(read)

    @property
    def is_voided(self) -> bool:
        """Whether a flag says that the clip is not of the kind that intervals are calibrated on."""
        return any(flag.kind in VOIDING for flag in self.flags)

    @property
    def heart_rate_bpm(self) -> float | None:
        """From the times between successive ES, or ED where there are not two ES; ends of the clip do not count."""
        times, last = self.clip.frame_times_s, len(self.clip.frames) - 1
        for phase in ("es_frame", "ed_frame"):
            frames = [getattr(beat, phase) for beat in self.measurement.beats]
            inner = [frame for frame in frames if 0 < frame < last]
            if len(inner) > 1:
                return float(60 / np.median(np.diff(times[inner])))
        return None


def predict_clip(
    clip: Clip,
    segmentation: Segmentation,
    regression: Regression | None = None,
    num_views: int = DEFAULT_VIEWS,
    level: float = DEFAULT_LEVEL,
) -> Prediction:
    """Measures a clip, says how sure that is and what is doubtful about it.

    Args:
      clip: from `echojax.reading.read_clip`.
      num_views: see `measure_clip`.
      level: of the interval; one that was calibrated.

    Raises:
      UserError: no ultrasound sector can be found.
    """
    sector = find_sector(clip.frames, clip.region, clip.spacing_cm, name=clip.name)
    measurement = measure_clip(clip, sector, segmentation, regression, num_views)
    flags = find_flags(clip, sector, measurement)
    correction = segmentation.calibration and segmentation.calibration.correction
    interval = _find_interval(measurement, flags, segmentation, num_views, level)
    networks = {"segmentation": segmentation.description, "ef": regression and regression.description}
    return Prediction(clip, sector, measurement, correction, interval, flags, networks, num_views)


def _find_interval(
    measurement: Measurement, flags: tuple[Flag, ...], segmentation: Segmentation, num_views: int, level: float
) -> Interval:
    calibration = segmentation.calibration
    calibrated_on = calibration and calibration.calibrated_on
    voiding = [flag.text for flag in flags if flag.kind in VOIDING]
    reason = None
    if calibration is None:
        reason = segmentation.why_uncalibrated
    elif calibration.num_views != num_views:
        reason = f"the network was calibrated with {calibration.num_views} views of a clip, not {num_views}"
    elif voiding:
        reason = f"the clip is not of the kind that was calibrated on: {voiding[0]}"
    if reason is not None:
        return Interval(None, None, level, calibrated_on, reason)
    lvef_percent = calibration.correction(measurement.lvef_percent)
    low, high = calibration.interval(lvef_percent, measurement.disagreement, level)
    return Interval(low, high, level, calibrated_on, None)
