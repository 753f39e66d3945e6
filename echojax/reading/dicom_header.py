"""What a DICOM's header says of frame times and pixel sizes, read with the distrust it deserves.

Only elements of geometry and time are looked at; none that names a person, place, date or identifier.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from echojax.reading.clip import (
    PLAUSIBLE_DEPTH_CM,
    UNKNOWN_SPACING,
    Flag,
    Region,
    Spacing,
    Times,
    assumed_times,
    even_times,
    is_plausible_fps,
)

# PS3.3 C.8.5.5: Region Spatial Format, Region Data Type and Physical Units.
_TWO_DIMENSIONAL, _TISSUE, _COLOUR_FLOW, _CENTIMETRES = 1, 1, 2, 3
# Frame Increment Pointer: the element that says when frames were taken.
_FRAME_TIME_VECTOR_TAG = 0x00181065
# Times of single frames are measured by some machines to the millisecond only.
_UNEVEN_MS = 1.5


class UltrasoundRegion(NamedTuple):
    """One item of Sequence of Ultrasound Regions."""

    place: Region
    data_type: int
    spacing_cm: tuple[float, float] | None  # None: not in centimetres, or not positive

    @property
    def area_px(self) -> int:
        return (self.place.bottom - self.place.top) * (self.place.right - self.place.left)


def read_times(dataset: Any, num_frames: int) -> Times:
    """Times of the frames: Frame Time Vector if the Frame Increment Pointer names it or nothing else is there, else
    Frame Time, Cine Rate, Recommended Display Frame Rate; else guessed."""
    vector, frame_time_ms = _numbers(dataset, "FrameTimeVector"), _number(dataset, "FrameTime")
    flags: tuple[Flag, ...] = ()
    if vector and (_points_to_vector(dataset) or not frame_time_ms > 0):
        times = _vector_times(vector, num_frames)
        if times is not None:
            return times
        text = f"FrameTimeVector has {len(vector)} values that do not fit {num_frames} frames and is not used"
        flags = (Flag("frame_times_unusable", text),)
    if frame_time_ms > 0:
        return even_times(num_frames, 1000 / frame_time_ms, "FrameTime", flags)
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        fps = _number(dataset, keyword)
        if fps > 0:
            return even_times(num_frames, fps, keyword, flags)
    times = assumed_times(num_frames)
    return times._replace(flags=(*flags, *times.flags))


def read_spacing(dataset: Any, height: int, width: int) -> Spacing:
    """The size of a pixel in the largest region of two-dimensional tissue, else from Pixel Spacing.

    A region that reaches beyond the picture tells that the picture was shrunk or cropped after the header was written;
    which of the two cannot be known, so that its spacing is not used.
    """
    regions = list(_regions(dataset))
    flags = _region_flags(regions)
    tissue = [r for r in regions if r.data_type == _TISSUE] or [r for r in regions if r.data_type == _COLOUR_FLOW]
    if not tissue:
        spacing = _pixel_spacing(dataset, height)
        return spacing._replace(flags=(*flags, *spacing.flags))
    largest = max(tissue, key=lambda region: region.area_px)
    place = largest.place
    problem = _problem(largest, height, width)
    if problem:
        return Spacing(None, None, None, (*flags, Flag("spacing_implausible", f"{problem}; its spacing is not used")))
    place = Region(place.top, place.left, min(place.bottom, height), min(place.right, width))
    return Spacing(largest.spacing_cm, "SequenceOfUltrasoundRegions", place, flags)


def other_flags(dataset: Any) -> tuple[Flag, ...]:
    """What else the header says against a clip: another modality, text burnt into the picture."""
    flags = []
    if dataset.get("Modality") not in ("US", "IVUS", "", None):
        flags.append(Flag("not_ultrasound", "the header does not say that this is ultrasound"))
    if str(dataset.get("BurnedInAnnotation", "") or "") == "YES":
        flags.append(Flag("burnt_in_text", "the header says that text is burnt into the picture, possibly a name"))
    return tuple(flags)


def _points_to_vector(dataset: Any) -> bool:
    pointer = dataset.get("FrameIncrementPointer")
    tags = pointer if isinstance(pointer, Iterable) and not isinstance(pointer, str | bytes) else [pointer]
    return any(tag == _FRAME_TIME_VECTOR_TAG for tag in tags)


def _vector_times(steps_ms: list[float], num_frames: int) -> Times | None:
    """Times from the milliseconds between frames, of which the first is 0; None where they make no sense."""
    if len(steps_ms) == num_frames - 1:
        # Some machines leave out the first, which is always 0.
        steps_ms = [0.0, *steps_ms]
    steps = np.array(steps_ms[1:])
    if len(steps_ms) != num_frames or steps.size == 0 or not np.all(np.isfinite(steps)) or steps.min() <= 0:
        return None
    usual = float(np.median(steps))
    if not is_plausible_fps(1000 / usual):
        return None
    flags = ()
    if np.ptp(steps) > 2 * _UNEVEN_MS:
        text = f"the time between frames varies, from {steps.min():.0f} to {steps.max():.0f} ms"
        flags = (Flag("frame_times_vary", text),)
    return Times(np.concatenate([[0.0], np.cumsum(steps)]) / 1000, 1000 / usual, "FrameTimeVector", flags)


def _regions(dataset: Any) -> Iterable[UltrasoundRegion]:
    """The two-dimensional regions; those whose rectangle is damaged are left out."""
    sequence = dataset.get("SequenceOfUltrasoundRegions")
    for item in sequence if isinstance(sequence, Iterable) else ():
        corners = [_number(item, f"RegionLocation{corner}") for corner in ("MinY0", "MinX0", "MaxY1", "MaxX1")]
        if _number(item, "RegionSpatialFormat") != _TWO_DIMENSIONAL or not all(map(math.isfinite, corners)):
            continue
        top, left, bottom, right = map(int, corners)
        if top < bottom and left < right and min(top, left) >= 0:
            data_type = _number(item, "RegionDataType")
            place = Region(top, left, bottom + 1, right + 1)
            yield UltrasoundRegion(place, int(data_type) if math.isfinite(data_type) else 0, _delta_cm(item))


def _delta_cm(item: Any) -> tuple[float, float] | None:
    deltas = _number(item, "PhysicalDeltaY"), _number(item, "PhysicalDeltaX")
    units = _number(item, "PhysicalUnitsYDirection"), _number(item, "PhysicalUnitsXDirection")
    is_usable = units == (_CENTIMETRES, _CENTIMETRES) and all(math.isfinite(delta) and delta > 0 for delta in deltas)
    return deltas if is_usable else None


def _region_flags(regions: list[UltrasoundRegion]) -> tuple[Flag, ...]:
    flags = []
    num_tissue = sum(region.data_type == _TISSUE for region in regions)
    if num_tissue > 1:
        text = f"the picture shows {num_tissue} two-dimensional views; the largest is taken"
        flags.append(Flag("several_regions", text))
    if any(region.data_type == _COLOUR_FLOW for region in regions):
        flags.append(Flag("colour_doppler", "the header says that colour Doppler lies over the tissue"))
    return tuple(flags)


def _problem(region: UltrasoundRegion, height: int, width: int) -> str | None:
    """Why the spacing of a region cannot be right, if so."""
    place = region.place
    if region.spacing_cm is None:
        return "the ultrasound region is not given in positive centimetres"
    # One row or column too many is a usual way to count.
    if place.bottom > height + 1 or place.right > width + 1:
        return (
            f"the ultrasound region ({place.left}..{place.right} x {place.top}..{place.bottom}) reaches beyond the "
            f"picture of {width}x{height}, which was shrunk or cropped"
        )
    depth_cm = (place.bottom - place.top) * region.spacing_cm[0]
    if not PLAUSIBLE_DEPTH_CM[0] <= depth_cm <= PLAUSIBLE_DEPTH_CM[1]:
        return f"the header makes the ultrasound region {depth_cm:.3g} cm deep, which cannot be"
    if not 1 / 3 <= region.spacing_cm[0] / region.spacing_cm[1] <= 3:
        return "the header's pixels are more than three times as long as wide"
    return None


def _pixel_spacing(dataset: Any, height: int) -> Spacing:
    """Pixel Spacing in millimetres, as secondary captures and converted files have it."""
    values = _numbers(dataset, "PixelSpacing")
    if len(values) != 2 or min(values) <= 0:
        return UNKNOWN_SPACING
    spacing_cm = values[0] / 10, values[1] / 10
    if not PLAUSIBLE_DEPTH_CM[0] <= height * spacing_cm[0] <= PLAUSIBLE_DEPTH_CM[1]:
        text = f"PixelSpacing makes the picture {height * spacing_cm[0]:.3g} cm high, which cannot be; it is not used"
        return Spacing(None, None, None, (Flag("spacing_implausible", text),))
    return Spacing(spacing_cm, "PixelSpacing", None, ())


def _numbers(dataset: Any, keyword: str) -> list[float]:
    """The finite numbers of an element; empty where it is missing or one of them is no number."""
    try:
        value = dataset.get(keyword)
        if value is None or isinstance(value, bytes):
            return []
        values = [value] if isinstance(value, str | int | float) else list(value)
        numbers = [float(item) for item in values]
    # Values are converted when they are asked for; what a damaged one raises is up to its type.
    except (ValueError, TypeError, OverflowError, AttributeError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _number(dataset: Any, keyword: str) -> float:
    """A single finite number, or NaN."""
    numbers = _numbers(dataset, keyword)
    return numbers[0] if len(numbers) == 1 else math.nan
