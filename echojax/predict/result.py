"""A prediction as JSON (docs/result.schema.json says what each field means) and as a row of a table.

Volumes in mL and in the clip's pixels cubed have names of their own, of which one is always null.
"""

import dataclasses
import math
from typing import Any

import numpy as np

import echojax
from echojax.predict.measurement import MeasuredBeat
from echojax.predict.prediction import Prediction

SCHEMA = "echojax.predict/2"
DISCLAIMER = "Research use only, not a medical device."
METHOD = (
    "LVEF = 100 (EDV - ESV) / EDV by the monoplane method of discs (Simpson's rule, 20 discs) on one apical view, "
    "median over the beats shown whole; then corrected for the network's bias on the clips it was calibrated on, if any"
)
# Columns of results.csv, in order.
COLUMNS = (
    "name",
    "status",
    "lvef_percent",
    "lvef_low_percent",
    "lvef_high_percent",
    "interval_level",
    "area_length_lvef_percent",
    "direct_regression_lvef_percent",
    "uncorrected_lvef_percent",
    "edv_ml",
    "esv_ml",
    "edv_px3",
    "esv_px3",
    "num_beats",
    "heart_rate_bpm",
    "num_frames",
    "fps",
    "fps_source",
    "flags",
    "reason",
)


def to_json(prediction: Prediction) -> dict[str, Any]:
    """The content of `result.json`; numbers are rounded to what they can mean, unknown ones are None."""
    measurement, interval = prediction.measurement, prediction.interval
    has_interval = interval.low is not None
    content = {
        "schema": SCHEMA,
        "disclaimer": DISCLAIMER,
        "echojax_version": echojax.__version__,
        "name": prediction.clip.name,
        "lvef_percent": {
            "value": prediction.lvef_percent,
            "uncorrected": measurement.lvef_percent,
            "correction": prediction.correction and dataclasses.asdict(prediction.correction),
            "interval": [interval.low, interval.high] if has_interval else None,
            "level": interval.level if has_interval else None,
            "calibrated_on": interval.calibrated_on,
            "interval_missing_because": interval.reason,
            "method": METHOD,
        },
        "lvef_by_method_percent": {
            "simpson": measurement.pooled_percent("simpson"),
            "area_length": measurement.pooled_percent("area_length"),
            "direct_regression": _mean(measurement.regression_percent),
        },
        "fac_percent": measurement.pooled_percent("area"),
        "disagreement_points": _disagreement(prediction),
        "volumes": _volumes(prediction),
        "heart_rate_bpm": prediction.heart_rate_bpm,
        "beats": [_beat(prediction, beat) for beat in measurement.beats],
        "flags": [flag._asdict() for flag in prediction.flags],
        "clip": _clip(prediction),
        "curves": _curves(prediction),
        "networks": {**prediction.networks, "num_views": prediction.num_views},
    }
    return _rounded(content)


def to_row(prediction: Prediction) -> dict[str, Any]:
    """A row of `results.csv`; unknown values are None."""
    content = to_json(prediction)
    lvef, methods, clip = content["lvef_percent"], content["lvef_by_method_percent"], content["clip"]
    low, high = lvef["interval"] or (None, None)
    return {
        "name": content["name"],
        "status": "ok",
        "lvef_percent": lvef["value"],
        "lvef_low_percent": low,
        "lvef_high_percent": high,
        "interval_level": lvef["level"],
        "area_length_lvef_percent": methods["area_length"],
        "direct_regression_lvef_percent": methods["direct_regression"],
        "uncorrected_lvef_percent": lvef["uncorrected"],
        **{name: content["volumes"][name] for name in ("edv_ml", "esv_ml", "edv_px3", "esv_px3")},
        "num_beats": len(content["beats"]),
        "heart_rate_bpm": content["heart_rate_bpm"],
        **{name: clip[name] for name in ("num_frames", "fps", "fps_source")},
        "flags": " ".join(dict.fromkeys(flag["kind"] for flag in content["flags"])),
        "reason": None,
    }


def failure_row(name: str, reason: str) -> dict[str, Any]:
    """The row of a file that gave no prediction."""
    return {**dict.fromkeys(COLUMNS), "name": name, "status": "failed", "reason": reason}


def _beat(prediction: Prediction, beat: MeasuredBeat) -> dict[str, Any]:
    times, is_metric = prediction.clip.frame_times_s, prediction.measurement.is_metric
    return {
        "ed_frame": beat.ed_frame,
        "es_frame": beat.es_frame,
        "ed_time_s": float(times[beat.ed_frame]),
        "es_time_s": float(times[beat.es_frame]),
        "is_cut": beat.is_cut,
        "is_used": beat.is_used,
        "lvef_percent": {"simpson": beat.simpson_lvef_percent, "area_length": beat.area_length_lvef_percent},
        **_in_unit("edv", beat.edv, is_metric, ("ml", "px3")),
        **_in_unit("esv", beat.esv, is_metric, ("ml", "px3")),
        **_in_unit("ed_length", beat.ed_length, is_metric, ("cm", "px")),
        **_in_unit("es_length", beat.es_length, is_metric, ("cm", "px")),
    }


def _volumes(prediction: Prediction) -> dict[str, Any]:
    """Medians over the beats that count."""
    used = prediction.measurement.used_beats
    edv, esv = (float(np.median([getattr(beat, name) for beat in used])) if used else None for name in ("edv", "esv"))
    is_metric = prediction.measurement.is_metric
    return {**_in_unit("edv", edv, is_metric, ("ml", "px3")), **_in_unit("esv", esv, is_metric, ("ml", "px3"))}


def _clip(prediction: Prediction) -> dict[str, Any]:
    clip, sector = prediction.clip, prediction.sector
    num_frames, height, width = clip.frames.shape[:3]
    return {
        "kind": clip.kind,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "fps": clip.fps,
        "fps_source": clip.fps_source,
        "spacing_cm": list(clip.spacing_cm) if clip.spacing_cm else None,
        "spacing_source": clip.spacing_source,
        "sector": {**sector.window._asdict(), "is_whole_picture": sector.is_whole_picture},
    }


def _curves(prediction: Prediction) -> dict[str, Any]:
    curves, is_metric = prediction.measurement.function.curves, prediction.measurement.is_metric
    return {
        "time_s": prediction.clip.frame_times_s.tolist(),
        **_in_unit("area", curves.area.tolist(), is_metric, ("cm2", "px2")),
        **_in_unit("length", curves.length.tolist(), is_metric, ("cm", "px")),
        **_in_unit("volume", curves.simpson_volume.tolist(), is_metric, ("ml", "px3")),
    }


def _disagreement(prediction: Prediction) -> dict[str, Any] | None:
    disagreement = prediction.measurement.disagreement
    if disagreement is None:
        return None
    return {name: getattr(disagreement, name) for name in ("beats", "methods", "views", "scale")}


def _in_unit(name: str, value: Any, is_metric: bool, units: tuple[str, str]) -> dict[str, Any]:
    """The value under the name of its own unit, None under that of the other."""
    metric, pixels = (f"{name}_{unit}" for unit in units)
    return {metric: value if is_metric else None, pixels: None if is_metric else value}


def _mean(values: np.ndarray | None) -> float | None:
    return None if values is None else float(values.mean())


def _rounded(value: Any) -> Any:
    """Floats with five significant digits and None for those that are not finite, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
