"""What a file becomes: a clip, with what is doubtful about it; and the limits that every reader keeps."""

import dataclasses
import math
import os
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8

from echojax.errors import UserError

# Decoded pixels of one clip: 1,490 frames of 800x600 in colour. Decoding may need as much again.
MAX_BYTES = 2 * 2**30
MIN_FRAMES = 2
MIN_SIDE_PX = 32
# Labels of a few structures, or noise of an empty picture, span fewer grey levels than the darkest clip.
MIN_LEVELS = 16
# Where a file tells no frame rate, or an impossible one.
ASSUMED_FPS = 30.0
PLAUSIBLE_FPS = (1.0, 500.0)
# Height of the field of view. A child's heart is seen to 4 cm, nobody's deeper than 40.
PLAUSIBLE_DEPTH_CM = (3.0, 40.0)


# What lies beside the clips in a study: stills, reports, other examinations.
_BYSTANDERS = ("no_picture", "not_ultrasound", "one_frame")


class Flag(NamedTuple):
    """Something doubtful that does not prevent a measurement.

    kind: a word for programs, such as `fps_assumed`.
    text: a sentence for people. It names no person, date, identifier or path.
    """

    kind: str
    text: str


class Region(NamedTuple):
    """A rectangle of the picture, in pixels; `bottom` and `right` are the first row and column outside."""

    top: int
    left: int
    bottom: int
    right: int


class ClipError(UserError):
    """A file that gives no clip.

    Attributes:
      path: the file.
      reason: a word for programs, such as `truncated`.
      text: the sentence without the path, for places where a path must not appear.
    """

    def __init__(self, path: os.PathLike | str, reason: str, text: str):
        super().__init__(f"{path}: {text}")
        self.path = pathlib.Path(path)
        self.reason = reason
        self.text = text

    @property
    def is_bystander(self) -> bool:
        """A file that is whole but no clip, as lie in every study; found in a folder, it is no failure."""
        return self.reason in _BYSTANDERS

    def __reduce__(self):
        # The default would call the constructor with the joined text alone.
        return type(self), (self.path, self.reason, self.text)


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video as it is in the file, and what the file says of its geometry.

    Attributes:
      frames: uint8 (t, h, w, c), c = 1 (grey levels) or 3 (RGB).
      frame_times_s: seconds since the first frame, rising.
      fps: frames per second; the median where they vary.
      fps_source: "file", "FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate" or "assumed".
      spacing_cm: height and width of a pixel, or None where unknown.
      spacing_source: where it came from, or None.
      region: where the file says that tissue is, or None.
      name: the file's stem; of a DICOM a hash of its content.
      kind: name of the file's format.
      flags: what is doubtful.
    """

    frames: UInt8[np.ndarray, "t h w c"]
    frame_times_s: Float64[np.ndarray, "t"]
    fps: float
    fps_source: str
    spacing_cm: tuple[float, float] | None
    spacing_source: str | None
    region: Region | None
    name: str
    kind: str
    flags: tuple[Flag, ...] = ()


class Times(NamedTuple):
    """When the frames of a clip were taken; see `Clip`."""

    frame_times_s: Float64[np.ndarray, "t"]
    fps: float
    fps_source: str
    flags: tuple[Flag, ...]


class Spacing(NamedTuple):
    """The size of a clip's pixels; see `Clip`."""

    spacing_cm: tuple[float, float] | None
    source: str | None
    region: Region | None
    flags: tuple[Flag, ...]


UNKNOWN_SPACING = Spacing(None, None, None, (Flag("spacing_unknown", "the size of a pixel is not known"),))


def even_times(num_frames: int, fps: float, source: str, flags: tuple[Flag, ...] = ()) -> Times:
    """Times of frames at a constant rate; an impossible rate is replaced by the assumed one, with a flag."""
    if not is_plausible_fps(fps):
        found = "" if source == "assumed" else f"{source} says {fps:g} frames per second, which cannot be; "
        text = f"{found}the frame rate is guessed to be {ASSUMED_FPS:g} per second"
        fps, source, flags = ASSUMED_FPS, "assumed", (*flags, Flag("fps_assumed", text))
    return Times(np.arange(num_frames) / fps, float(fps), source, flags)


def assumed_times(num_frames: int) -> Times:
    """Times of frames of which the file says nothing."""
    return even_times(num_frames, math.nan, "assumed")


def is_plausible_fps(fps: float) -> bool:
    return math.isfinite(fps) and PLAUSIBLE_FPS[0] <= fps <= PLAUSIBLE_FPS[1]


def in_words(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:,.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"


def check_shape(
    path: os.PathLike | str,
    num_frames: int,
    height: int,
    width: int,
    channels: int = 1,
    bytes_per_value: int = 1,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Refuses sizes that are no clip, or too much to decode; they are asked before anything is decoded.

    Raises:
      ClipError: `too_small`, `one_frame` or `too_large`, with the numbers.
    """
    size = f"{num_frames} frames of {width}x{height} pixels"
    if min(num_frames, height, width, channels) < 1:
        raise ClipError(path, "too_small", f"declares {size}: its header is damaged; export it again")
    if num_frames < MIN_FRAMES:
        raise ClipError(path, "one_frame", "holds a single picture; a moving heart needs a clip of at least one beat")
    if min(height, width) < MIN_SIDE_PX:
        raise ClipError(path, "too_small", f"has {size}, expected at least {MIN_SIDE_PX} pixels a side")
    num_bytes = num_frames * height * width * channels * bytes_per_value
    if num_bytes > max_bytes:
        raise ClipError(
            path,
            "too_large",
            f"declares {size} with {channels} channels, {in_words(num_bytes)} when decoded, more than the "
            f"{in_words(max_bytes)} allowed; cut or shrink it",
        )


def check_contrast(path: os.PathLike | str, frames: np.ndarray) -> None:
    """Raises ClipError where all pixels of all frames are nearly the same, or are labels and not a picture."""
    low, high = int(frames.min()), int(frames.max())
    if high - low < MIN_LEVELS:
        text = f"its grey levels only span {low} to {high}: an empty picture, or labels instead of one"
        raise ClipError(path, "blank", text)
