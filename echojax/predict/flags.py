"""What is doubtful about a prediction, in plain words.

Thresholds were set on phantoms and looked at on real videos; they warn, they do not decide. A flag of `VOIDING` takes
the interval away: what was calibrated on whole apical views says nothing of such a clip.
"""

from collections.abc import Iterator

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from echojax import clips, lv
from echojax.predict.measurement import Measurement
from echojax.reading import Clip, Flag
from echojax.sector import Sector, resample

VOIDING = ("no_beat", "not_apical", "still", "unclear_sector")

# One slow beat lasts a second; fewer frames than these cannot show how it moves.
MIN_SECONDS, MIN_FRAMES = 0.8, 16
MIN_FPS = 20.0
# An apical ventricle's share of the sector; the share of frames without one; of area outside its largest piece.
VENTRICLE_SHARE = (0.015, 0.4)
MAX_EMPTY_SHARE, MAX_LOST_SHARE = 0.3, 0.05
MAX_SCATTERED_SHARE = 0.15
# The long axis of an apical view points at the probe; in parasternal views it lies across.
MAX_AXIS_ANGLE_DEGREES = 55.0
# Length over greatest width at ED; 1.6 to 2.2 in most hearts.
MIN_LENGTH_OVER_WIDTH = 1.3
# Share of the ventricle's border, its base aside, that lies on the sector's edge.
MAX_BORDER_ON_EDGE = 0.12
# (wall - cavity) / (wall + cavity), of mean grey levels; the wall is what lies around within this share of the side.
MIN_CONTRAST, WALL_SHARE = 0.2, 0.05
MAX_BEATS_SD_POINTS, MAX_REGRESSION_POINTS = 8.0, 12.0
SAMPLED_FRAMES = 12


def find_flags(clip: Clip, sector: Sector, measurement: Measurement) -> tuple[Flag, ...]:
    """All flags of a clip: of its file, its sector and its measurement."""
    own = [*_check_time(clip), *_check_beats(measurement), *_check_ventricle(clip, sector, measurement)]
    return (*clip.flags, *sector.flags, *own)


def _check_time(clip: Clip) -> Iterator[Flag]:
    num_frames = len(clip.frames)
    seconds = float(clip.frame_times_s[-1] - clip.frame_times_s[0]) + 1 / clip.fps
    if seconds < MIN_SECONDS or num_frames < MIN_FRAMES:
        yield Flag("too_few_frames", f"only {num_frames} frames, {seconds:.1f} s: a whole beat may not be shown")
    if clip.fps < MIN_FPS:
        text = f"only {clip.fps:.0f} frames per second: end systole may fall between two frames"
        yield Flag("low_frame_rate", text)


def _check_beats(measurement: Measurement) -> Iterator[Flag]:
    if measurement.disagreement is None:
        yield Flag("no_beat", "no beat found: the ventricle's area does not rise and fall as in a heart cycle")
        return
    if all(beat.is_cut for beat in measurement.beats):
        yield Flag("only_cut_beats", "no beat is shown whole: ED or ES is the first or last frame and may lie outside")
    spread = measurement.disagreement.beats
    if spread > MAX_BEATS_SD_POINTS:
        text = f"beats differ: the standard deviation of their LVEF is {spread:.0f} points"
        yield Flag("beats_differ", text)
    if measurement.regression_percent is not None:
        distance = abs(float(measurement.regression_percent.mean()) - measurement.lvef_percent)
        if distance > MAX_REGRESSION_POINTS:
            text = f"direct regression and Simpson's method differ by {distance:.0f} points"
            yield Flag("regression_differs", text)


def _check_ventricle(clip: Clip, sector: Sector, measurement: Measurement) -> Iterator[Flag]:
    masks = measurement.probabilities > 0.5
    area = masks.sum((1, 2))
    empty_share = float((area == 0).mean())
    if empty_share > MAX_EMPTY_SHARE:
        text = f"not an apical view, it seems: no ventricle was found in {100 * empty_share:.0f} % of the frames"
        yield Flag("not_apical", text)
        return
    if empty_share > MAX_LOST_SHARE:
        yield Flag("lost_frames", f"no ventricle was found in {100 * empty_share:.0f} % of the frames")
    sampled = np.flatnonzero(area)[:: max(1, int((area > 0).sum()) // SAMPLED_FRAMES)]
    inside = _sector_at(sector, masks.shape[-1])
    strange = list(_find_strange(measurement, masks, sampled, inside))
    if strange:
        yield Flag("not_apical", f"not an apical view, it seems: {'; '.join(strange)}")
    yield from _check_shape(measurement)
    on_edge = np.median([_border_on_edge(masks[frame], inside) for frame in sampled])
    if on_edge > MAX_BORDER_ON_EDGE:
        text = f"the ventricle is cut: {100 * on_edge:.0f} % of its border lie on the sector's edge"
        yield Flag("cut_ventricle", text)
    grey = clips.to_gray(resample(clip.frames[sampled], sector, masks.shape[-1]))
    contrast = np.median([_contrast(*of_frame, inside) for of_frame in zip(grey, masks[sampled], strict=True)])
    if contrast < MIN_CONTRAST:
        yield Flag("poor_contrast", f"poor contrast of cavity and wall: {contrast:.2f} on a scale from 0 to 1")


def _find_strange(measurement: Measurement, masks: np.ndarray, sampled: np.ndarray, inside: np.ndarray):
    """In what the masks do not behave like an apical ventricle."""
    share = float(np.median(masks[sampled].sum((1, 2)))) / inside.sum()
    if not VENTRICLE_SHARE[0] <= share <= VENTRICLE_SHARE[1]:
        yield f"the ventricle fills {100 * share:.0f} % of the sector"
    raw = (measurement.raw_probabilities[sampled] > 0.5).sum((1, 2))
    scattered = 1 - float(np.median(masks[sampled].sum((1, 2)) / np.maximum(raw, 1)))
    if scattered > MAX_SCATTERED_SHARE:
        yield f"{100 * scattered:.0f} % of what was found lies apart from the ventricle"
    axis = lv.long_axis(measurement.probabilities[sampled])
    across, down = np.abs(axis.base - axis.apex).T
    angle = float(np.degrees(np.median(np.arctan2(across, down))))
    if angle > MAX_AXIS_ANGLE_DEGREES:
        yield f"the long axis lies {angle:.0f}° from the direction of the probe"


def _check_shape(measurement: Measurement) -> Iterator[Flag]:
    used = measurement.used_beats
    if not used:
        return
    ed_masks = measurement.probabilities[[beat.ed_frame for beat in used]]
    diameters, length = lv.disc_diameters(ed_masks)
    ratio = float(np.median(length / diameters.max(-1)))
    if ratio < MIN_LENGTH_OVER_WIDTH:
        text = f"foreshortened view, or a very round heart: at ED the ventricle is {ratio:.1f} times as long as wide"
        yield Flag("foreshortening", text)
    elif np.median([beat.es_length / beat.ed_length for beat in used]) > 1:
        yield Flag("foreshortening", "foreshortened view, it seems: the ventricle is longer at ES than at ED")


def _sector_at(sector: Sector, size: int) -> Bool[np.ndarray, "s s"]:
    """Where the network's picture shows ultrasound."""
    shown = np.where(sector.mask, np.uint8(255), np.uint8(0))
    return resample(shown[None, ..., None], sector, size)[0, ..., 0] > 127


def _border_on_edge(mask: Bool[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"]) -> float:
    border = mask & ~scipy.ndimage.binary_erosion(mask)
    # Beyond the picture nothing is shown, either.
    edge = inside & ~scipy.ndimage.binary_erosion(inside, iterations=2)
    return float((border & (edge | ~inside)).sum() / border.sum())


def _contrast(
    grey: UInt8[np.ndarray, "s s"], mask: Bool[np.ndarray, "s s"], inside: Bool[np.ndarray, "s s"]
) -> Float[np.ndarray, ""]:
    reach = max(1, round(WALL_SHARE * len(mask)))
    wall = scipy.ndimage.binary_dilation(mask, iterations=reach) & ~mask & inside
    if not wall.any():
        return np.float64(0)
    bright, dark = grey[wall].mean(), grey[mask].mean()
    return (bright - dark) / max(1.0, bright + dark)
