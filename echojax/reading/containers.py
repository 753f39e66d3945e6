"""Videos in containers (AVI, MP4, MOV, GIF, ...) to clips."""

import pathlib

import numpy as np

from echojax import video
from echojax.reading.clip import (
    MAX_BYTES,
    UNKNOWN_SPACING,
    Clip,
    ClipError,
    Flag,
    Times,
    check_shape,
    even_times,
    is_plausible_fps,
)

# Share of the usual time between frames by which one may differ and still count as usual: containers round times.
_UNEVEN = 0.2


def read_container(path: pathlib.Path, name: str, kind: str, max_bytes: int = MAX_BYTES) -> Clip:
    """Reads a video file; see `read_clip`. Such files say nothing of the size of a pixel."""
    frames, times = decode_container(path, max_bytes)
    return Clip(
        frames,
        times.frame_times_s,
        times.fps,
        times.fps_source,
        None,
        None,
        None,
        name,
        kind,
        (*times.flags, *UNKNOWN_SPACING.flags),
    )


def decode_container(path: pathlib.Path, max_bytes: int = MAX_BYTES) -> tuple[np.ndarray, Times]:
    """Returns the frames of a video file, uint8 (t, h, w, 3), and their times."""
    try:
        decoded = video.read_timed_video(path, max_bytes)
    except video.VideoError as error:
        raise ClipError(path, error.reason, str(error).removeprefix(f"{error.path}: ")) from error
    check_shape(path, *decoded.frames.shape, max_bytes=max_bytes)
    return decoded.frames, _times(decoded.frame_times_s, decoded.fps, len(decoded.frames))


def _times(frame_times_s: np.ndarray, fps: float, num_frames: int) -> Times:
    """The container's own times where they vary and make sense, else its rate."""
    even = even_times(num_frames, fps, "file")
    steps = np.diff(frame_times_s)
    if steps.size == 0 or steps.min() <= 0:
        return even
    usual = float(np.median(steps))
    if np.all(np.abs(steps - usual) <= _UNEVEN * usual) or not is_plausible_fps(1 / usual):
        return even
    text = f"the time between frames varies, from {1000 * steps.min():.0f} to {1000 * steps.max():.0f} ms"
    return Times(frame_times_s - frame_times_s[0], 1 / usual, "file", (Flag("frame_times_vary", text),))
