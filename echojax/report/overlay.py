"""Clips with the contour of the left ventricle and its area over time, to be looked at in a browser."""

import os
import pathlib
from collections.abc import Mapping

import matplotlib.image
import numpy as np
from jaxtyping import Bool, Float, UInt8

from echojax import video
from echojax.errors import UserError
from echojax.evaluate.files import replaced_file
from echojax.report import area_panel, drawing

TITLE_HEIGHT_PX = 26
# Browsers show no more; of faster clips every second, third, ... frame is written, at the true speed.
MAX_FPS = 60.0

Masks = Bool[np.ndarray, "t h w"] | Float[np.ndarray, "t h w"]
# Known masks of every frame, or of some: {frame: mask}.
TrueMasks = Bool[np.ndarray, "t h w"] | Mapping[int, Bool[np.ndarray, "h w"]]


def overlay_frames(
    frames: UInt8[np.ndarray, "t h w *c"],
    predicted: Masks,
    true: TrueMasks | None = None,
    *,
    fps: float,
    title: str = "",
    zoom: int = 3,
) -> UInt8[np.ndarray, "t H W 3"]:
    """Paints a clip: title, enlarged picture with contours and time, and the area curve below with a moving marker.

    Args:
        frames: uint8, grey or RGB.
        predicted: mask of each frame, bool or probabilities.
        true: known masks of all frames, or of those that were traced.
        fps: frames per second of the clip; time is counted from its first frame.
        title: one line above the picture, e.g. name and LVEF; cut off where it is too long.
        zoom: how many times larger the picture becomes; 3 makes 336 pixels of 112.

    Returns:
        Height and width are even, as video codecs want them.

    Raises:
        UserError: masks that do not fit the frames, no frames, or no frame rate.
    """
    frames, predicted, known = _checked(frames, predicted, true, fps)
    pictures = outline_frames(frames, predicted, known, zoom)
    width = pictures.shape[2]
    header = np.full((TITLE_HEIGHT_PX, width, 3), drawing.parse_color(area_panel.GROUND_COLOR), np.uint8)
    if title:
        drawing.paste_text(header, title, 8, 6, (255, 255, 255), bold=True)
    panel = area_panel.draw_panel(predicted, known, fps, width)
    for frame, picture in enumerate(pictures):
        _write_time(picture, frame, len(frames), fps)
    composed = [
        np.concatenate([header, picture, area_panel.panel_at(panel, frame)]) for frame, picture in enumerate(pictures)
    ]
    return _padded_to_even(np.stack(composed))


def write_overlay(
    path: str | os.PathLike,
    frames: UInt8[np.ndarray, "t h w *c"],
    predicted: Masks,
    true: TrueMasks | None = None,
    *,
    fps: float,
    title: str = "",
    zoom: int = 3,
) -> pathlib.Path:
    """Writes `overlay_frames` as VP9 in MP4, which browsers play, and its first frame beside it as `<stem>.png`.

    Returns:
        The path of that still, the video's poster.
    """
    path = pathlib.Path(path)
    painted = overlay_frames(frames, predicted, true, fps=fps, title=title, zoom=zoom)
    path.parent.mkdir(parents=True, exist_ok=True)
    step = int(np.ceil(fps / MAX_FPS))
    video.write_video(path, painted[::step], fps / step, codec="vp09")
    poster = path.with_suffix(".png")
    with replaced_file(poster) as temporary:
        matplotlib.image.imsave(temporary, painted[0])
    return poster


def outline_frames(
    frames: UInt8[np.ndarray, "t h w *c"], predicted: Masks, known: Mapping[int, Bool[np.ndarray, "h w"]], zoom: int
) -> UInt8[np.ndarray, "t zoom*h zoom*w 3"]:
    """Enlarges frames and draws known contours where there are any, the predicted ones above them."""
    pictures = drawing.enlarge_frames(drawing.to_rgb(frames), zoom)
    if known:
        index = np.array(sorted(known))
        masks = np.stack([known[frame] for frame in index])
        pictures[index] = drawing.paint_contours(pictures[index], masks, area_panel.TRUE_COLOR)
    return drawing.paint_contours(pictures, predicted, area_panel.PREDICTED_COLOR)


def _checked(
    frames: UInt8[np.ndarray, "t h w *c"], predicted: Masks, true: TrueMasks | None, fps: float
) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    frames, predicted = np.asarray(frames), np.asarray(predicted)
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or len(frames) == 0:
        raise UserError(f"frames are {frames.dtype} {frames.shape}; expected uint8 (t, h, w) or (t, h, w, c)")
    shape = frames.shape[:3]
    if predicted.shape != shape:
        raise UserError(f"predicted masks have shape {predicted.shape}; expected one mask per frame, {shape}")
    if not fps > 0:
        raise UserError(f"fps is {fps}; expected the clip's frames per second, above 0")
    if true is None:
        return frames, predicted, {}
    if not isinstance(true, Mapping):
        if np.shape(true) != shape:
            raise UserError(f"known masks have shape {np.shape(true)}; expected {shape}, or a dict of frame and mask")
        true = dict(enumerate(np.asarray(true)))
    for frame, mask in true.items():
        if not 0 <= frame < shape[0] or np.shape(mask) != shape[1:]:
            raise UserError(
                f"known mask of frame {frame} has shape {np.shape(mask)}; expected frames of a clip {shape}"
            )
    return frames, predicted, dict(true)


def _write_time(picture: UInt8[np.ndarray, "h w 3"], frame: int, num_frames: int, fps: float) -> None:
    digits = len(str(num_frames - 1))
    text = f"frame {frame:{digits}d}  {frame / fps:.2f} s"
    drawing.paste_text(picture, text, 8, max(0, picture.shape[0] - 22), (235, 235, 235), 8)


def _padded_to_even(pictures: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    _, height, width, _ = pictures.shape
    return np.pad(pictures, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
