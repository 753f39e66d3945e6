"""What a left-ventricular mask or tracing means: areas, axes, volumes, beats, LVEF. NumPy and SciPy only.

>>> from echojax import lv
>>> volume_ml = lv.simpson_volume(masks, spacing_cm=0.12)
>>> function = lv.measure_function(masks, fps=50)
>>> function.beats, function.pooled_lvef_percent["simpson"]
"""

from echojax.lv.beats import Beat, PhaseFrames, find_beats, find_phases, main_beat
from echojax.lv.cleaning import clean_masks
from echojax.lv.curves import VentricleCurves, bridge_bad_frames, measure_frames, smooth_curve, smoothing_neighbours
from echojax.lv.ejection import (
    HeartFunction,
    area_lvef,
    lvef,
    lvef_of_beats,
    measure_function,
    pool_lvef,
)
from echojax.lv.shape import LongAxis, disc_chords, disc_diameters, long_axis
from echojax.lv.tracing import EdEs, area_px, ed_es_tracings, fill_polygon, mask_from_tracing
from echojax.lv.volume import area_length_volume, disc_volume, simpson_volume

__all__ = [
    "Beat",
    "EdEs",
    "HeartFunction",
    "LongAxis",
    "PhaseFrames",
    "VentricleCurves",
    "area_length_volume",
    "area_lvef",
    "area_px",
    "bridge_bad_frames",
    "clean_masks",
    "disc_chords",
    "disc_diameters",
    "disc_volume",
    "ed_es_tracings",
    "fill_polygon",
    "find_beats",
    "find_phases",
    "long_axis",
    "lvef",
    "lvef_of_beats",
    "main_beat",
    "mask_from_tracing",
    "measure_frames",
    "measure_function",
    "pool_lvef",
    "simpson_volume",
    "smooth_curve",
    "smoothing_neighbours",
]
