"""Where a clip of any size shows ultrasound, and its way to a network's size and back.

    sector = find_sector(clip.frames, clip.region, clip.spacing_cm)
    frames = resample(clip.frames, sector, 112)                  # what the network sees
    masks = restore_masks(probabilities, sector)                 # bool, at the clip's own size
    spacing_cm = resampled_spacing(clip.spacing_cm, sector, 112)

Text, ECG, colour bars and menus lie outside the sector and are blacked out. The sector is brought to where it lies in
EchoNet-Dynamic's 112x112 videos: apex 8 pixels below the upper edge, lower arc just beyond the lower edge, sides cut
where they are wider. A clip that is such a crop already is left as it is, pixel for pixel.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, UInt8

from echojax import video
from echojax.errors import UserError
from echojax.fan import Fan, fit_fan, largest_piece
from echojax.reading.clip import Flag, Region

MAX_SAMPLED_FRAMES = 48
FIT_SIDE_PX = 112
# Standard deviation over time, in grey levels, from which a pixel moves: at least, at most, and between these in units
# of what compression does to the stillest part of the picture.
MOVING_LEVELS = (0.4, 1.2)
MOVING_OVER_NOISE = 4.0
# Compression makes still letters and bars flicker, but by less than this share of their grey level, and so the ground
# beside them, within the reach of a codec's blocks. Still is what flickers by less than the second share; in a lossless
# recording the typical bright still pixel does not flicker by as much as the third.
MIN_FLICKER, STILL_FLICKER, COMPRESSION_FLICKER = 0.02, 0.03, 0.002
BLOCK_REACH_PX = 8
# Echoes are grey. A moving pixel counts for nothing from this saturation above what is usual where it moves, as in an
# ECG and in what compression smears around it.
COLOURED_SATURATION, DARK_LEVEL, SATURATION_NOISE = 0.25, 10, 16.0
# What compression spills over an edge moves, but is dark: a moving pixel counts in full from this share of the level
# that the upper quarter of the moving area has, within limits.
FULL_LEVEL_SHARE, FULL_LEVELS = 0.04, (0.5, 2.0)
BRIGHT_LEVEL = 24
# EchoNet-Dynamic: where the uppermost echo lies, and how much of the sector's height fits, in sides of the square.
TOP_MARGIN = 7 / 112
SIDE_PER_HEIGHT = 1.06
# A square picture whose edges the window misses by less than this, in its sides, is a crop of the sector already. A
# small one is no machine's screen: a window elsewhere in it only tells that part of the sector is black.
SNAP = 0.09
SMALL_SIDE_PX = 256
SMALL_SNAP = 0.35
MIN_AREA_SHARE = 0.04
MIN_EXPLAINED = 0.7
MIN_FILLED = 0.35
# Width of the upper tenth in widths of the whole: a fan's is small, a spectrum's or a linear probe's picture has 1.
MAX_TOP_WIDTH = 0.75
# EchoNet-Dynamic's crops show 60 to 85 % of their sectors.
MIN_SHOWN_SHARE = 0.55
# A window is doubtful where less of the fan moves, or less of what moves lies in the fan.
SURE_FILLED, SURE_EXPLAINED = 0.65, 0.88
MIN_LETTERS = 8
LETTER_LEVEL = 60
_COLOURED_SPREAD = 60
_TINTED_SPREAD = 25
_MIN_COLOURED_SHARE = 0.005
_HALF_LEVEL = 128


class Window(NamedTuple):
    """A rectangle of the clip's pixels, which may reach beyond the picture; as high as wide in centimetres."""

    top: int
    left: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Sector:
    """Where a clip shows ultrasound.

    Attributes:
      mask: bool (h, w) at the clip's size; all True where the clip is a crop of the sector already.
      window: what the network shall see.
      fan: the fitted fan in the clip's pixels, or None where the moving area is none.
      flags: what is doubtful: `cut_sector`, `no_fan`, `unclear_sector`, `still`, `colour_doppler`, `tinted`,
        `text_outside`.
    """

    mask: Bool[np.ndarray, "h w"]
    window: Window
    fan: Fan | None
    flags: tuple[Flag, ...]

    @property
    def is_whole_picture(self) -> bool:
        return self.window == (0, 0, *self.mask.shape) and bool(self.mask.all())


def find_sector(
    frames: UInt8[np.ndarray, "t h w c"],
    region: Region | None = None,
    spacing_cm: tuple[float, float] | None = None,
    name: str = "the clip",
) -> Sector:
    """Finds the ultrasound sector as the fan that explains best which pixels move.

    Args:
      frames: uint8 (t, h, w, c), c = 1 or 3.
      region: rectangle outside which nothing is looked for, where the file names one.
      spacing_cm: height and width of a pixel; where they differ, the window makes them equal.
      name: what an error calls the clip.

    Raises:
      UserError: no area of a sector's size moves or is bright.
    """
    height, width = frames.shape[1:3]
    moves, levels, is_still = _find_moving(frames)
    if region is not None:
        inside = np.zeros((height, width), bool)
        inside[region.top : region.bottom, region.left : region.right] = True
        moves &= inside
    evidence = _shrink((_weigh(moves, levels) * _greyness(frames, moves, levels))[None])[0]
    shape, fan = _find_shape(evidence, height, width)
    if shape is None or (fan is None and is_still):
        raise UserError(
            f"{name}: no ultrasound sector found in {len(frames)} frames of {width}x{height}: nothing as large as a "
            "sector moves; expected a two-dimensional clip of a beating heart"
        )
    aspect = 1.0 if spacing_cm is None else spacing_cm[0] / spacing_cm[1]
    window = _place_window(shape if fan is None else fan.mask(height, width), fan, aspect)
    flags = [Flag("still", "nothing in the clip moves")] if is_still else []
    if fan is None:
        flags.append(Flag("no_fan", "the moving area is not the fan of a two-dimensional cardiac view"))
    elif fan.shown_share(height, width) < MIN_SHOWN_SHARE:
        flags.append(Flag("cut_sector", "nearly half of the sector or more lies outside the picture"))
    flags += _colour_flags(frames, shape)
    if _is_crop(window, height, width):
        return Sector(np.ones((height, width), bool), Window(0, 0, height, width), fan, tuple(flags))
    if fan is not None:
        flags += _doubt_flags(evidence, fan.scaled(max(evidence.shape) / max(height, width)))
    flags += _text_flags(levels, shape)
    return Sector(shape, window, fan, tuple(flags))


def resample(frames: UInt8[np.ndarray, "t h w c"], sector: Sector, size: int) -> UInt8[np.ndarray, "t s s c"]:
    """Blacks out what lies outside the sector, cuts out its window and brings it to `size` pixels a side: by means over
    areas where it shrinks, by linear interpolation where it grows."""
    if sector.is_whole_picture:
        window = frames
    else:
        rows, columns, place = _overlap(sector)
        window = np.zeros((len(frames), sector.window.height, sector.window.width, frames.shape[-1]), np.uint8)
        window[:, place[0], place[1]] = frames[:, rows, columns] * sector.mask[rows, columns, None]
    if window.shape[1:3] == (size, size):
        return window
    shrinks = min(window.shape[1:3]) >= size
    return video.resize(window, size, size, "area" if shrinks else "linear")


def restore_masks(probabilities: UInt8[np.ndarray, "t s s"], sector: Sector) -> Bool[np.ndarray, "t h w"]:
    """Masks at the clip's own size from a network's probabilities (times 255, rounded) at its size: interpolated
    linearly, then cut at one half. Nothing is left outside the sector."""
    rows, columns, place = _overlap(sector)
    masks = np.zeros((len(probabilities), *sector.mask.shape), bool)
    for probability, mask in zip(probabilities, masks, strict=True):
        window = video.resize(probability[None, ..., None], sector.window.height, sector.window.width, "linear")
        mask[rows, columns] = window[0, place[0], place[1], 0] >= _HALF_LEVEL
    return masks & sector.mask


def resampled_spacing(spacing_cm: tuple[float, float] | None, sector: Sector, size: int) -> tuple[float, float] | None:
    """Height and width in centimetres of a pixel of the resampled frames; None stays None."""
    if spacing_cm is None:
        return None
    return spacing_cm[0] * sector.window.height / size, spacing_cm[1] * sector.window.width / size


def _sample(frames):
    return frames[:: max(1, len(frames) // MAX_SAMPLED_FRAMES)]


def _find_moving(frames):
    """Which pixels move, or are bright where few move; mean grey levels; whether the clip is still."""
    sampled = _sample(frames)
    grey = (sampled if frames.shape[-1] == 1 else video.to_gray(sampled))[..., 0].astype(np.float32)
    activity, levels = grey.std(0), grey.mean(0)
    threshold = np.clip(MOVING_OVER_NOISE * np.quantile(activity, 0.2), *MOVING_LEVELS)
    moves = (activity > threshold) & (activity > MIN_FLICKER * _spilling_levels(activity, levels))
    if moves.mean() >= MIN_AREA_SHARE:
        return moves, levels, False
    return levels > BRIGHT_LEVEL, levels, True


def _spilling_levels(activity: Float[np.ndarray, "h w"], levels: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """The grey level whose flicker a pixel may show: its own, or that of still ones near, which compression spills."""
    is_still = activity < STILL_FLICKER * levels
    letters = is_still & (levels > LETTER_LEVEL)
    if not letters.any() or np.median(activity[letters] / levels[letters]) < COMPRESSION_FLICKER:
        return levels
    return np.maximum(levels, scipy.ndimage.maximum_filter(np.where(is_still, levels, 0), 2 * BLOCK_REACH_PX + 1))


def _weigh(moves: Bool[np.ndarray, "h w"], levels: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """How much each pixel speaks for the sector, 0 to 1: moving ones, dark ones less."""
    if not moves.any():
        return moves.astype(np.float32)
    full = np.clip(FULL_LEVEL_SHARE * np.quantile(levels[moves], 0.75), *FULL_LEVELS)
    return moves * np.clip(levels / full, 0, 1)


def _greyness(
    frames: UInt8[np.ndarray, "t h w c"], moves: Bool[np.ndarray, "h w"], levels: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """How grey each pixel is in the mean over time, 0 to 1; in a tinted picture everything in the usual tint is."""
    seen = moves & (levels > DARK_LEVEL)
    if frames.shape[-1] == 1 or not seen.any():
        return np.ones_like(levels)
    colours = _sample(frames).mean(0, dtype=np.float32)
    brightest = colours.max(-1)
    saturation = (brightest - colours.min(-1)) / (brightest + SATURATION_NOISE)
    return np.clip(1 - (saturation - np.median(saturation[seen])) / COLOURED_SATURATION, 0, 1)


def _find_shape(
    small: Float[np.ndarray, "h2 w2"], height: int, width: int
) -> tuple[Bool[np.ndarray, "h w"] | None, Fan | None]:
    """From the shrunk evidence the sector's pixels, and its fan; without the latter the moving piece's own, without
    either None."""
    small_height, small_width = small.shape
    piece = largest_piece(small > 0.5)
    if piece is None or piece.mean() < MIN_AREA_SHARE:
        return None, None
    fan = fit_fan(small)
    if _explains(fan.mask(small_height, small_width), piece):
        fan = fan.scaled(max(height / small_height, width / small_width))
        # Nothing that moves with the sector is blacked out, should the fan miss a corner of it.
        return fan.mask(height, width) | _enlarge(piece, height, width), fan
    return _enlarge(piece, height, width), None


def _explains(inside: Bool[np.ndarray, "h w"], piece: Bool[np.ndarray, "h w"]) -> bool:
    """Tells whether the moving piece is fan-shaped: it fills the fan, hardly leaves it and is narrow above."""
    rows = piece.sum(1)[piece.any(1)]
    is_narrow = rows[: max(1, len(rows) // 10)].mean() <= MAX_TOP_WIDTH * rows.max()
    return is_narrow and inside[piece].mean() >= MIN_EXPLAINED and inside.any() and piece[inside].mean() >= MIN_FILLED


def _shrink(masks: np.ndarray) -> Float[np.ndarray, "t h2 w2"]:
    """Means of masks or weights (t, h, w), 0 to 1, in the cells of a grid of at most `FIT_SIDE_PX` a side."""
    height, width = masks.shape[1:]
    factor = max(1.0, max(height, width) / FIT_SIDE_PX)
    grey = np.rint(255 * masks[..., None]).astype(np.uint8)
    return video.resize(grey, round(height / factor), round(width / factor))[..., 0] / 255


def _enlarge(mask: Bool[np.ndarray, "h w"], height: int, width: int) -> Bool[np.ndarray, "h2 w2"]:
    grey = 255 * mask[None, ..., None].astype(np.uint8)
    return video.resize(grey, height, width, "linear")[0, ..., 0] >= _HALF_LEVEL


def _place_window(shape, fan: Fan | None, aspect: float) -> Window:
    """The window around a sector; `aspect` is the height of a pixel in its widths."""
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    if fan is None:
        height = round(max(bottom - top, (right - left) / aspect))
        width = round(height * aspect)
        return Window(round((top + bottom - height) / 2), round((left + right - width) / 2), height, width)
    height = SIDE_PER_HEIGHT * (bottom - top)
    cut_width = fan.right - fan.left
    is_crop = _is_cut_on_both_sides(fan, bottom) and abs(cut_width / (height * aspect) - 1) < SNAP
    if is_crop:
        # The sides of the square that it was cropped to can be seen.
        height = cut_width / aspect
        first_row, first_column = bottom - height, fan.left + 0.5
    else:
        first_row, first_column = top - TOP_MARGIN * height, fan.apex_x + 0.5 - height * aspect / 2
    return Window(round(first_row), round(first_column), round(height), round(height * aspect))


def _is_cut_on_both_sides(fan: Fan, bottom: int) -> bool:
    """Tells whether vertical lines end the sector on the left and right."""
    reach = min(fan.far, (bottom - fan.apex_y) / np.cos(fan.half_angle))
    left = fan.apex_x + reach * np.sin(fan.tilt - fan.half_angle)
    right = fan.apex_x + reach * np.sin(fan.tilt + fan.half_angle)
    return left < fan.left and right > fan.right


def _is_crop(window: Window, height: int, width: int) -> bool:
    """Tells a picture that is a crop of the sector already: it is square, and the window nearly is the picture."""
    slack = (SMALL_SNAP if height <= SMALL_SIDE_PX else SNAP) * height
    edges = window.top, window.left, window.top + window.height - height, window.left + window.width - width
    return abs(height - width) <= 0.02 * height and max(map(abs, edges)) <= slack


def _overlap(sector: Sector) -> tuple[slice, slice, tuple[slice, slice]]:
    """Rows and columns of the clip that the window covers, and their place in the window."""
    (height, width), (top, left, *_) = sector.mask.shape, sector.window
    bottom, right = top + sector.window.height, left + sector.window.width
    rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
    place = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    return rows, columns, place


def _doubt_flags(evidence: Float[np.ndarray, "h2 w2"], fan: Fan) -> list[Flag]:
    """Doubt where much of the fan is black, so that its edges are guessed, or much moves beside it."""
    inside = fan.mask(*evidence.shape)
    filled, explained = (evidence > 0.5)[inside].mean(), evidence[inside].sum() / evidence.sum()
    if filled >= SURE_FILLED and explained >= SURE_EXPLAINED:
        return []
    reason = "much of it is black" if filled < SURE_FILLED else "much moves beside it"
    text = f"the sector's edges are unclear, {reason}: look at the overlay; crop the clip to the sector if it is off"
    return [Flag("unclear_sector", text)]


def _colour_flags(frames, shape) -> list[Flag]:
    """Colour in the sector: of one hue everywhere it is a tint, of several on grey tissue it is flow."""
    if frames.shape[-1] == 1:
        return []
    shown = frames[:: max(1, len(frames) // 8)][:, shape].astype(np.int16)
    spread, red_minus_blue = np.ptp(shown, axis=-1), shown[..., 0] - shown[..., 2]
    bright = shown.max(-1) > _COLOURED_SPREAD
    if not bright.any():
        return []
    one_hue = max((red_minus_blue > _TINTED_SPREAD)[bright].mean(), (red_minus_blue < -_TINTED_SPREAD)[bright].mean())
    if one_hue > 0.9:
        return [Flag("tinted", "the picture is tinted in one colour; only its brightness is looked at")]
    coloured = np.zeros((len(shown), *shape.shape), bool)
    coloured[:, shape] = spread > _COLOURED_SPREAD
    # An ECG trace or a cursor in the sector is thin, flow is not.
    small = _shrink(coloured) > 0.5
    thick = scipy.ndimage.binary_opening(small, np.ones((1, 3, 3)))
    if thick.sum((1, 2)).max() > _MIN_COLOURED_SHARE * _shrink(shape[None]).sum():
        return [Flag("colour_doppler", "there is colour in the sector, as of colour Doppler, which hides the tissue")]
    return []


def _text_flags(levels: Float[np.ndarray, "h w"], shape: Bool[np.ndarray, "h w"]) -> list[Flag]:
    """Many small still bright pieces outside the sector are letters."""
    outside = (levels > LETTER_LEVEL) & ~scipy.ndimage.binary_dilation(shape, iterations=max(1, levels.shape[0] // 60))
    pieces, _ = scipy.ndimage.label(outside, np.ones((3, 3)))
    places = scipy.ndimage.find_objects(pieces)
    sizes = [(place[0].stop - place[0].start, place[1].stop - place[1].start) for place in places]
    num_letters = sum(4 <= high <= levels.shape[0] / 12 and 2 <= wide <= 2 * high for high, wide in sizes)
    if num_letters < MIN_LETTERS:
        return []
    return [Flag("text_outside", "text is burnt into the picture outside the sector, possibly a name or a date")]
