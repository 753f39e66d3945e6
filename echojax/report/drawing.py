"""Small pictures made of arrays: enlarged frames, smooth contours, text. uint8 RGB, no OpenCV."""

import functools

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import ndimage

from echojax.report import style

DPI = 100
CONTOUR_HALF_WIDTH_PX = 1.2
# Of the masks before they are enlarged: their stairs go, their shape stays.
SMOOTHING_PX = 0.8
# Frames enlarged or outlined at once: keeps the temporary arrays of a long video small.
BLOCK_FRAMES = 32

Color = tuple[int, int, int]


def parse_color(text: str) -> Color:
    """`#rrggbb` as three numbers."""
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def enlarge(frames: Float[np.ndarray, "*b h w"], zoom: int) -> Float[np.ndarray, "*b zoom*h zoom*w"]:
    """Enlarges pictures by a whole factor with Catmull and Rom's cubic; values beyond the border repeat the border."""
    # Sums of shifted copies, not matrix products: those wake every core for a few microseconds of work.
    wide = _enlarge_last_axis(frames.astype(np.float32), zoom)
    return _enlarge_last_axis(wide.swapaxes(-1, -2), zoom).swapaxes(-1, -2)


def enlarge_to_rgb(frames: UInt8[np.ndarray, "t h w *c"], zoom: int) -> UInt8[np.ndarray, "t zoom*h zoom*w 3"]:
    """Enlarges grey or RGB frames, each channel by itself."""
    frames = frames[..., None] if frames.ndim == 3 else frames
    num_frames, height, width, num_channels = frames.shape
    pictures = np.empty((num_frames, zoom * height, zoom * width, 3), np.uint8)
    for frame in range(num_frames):
        for channel in range(num_channels):
            large = enlarge(frames[frame, ..., channel], zoom)
            pictures[frame, ..., channel] = np.clip(np.rint(large), 0, 255)
    if num_channels == 1:
        pictures[..., 1:] = pictures[..., :1]
    return pictures


def paint_contours(
    pictures: UInt8[np.ndarray, "t zoom*h zoom*w 3"],
    masks: Bool[np.ndarray, "t h w"] | Float[np.ndarray, "t h w"],
    color: str,
) -> None:
    """Draws the border of each mask, in place, on pictures of a whole multiple of its size.

    Args:
        masks: bool, or probabilities in 0 .. 1.
        color: `#rrggbb`.
    """
    zoom = pictures.shape[1] // masks.shape[1]
    for start in range(0, len(masks), BLOCK_FRAMES):
        block = slice(start, start + BLOCK_FRAMES)
        paint(pictures[block], contour_opacity(masks[block], zoom), parse_color(color))


def contour_opacity(
    masks: Bool[np.ndarray, "t h w"] | Float[np.ndarray, "t h w"], zoom: int
) -> Float[np.ndarray, "t zoom*h zoom*w"]:
    """Opacity of a line along the border of each mask, smooth at the enlarged resolution.

    The blurred and enlarged mask m crosses 1/2 at the border, and |m - 1/2| / |∇m| estimates the distance to it in
    pixels; opacity falls from 1 to 0 over one pixel at the line's half width.
    """
    level = enlarge(ndimage.gaussian_filter(masks.astype(np.float32), sigma=(0, SMOOTHING_PX, SMOOTHING_PX)), zoom)
    slope_y, slope_x = np.gradient(level, axis=(1, 2))
    slope = np.sqrt(slope_y * slope_y + slope_x * slope_x)
    distance = np.abs(level - 0.5) / np.maximum(slope, 1e-6)
    return np.clip(CONTOUR_HALF_WIDTH_PX + 0.5 - distance, 0, 1)


def paint(picture: UInt8[np.ndarray, "*b h w 3"], opacity: Float[np.ndarray, "*b h w"], color: Color) -> None:
    """Lays a colour over pictures, in place, as opaque as `opacity` (0 .. 1) says."""
    touched = np.nonzero(opacity)
    share = opacity[touched][:, None].astype(np.float32)
    picture[touched] = np.rint(picture[touched] * (1 - share) + np.asarray(color, np.float32) * share)


def render(figure: Figure) -> UInt8[np.ndarray, "h w 3"]:
    """A matplotlib figure as pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def text_opacity(text: str, size_points: float = 9, bold: bool = False) -> Float[np.ndarray, "h w"]:
    """Opacity of a line of text in a fixed-width font; every character is equally wide."""
    if not text:
        raise ValueError("text is empty; expected at least one character")
    return np.concatenate([_glyph(character, size_points, bold) for character in text], axis=1)


def paste_text(
    picture: UInt8[np.ndarray, "h w 3"],
    text: str,
    x: int,
    y: int,
    color: Color,
    size_points: float = 9,
    bold: bool = False,
) -> None:
    """Writes text into a picture, in place, its upper left corner at (x, y); what does not fit is cut off."""
    opacity = text_opacity(text, size_points, bold)
    place = picture[y : y + opacity.shape[0], x : x + opacity.shape[1]]
    paint(place, opacity[: place.shape[0], : place.shape[1]], color)


@functools.cache
def _glyph(character: str, size_points: float, bold: bool) -> Float[np.ndarray, "h w"]:
    # The advance of DejaVu Sans Mono is 0.602 em.
    width, height = round(0.602 * size_points * DPI / 72), round(1.4 * size_points * DPI / 72)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="black")
    figure.text(
        0.5,
        0.28,
        character,
        color="white",
        family="DejaVu Sans Mono",
        size=size_points,
        weight="bold" if bold else "normal",
        ha="center",
        va="baseline",
    )
    with style.applied():
        return render(figure)[..., 0].astype(np.float32) / 255


def _enlarge_last_axis(values: Float[np.ndarray, "*b n"], zoom: int) -> Float[np.ndarray, "*b zoom*n"]:
    """The cubic with a = -1/2 at the new pixel centres, which lie (phase + 1/2) / zoom - 1/2 beside the old ones."""
    size = values.shape[-1]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(2, 2)], mode="edge")
    enlarged = np.zeros((*values.shape, zoom), np.float32)
    for phase in range(zoom):
        offset = (phase + 0.5) / zoom - 0.5
        for tap in range(-2, 3):
            weight = _cubic(abs(offset - tap))
            if weight:
                enlarged[..., phase] += weight * padded[..., 2 + tap : 2 + tap + size]
    return enlarged.reshape(*values.shape[:-1], zoom * size)


def _cubic(distance: float) -> float:
    if distance < 1:
        return (1.5 * distance - 2.5) * distance**2 + 1
    if distance < 2:
        return ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return 0.0
