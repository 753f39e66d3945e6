"""NumPy's .npy files to clips; objects in them are never unpickled."""

import os
import pathlib

import numpy as np

from echojax.reading.clip import MAX_BYTES, UNKNOWN_SPACING, Clip, ClipError, assumed_times, check_shape
from echojax.reading.levels import to_levels


def read_npy(path: pathlib.Path, name: str, kind: str, max_bytes: int = MAX_BYTES) -> Clip:
    """Reads frames (t, h, w), (t, h, w, 1) or (t, h, w, 3) of any type of number; see `read_clip` and `to_levels`."""
    with open(path, "rb") as file:
        shape, dtype, is_fortran = _read_header(path, file)
        frames_shape = _frames_shape(path, shape)
        check_shape(path, *frames_shape, dtype.itemsize, max_bytes)
        count = int(np.prod(frames_shape))
        available = os.fstat(file.fileno()).st_size - file.tell()
        if available < count * dtype.itemsize:
            raise ClipError(
                path,
                "truncated",
                f"ends early: {available} of {count * dtype.itemsize} bytes of its pixels are there; fetch it again",
            )
        values = np.fromfile(file, dtype, count)
    values = values.reshape(shape, order="F" if is_fortran else "C").reshape(frames_shape)
    levels, flags = to_levels(path, values)
    times = assumed_times(len(levels))
    return Clip(
        np.ascontiguousarray(levels),
        times.frame_times_s,
        times.fps,
        times.fps_source,
        None,
        None,
        None,
        name,
        kind,
        (*times.flags, *UNKNOWN_SPACING.flags, *flags),
    )


def _read_header(path, file):
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
    # The header is a Python literal; what a damaged one raises depends on where it is damaged.
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, UnicodeDecodeError) as error:
        raise ClipError(path, "damaged", "its NumPy header is damaged; save it again with numpy.save") from error
    if dtype.hasobject:
        text = "holds Python objects, which are never unpickled because they can run code; save an array of uint8"
        raise ClipError(path, "wrong_type", text)
    return shape, dtype, is_fortran


def _frames_shape(path: pathlib.Path, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    if len(shape) == 3:
        return (*shape, 1)
    if len(shape) == 4 and shape[-1] in (1, 3):
        return shape
    hint = "; move its colours to the end with numpy.moveaxis" if len(shape) == 4 and 3 in shape[:2] else ""
    text = f"holds an array of shape {shape}, expected (frames, height, width), or with a last axis of 1 or 3{hint}"
    raise ClipError(path, "wrong_shape", text)
