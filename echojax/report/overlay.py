"""Clips with the contour of the left ventricle and its area over time, to be looked at in a browser."""

import os
import pathlib
from collections.abc import Mapping

import matplotlib.image
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from echojax import video
from echojax.errors import UserError
from echojax.files import replaced_file
from echojax.report import area_panel, drawing

TITLE_HEIGHT_PX = 26
MAX_FPS = 30.0
CODECS = {".mp4": "vp09", ".webm": "VP80"}

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
    return _compose(frames, predicted, known, np.arange(len(frames)), fps, title, zoom)


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
    """Writes `overlay_frames` for a browser, and its first frame beside it as `<stem>.png`.

    Of clips faster than 30 frames per second every second, third, ... frame is written, at the true speed; frames with
    a known mask are always among them.

    Args:
        path: `.mp4` holds VP9; `.webm` VP8, which is written several times faster.
        frames, predicted, true, fps, title, zoom: as in `overlay_frames`.

    Returns:
        The path of the still, the video's poster.
    """
    path = pathlib.Path(path)
    if path.suffix not in CODECS:
        raise UserError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(CODECS)}")
    frames, predicted, known = _checked(frames, predicted, true, fps)
    step = int(np.ceil(fps / MAX_FPS))
    # A clip whose every frame is known needs no preference.
    shown = _thinned(len(frames), step, set() if len(known) == len(frames) else set(known))
    pictures = _compose(frames, predicted, known, shown, fps, title, zoom)
    video.write_video(path, pictures, fps / step, codec=CODECS[path.suffix])
    poster = path.with_suffix(".png")
    with replaced_file(poster) as temporary:
        matplotlib.image.imsave(temporary, pictures[0])
    return poster


def outline_frames(
    frames: UInt8[np.ndarray, "t h w *c"], predicted: Masks, known: Mapping[int, Bool[np.ndarray, "h w"]], zoom: int
) -> UInt8[np.ndarray, "t zoom*h zoom*w 3"]:
    """Enlarges frames and draws known contours where there are any, the predicted ones above them."""
    pictures = drawing.enlarge_to_rgb(frames, zoom)
    for frame, mask in known.items():
        drawing.paint_contours(pictures[frame : frame + 1], mask[None], area_panel.TRUE_COLOR)
    drawing.paint_contours(pictures, predicted, area_panel.PREDICTED_COLOR)
    return pictures


def _compose(
    frames: UInt8[np.ndarray, "t h w *c"],
    predicted: Masks,
    known: Mapping[int, Bool[np.ndarray, "h w"]],
    shown: Int[np.ndarray, "s"],
    fps: float,
    title: str,
    zoom: int,
) -> UInt8[np.ndarray, "s H W 3"]:
    """Title, picture and curve of the shown frames; the curve is of all."""
    known_shown = {position: known[frame] for position, frame in enumerate(shown) if frame in known}
    pictures = outline_frames(frames[shown], predicted[shown], known_shown, zoom)
    num_shown, height, width, _ = pictures.shape
    panel = area_panel.draw_panel(predicted, known, fps, width)
    shape = (num_shown, TITLE_HEIGHT_PX + height + area_panel.HEIGHT_PX, width, 3)
    # Codecs want even sizes: a row or column of ground is added where one is odd.
    composed = np.zeros((num_shown, shape[1] + shape[1] % 2, width + width % 2, 3), np.uint8)
    composed[...] = drawing.parse_color(area_panel.GROUND_COLOR)
    if title:
        drawing.paste_text(composed[0], title, 8, 6, (255, 255, 255), 8, bold=True)
        composed[:, :TITLE_HEIGHT_PX] = composed[0, :TITLE_HEIGHT_PX]
    for position, frame in enumerate(shown):
        _write_time(pictures[position], frame, len(frames), fps)
        picture_and_panel = np.concatenate([pictures[position], area_panel.panel_at(panel, frame)])
        composed[position, TITLE_HEIGHT_PX : shape[1], :width] = picture_and_panel
    return composed


def _thinned(num_frames: int, step: int, preferred: set[int]) -> Int[np.ndarray, "s"]:
    """One frame of every `step`: the first, or one that is preferred."""
    groups = (range(start, min(start + step, num_frames)) for start in range(0, num_frames, step))
    return np.array([next((frame for frame in group if frame in preferred), group[0]) for group in groups])


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
