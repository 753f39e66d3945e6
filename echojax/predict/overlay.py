"""The overlay video of a clip: contour, long axis, discs, and the area's curve with a moving marker.

Only the sector's window is shown, and nothing outside of the sector: what machines write beside it, names and dates
among it, does not get into the video.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from echojax import lv, video
from echojax.predict.prediction import Prediction
from echojax.report import area_panel, drawing
from echojax.sector import resample

# VP9 takes its time: half a second of one core for ten frames of this size.
SIDE_PX = 288
TITLE_HEIGHT_PX = 26
MAX_FPS = 30.0
MAX_SHOWN_FRAMES = 600
AXIS_COLOR, AXIS_HALF_WIDTH_PX = "#56c8ff", 0.7
DISC_COLOR, DISC_HALF_WIDTH_PX, DISC_OPACITY = "#ffffff", 0.4, 0.35
BLOCK_FRAMES = 4


class Overlay(NamedTuple):
    """A written overlay: its frames per second, every how many-th frame of the clip it shows, and how many."""

    fps: float
    step: int
    num_shown: int


def write_overlay(path: pathlib.Path, prediction: Prediction, title: str) -> Overlay:
    """Writes the video as VP9 in MP4, which browsers play; clips above 30 frames per second are thinned."""
    fps, num_frames = prediction.clip.fps, len(prediction.clip.frames)
    step = int(np.ceil(fps / MAX_FPS))
    shown = np.arange(0, num_frames, step)[:MAX_SHOWN_FRAMES]
    unit = "cm²" if prediction.measurement.is_metric else "px"
    panel = area_panel.draw_areas(prediction.measurement.function.curves.area, {}, fps, SIDE_PX, unit)
    ground = np.empty((TITLE_HEIGHT_PX, SIDE_PX, 3), np.uint8)
    ground[...] = drawing.parse_color(area_panel.GROUND_COLOR)
    drawing.paste_text(ground, title, 8, 6, (255, 255, 255), 8, bold=True)
    pictures = draw_frames(prediction, shown)
    composed = np.empty((len(shown), TITLE_HEIGHT_PX + SIDE_PX + area_panel.HEIGHT_PX, SIDE_PX, 3), np.uint8)
    for picture, frame, whole in zip(pictures, shown, composed, strict=True):
        _write_time(picture, frame, prediction)
        np.concatenate([ground, picture, area_panel.panel_at(panel, frame)], out=whole)
    video.write_video(path, composed, fps / step, codec="vp09", num_parts=os.cpu_count() or 1)
    return Overlay(fps / step, step, len(shown))


def draw_frames(prediction: Prediction, frames: Sequence[int]) -> UInt8[np.ndarray, "n s s 3"]:
    """Some frames of a clip with contour, long axis and discs."""
    frames = np.asarray(frames)
    pictures = resample(prediction.clip.frames[frames], prediction.sector, SIDE_PX)
    pictures = np.repeat(pictures, 3, axis=-1) if pictures.shape[-1] == 1 else pictures.copy()
    probabilities = prediction.measurement.probabilities[frames]
    levels = np.rint(255 * probabilities).astype(np.uint8)[..., None]
    large = video.resize(levels, SIDE_PX, SIDE_PX, "cubic")[..., 0].astype(np.float32) / 255
    zoom = SIDE_PX / probabilities.shape[-1]
    for start in range(0, len(frames), BLOCK_FRAMES):
        block = slice(start, start + BLOCK_FRAMES)
        axis, chords = lv.long_axis(probabilities[block]), lv.disc_chords(probabilities[block])
        for picture, apex, base, discs in zip(pictures[block], axis.apex, axis.base, chords, strict=True):
            if np.isfinite(apex).all():
                disc_lines = _paint_lines(picture.shape, _enlarged(discs, zoom), DISC_HALF_WIDTH_PX)
                drawing.paint(picture, DISC_OPACITY * disc_lines, drawing.parse_color(DISC_COLOR))
                axis_line = _paint_lines(picture.shape, _enlarged(np.array([[apex, base]]), zoom), AXIS_HALF_WIDTH_PX)
                drawing.paint(picture, axis_line, drawing.parse_color(AXIS_COLOR))
    drawing.paint_contours(pictures, large, area_panel.PREDICTED_COLOR)
    return pictures


def _enlarged(points: np.ndarray, zoom: float) -> np.ndarray:
    """Points whose whole numbers are pixel centres, in a picture `zoom` times as large."""
    return (points + 0.5) * zoom - 0.5


def _paint_lines(
    shape: tuple[int, ...], lines: Float[np.ndarray, "n 2 2"], half_width_px: float
) -> Float[np.ndarray, "h w"]:
    """Opacity of straight lines between pairs of (x, y); it falls from 1 to 0 over a pixel at their sides."""
    opacity = np.zeros(shape[:2], np.float32)
    reach = int(np.ceil(half_width_px + 1))
    for start, end in lines:
        low = np.maximum(np.floor(np.minimum(start, end)).astype(int) - reach, 0)
        high = np.minimum(np.ceil(np.maximum(start, end)).astype(int) + reach + 1, (shape[1], shape[0]))
        if (high <= low).any():
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
        dx, dy = end - start
        along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
        distance = np.hypot(x - start[0] - along * dx, y - start[1] - along * dy)
        place = opacity[low[1] : high[1], low[0] : high[0]]
        np.maximum(place, np.clip(half_width_px + 0.5 - distance, 0, 1), out=place)
    return opacity


def _write_time(picture: UInt8[np.ndarray, "s s 3"], frame: int, prediction: Prediction) -> None:
    digits = len(str(len(prediction.clip.frames) - 1))
    text = f"frame {frame:{digits}d}  {prediction.clip.frame_times_s[frame]:.2f} s"
    drawing.paste_text(picture, text, 8, SIDE_PX - 22, (235, 235, 235), 8)
