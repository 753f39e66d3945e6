"""Reading and writing video files: the one place that knows OpenCV, containers and codecs.

    frames, fps = read_video("clip.avi")                # uint8 (t, h, w, 3), RGB
    write_video("clip.avi", frames, fps)                # Motion JPEG in AVI, as EchoNet-Dynamic is distributed
    write_video("clip.mp4", frames, fps, codec="vp09")  # plays in every browser

Frames are what OpenCV's FFMPEG decoder gives, converted from BGR to RGB. The original programs used this decoder;
others differ from it by up to three grey levels, so the backend is fixed and never left to OpenCV's choice.
"""

import concurrent.futures
import os
import pathlib
import struct
from typing import NamedTuple

# FFmpeg reports every damaged packet on stderr by itself; what is wrong is said once, in the VideoError.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from echojax.errors import UserError
from echojax.files import replaced_file

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

OPENCV_VERSION = cv2.__version__

_INTERPOLATIONS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}

# Containers other than AVI may only estimate their number of frames, from the duration.
_COUNT_TOLERANCE_FRAMES = 2

# Encoding a stretch of a video by itself is worth a key frame and a thread from so many frames on.
_MIN_PART_FRAMES = 12


class VideoError(UserError):
    """A video file that cannot be read or written whole.

    Attributes:
      path: the file.
      reason: `missing`, `empty`, `unreadable`, `truncated`, `too_large` or `unwritable`.
    """

    def __init__(self, path: os.PathLike | str, reason: str, text: str):
        super().__init__(f"{path}: {text}")
        self.path = pathlib.Path(path)
        self.reason = reason

    def __reduce__(self):
        # The default would call the constructor with the joined text alone.
        return type(self), (self.path, self.reason, str(self).removeprefix(f"{self.path}: "))


class TimedVideo(NamedTuple):
    """Decoded frames, uint8 `(t, h, w, 3)`, RGB; when the container shows each, in seconds; its frames per second."""

    frames: np.ndarray
    frame_times_s: np.ndarray
    fps: float


def read_video(path: os.PathLike | str) -> tuple[np.ndarray, float]:
    """Reads every frame of a video file.

    Args:
      path: any container and codec that OpenCV's FFMPEG knows.

    Returns:
      frames, uint8 `(t, h, w, 3)`, RGB; and the container's frames per second (0.0 where it has none). The container's
      rate is often wrong: trust a table beside the video before it.

    Raises:
      VideoError: the file is missing, empty, not a video, or holds fewer frames than it declares.
    """
    frames, _, fps = read_timed_video(path)
    return frames, fps


def read_timed_video(path: os.PathLike | str, max_bytes: int | None = None) -> TimedVideo:
    """Reads every frame and its time; refuses, before or while decoding, what would take more than `max_bytes`.

    Raises:
      VideoError: as `read_video`, or the frames take more than `max_bytes` bytes.
    """
    path = pathlib.Path(path)
    _check_file(path)
    # One decoder thread: for small frames more threads cost time, and data preparation runs one process per core.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            raise VideoError(path, "unreadable", "is not a video that FFmpeg can open; fetch or export it again")
        declared = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        frames, times_s = _decode(path, capture, declared, max_bytes)
    except cv2.error as error:
        raise VideoError(path, "unreadable", f"OpenCV cannot decode it ({error}); fetch or export it again") from error
    finally:
        capture.release()
    if not frames:
        raise VideoError(path, "unreadable", f"declares {declared} frames, but none can be decoded; fetch it again")
    tolerance = 0 if path.suffix.lower() == ".avi" else _COUNT_TOLERANCE_FRAMES
    if len(frames) < declared - tolerance or _is_cut_avi(path):
        raise VideoError(
            path, "truncated", f"ends early: {len(frames)} of {declared} declared frames can be decoded; fetch it again"
        )
    if any(frame.shape != frames[0].shape for frame in frames):
        raise VideoError(path, "unreadable", "the size of its pictures changes on the way; export it again")
    return TimedVideo(np.stack(frames), np.array(times_s), fps)


def to_gray(frames: np.ndarray) -> np.ndarray:
    """Converts RGB to grey levels by OpenCV's rule, `0.299 R + 0.587 G + 0.114 B`, rounded.

    Args:
      frames: uint8 `(t, h, w, 3)`.

    Returns:
      uint8 `(t, h, w, 1)`. Where R = G = B the level is unchanged. In about 2 % of the pixels of EchoNet-Dynamic JPEG's
      chroma and coloured marks make the channels differ, by 2 levels in the median; that difference is lost.
    """
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])[..., None]


def ybr_to_rgb(frames: np.ndarray) -> np.ndarray:
    """Converts luminance and two colour differences of full range (JPEG's; DICOM's YBR_FULL) to RGB.

    Args:
      frames: uint8 `(t, h, w, 3)`.

    Returns:
      uint8 `(t, h, w, 3)`.
    """
    converted = np.empty_like(frames)
    for frame, result in zip(frames, converted, strict=True):
        # OpenCV has red before blue.
        cv2.cvtColor(np.ascontiguousarray(frame[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB, dst=result)
    return converted


def resize(frames: np.ndarray, height: int, width: int, method: str = "area") -> np.ndarray:
    """Scales every frame as OpenCV does.

    Args:
      frames: uint8 `(t, h, w, c)`.
      height, width: pixels of the result.
      method: "area" (means over pixels, for shrinking), "linear" or "cubic".

    Returns:
      uint8 `(t, height, width, c)`.

    Raises:
      ValueError: another method.
    """
    if method not in _INTERPOLATIONS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(_INTERPOLATIONS)}")
    resized = np.empty((len(frames), height, width, frames.shape[-1]), np.uint8)
    for frame, result in zip(frames, resized, strict=True):
        # OpenCV drops the axis of a single channel.
        result[...] = cv2.resize(frame, (width, height), interpolation=_INTERPOLATIONS[method]).reshape(result.shape)
    return resized


def write_video(
    path: os.PathLike | str, frames: np.ndarray, fps: float, codec: str = "MJPG", num_parts: int = 1
) -> None:
    """Writes a video file; it appears whole or not at all, in a folder that is made if it is missing.

    Args:
      path: where to; the suffix chooses the container (`.avi`, `.mp4`, `.webm`, ...).
      frames: uint8 `(t, h, w, 3)` RGB, `(t, h, w, 1)` or `(t, h, w)` grey levels.
      fps: frames per second, positive.
      codec: OpenCV's four letters. `MJPG` in `.avi` for data, `vp09` in `.mp4` for a browser, `FFV1` in `.avi` for
        lossless RGB. The pip build of OpenCV holds no H.264 encoder.
      num_parts: stretches of the video that are encoded at the same time, one core each, and then joined: for slow
        codecs. Each begins with a key frame.

    Raises:
      VideoError: the codec or container is not available or the disk refuses.
      ValueError: frames of another type or shape, no frame at all, or an odd height or width, of which OpenCV would
        silently drop the last row or column.
    """
    path = pathlib.Path(path)
    frames = _as_rgb(frames)
    if fps <= 0:
        raise ValueError(f"fps must be positive, got {fps}")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"height and width must be even, got {frames.shape[1]}x{frames.shape[2]}: pad the frames")
    num_parts = max(1, min(num_parts, len(frames) // _MIN_PART_FRAMES))
    with replaced_file(path) as temporary:
        if num_parts == 1:
            _encode(temporary, frames, fps, codec, path)
            return
        # In the folder of the temporary file, which goes with all that is in it.
        pieces = [temporary.with_name(f"part{number}{path.suffix}") for number in range(num_parts)]
        with concurrent.futures.ThreadPoolExecutor(num_parts) as pool:
            jobs = zip(pieces, np.array_split(frames, num_parts), strict=True)
            list(pool.map(lambda job: _encode(*job, fps, codec, path), jobs))
        _join(temporary, pieces, frames.shape[1:3], fps, codec, path)


def _encode(temporary: pathlib.Path, frames: np.ndarray, fps: float, codec: str, path: pathlib.Path) -> None:
    writer = _open_writer(temporary, frames.shape[1:3], fps, codec, [], path)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def _join(
    temporary: pathlib.Path,
    pieces: list[pathlib.Path],
    size: tuple[int, int],
    fps: float,
    codec: str,
    path: pathlib.Path,
) -> None:
    """Puts the encoded frames of several files into one, as they are."""
    writer = _open_writer(temporary, size, fps, codec, [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1], path)
    for piece in pieces:
        # Format -1: packets instead of pictures.
        reader = cv2.VideoCapture(str(piece), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
        ok, packet = reader.read()
        while ok:
            writer.set(cv2.VIDEOWRITER_PROP_KEY_FLAG, reader.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME))
            writer.write(packet)
            ok, packet = reader.read()
        reader.release()
    writer.release()


def _open_writer(
    temporary: pathlib.Path, size: tuple[int, int], fps: float, codec: str, options: list[int], path: pathlib.Path
) -> cv2.VideoWriter:
    fourcc = cv2.VideoWriter_fourcc(*codec)
    writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, fourcc, float(fps), (size[1], size[0]), options)
    if not writer.isOpened():
        raise VideoError(path, "unwritable", f"cannot write codec {codec} into {path.suffix} in {path.parent}")
    return writer


def _check_file(path: pathlib.Path) -> None:
    if not path.is_file():
        raise VideoError(path, "missing", "no such file")
    if path.stat().st_size == 0:
        raise VideoError(path, "empty", "the file has 0 bytes; fetch it again")


def _decode(
    path: pathlib.Path, capture: cv2.VideoCapture, declared: int, max_bytes: int | None
) -> tuple[list[np.ndarray], list[float]]:
    width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    most = np.inf if max_bytes is None else max_bytes // max(1, 3 * width * height)
    frames, times_s = [], []
    # Some containers declare no number of frames, or too few: those decoded are counted, too.
    while max(1, declared, len(frames)) <= most:
        ok, frame = capture.read()
        if not ok:
            return frames, times_s
        times_s.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    found = f"declares {declared}" if declared > most else f"holds more than {most}"
    text = f"{found} frames of {width}x{height} pixels, of which {most} fit into the memory allowed; cut or shrink it"
    raise VideoError(path, "too_large", text)


def _as_rgb(frames: np.ndarray) -> np.ndarray:
    if frames.ndim == 3:
        frames = frames[..., None]
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] not in (1, 3) or frames.size == 0:
        raise ValueError(f"frames must be uint8 (t, h, w, 1 or 3) and not empty, got {frames.dtype} {frames.shape}")
    return np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames


def _is_cut_avi(path: pathlib.Path) -> bool:
    """Tells whether an AVI's list of frames (`movi`) reaches beyond the end of the file.

    A file cut inside its very last frame still yields the declared number of frames, the last of them spoilt. One that
    lost only the seek index behind the frames is whole for our purpose.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        riff, _, form = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if riff != b"RIFF" or form != b"AVI ":
            return False
        position = 12
        while position + 12 <= size:
            file.seek(position)
            kind, length, name = struct.unpack("<4sI4s", file.read(12))
            if kind == b"LIST" and name == b"movi":
                return position + 8 + length > size
            position += 8 + length + length % 2
    return True
