"""What a left-ventricular mask or tracing means: areas, end diastole and end systole, volumes. NumPy only."""

from echojax.lv.tracing import EdEs, area_px, ed_es_tracings, fill_polygon, mask_from_tracing
from echojax.lv.volume import disc_volume

__all__ = ["EdEs", "area_px", "disc_volume", "ed_es_tracings", "fill_polygon", "mask_from_tracing"]
