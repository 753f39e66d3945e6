"""NIfTI files (.nii, .nii.gz), as the CAMUS data set comes, to clips.

The header is 348 bytes (NIfTI-1) or 540 (NIfTI-2), whose fields are read here directly: sizes have to be judged before
anything is inflated, so a library would only be given what has already been understood.
"""

import dataclasses
import gzip
import math
import pathlib
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from echojax.reading.clip import (
    MAX_BYTES,
    PLAUSIBLE_DEPTH_CM,
    UNKNOWN_SPACING,
    Clip,
    ClipError,
    Flag,
    Spacing,
    Times,
    assumed_times,
    check_shape,
    even_times,
    is_plausible_fps,
)
from echojax.reading.levels import to_levels

_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
# Colours stored pixel by pixel; of the second, the last channel is transparency.
_COLOURS = {128: 3, 2304: 4}
_CM_PER_UNIT = {0: 0.1, 1: 100.0, 2: 0.1, 3: 1e-4}
_SECONDS_PER_UNIT = {8: 1.0, 16: 1e-3, 24: 1e-6}


@dataclasses.dataclass(frozen=True)
class Header:
    """The fields that matter: `dim` and `pixdim` as in the file, their first entry the number of axes."""

    dim: tuple[int, ...]
    pixdim: tuple[float, ...]
    datatype: int
    vox_offset: int
    slope: float
    intercept: float
    units: int
    byte_order: str

    @property
    def pixel_dtype(self) -> np.dtype:
        return np.dtype("u1" if self.datatype in _COLOURS else _DTYPES[self.datatype]).newbyteorder(self.byte_order)

    def axis(self, number: int) -> int:
        """Length of an axis, counted from 1; those not there have length 1."""
        return self.dim[number] if number <= self.dim[0] else 1

    @property
    def time_axis(self) -> int:
        """The third axis of a flat sequence, as CAMUS stores it, or the fourth."""
        return 3 if self.axis(4) == 1 else 4

    @property
    def channels(self) -> int:
        return _COLOURS.get(self.datatype, self.axis(5))


def read_nifti(path: pathlib.Path, name: str, kind: str, max_bytes: int = MAX_BYTES) -> Clip:
    """Reads a sequence of pictures stored as (x, y, t), (x, y, 1, t), either in colour; see `read_clip`.

    Rows and columns are taken as they lie in the file, as ITK takes them; the orientation in the patient, which
    ultrasound does not have, is not looked at.
    """
    with _open(path) as file:
        header = _read_header(path, file)
        shape = _shape(path, header)
        check_shape(path, *shape, header.pixel_dtype.itemsize, max_bytes)
        values = _read_pixels(path, file, header, shape)
    levels, flags = to_levels(path, _rescale(values, header))
    times, spacing = _times(header, len(levels)), _spacing(header)
    return Clip(
        np.ascontiguousarray(levels[..., :3]),
        times.frame_times_s,
        times.fps,
        times.fps_source,
        spacing.spacing_cm,
        spacing.source,
        None,
        name,
        kind,
        (*times.flags, *spacing.flags, *flags),
    )


@contextmanager
def _open(path: pathlib.Path) -> Iterator[BinaryIO]:
    with open(path, "rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield gzip.GzipFile(fileobj=raw) if is_gzip else raw
        except EOFError as error:
            raise ClipError(path, "truncated", "its gzip stream ends early; fetch it again") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ClipError(path, "damaged", "its gzip stream is damaged; fetch it again") from error


def _read_header(path: pathlib.Path, file: BinaryIO) -> Header:
    head = file.read(540)
    for byte_order in "<>":
        size = struct.unpack_from(f"{byte_order}i", head.ljust(4, b"\0"))[0]
        if size == 348 and head[344:348] == b"n+1\0":
            return _header_1(head, byte_order)
        if size == 540 and head[4:8] == b"n+2\0" and len(head) == 540:
            return _header_2(head, byte_order)
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        raise ClipError(path, "unknown", "is the header of a NIfTI pair (.hdr and .img); store both in one .nii")
    raise ClipError(path, "unknown", "is compressed and holds no NIfTI header; unpack it if it is an archive")


def _header_1(head: bytes, byte_order: str) -> Header:
    return Header(
        dim=struct.unpack_from(f"{byte_order}8h", head, 40),
        pixdim=struct.unpack_from(f"{byte_order}8f", head, 76),
        datatype=struct.unpack_from(f"{byte_order}h", head, 70)[0],
        vox_offset=_to_int(struct.unpack_from(f"{byte_order}f", head, 108)[0]),
        slope=struct.unpack_from(f"{byte_order}f", head, 112)[0],
        intercept=struct.unpack_from(f"{byte_order}f", head, 116)[0],
        units=head[123],
        byte_order=byte_order,
    )


def _header_2(head: bytes, byte_order: str) -> Header:
    return Header(
        dim=struct.unpack_from(f"{byte_order}8q", head, 16),
        pixdim=struct.unpack_from(f"{byte_order}8d", head, 104),
        datatype=struct.unpack_from(f"{byte_order}h", head, 12)[0],
        vox_offset=struct.unpack_from(f"{byte_order}q", head, 168)[0],
        slope=struct.unpack_from(f"{byte_order}d", head, 176)[0],
        intercept=struct.unpack_from(f"{byte_order}d", head, 184)[0],
        units=struct.unpack_from(f"{byte_order}i", head, 500)[0],
        byte_order=byte_order,
    )


def _to_int(value: float) -> int:
    return int(value) if math.isfinite(value) else -1


def _shape(path: pathlib.Path, header: Header) -> tuple[int, int, int, int]:
    """(t, h, w, c), after refusing what is no flat sequence."""
    if header.vox_offset < 0:
        raise ClipError(path, "damaged", "its NIfTI header is damaged: it does not say where its pixels begin")
    if not 2 <= header.dim[0] <= 7:
        raise ClipError(path, "damaged", f"its NIfTI header is damaged: it declares {header.dim[0]} axes")
    if header.datatype not in _DTYPES and header.datatype not in _COLOURS:
        raise ClipError(path, "wrong_type", f"holds NIfTI data type {header.datatype}, expected numbers")
    lengths = [header.axis(axis) for axis in range(1, 8)]
    if lengths[2] != 1 and lengths[3] != 1:
        text = f"holds volumes ({'x'.join(map(str, lengths[:4]))}), expected one plane over time; export one plane"
        raise ClipError(path, "wrong_shape", text)
    is_vector = header.datatype not in _COLOURS and lengths[4] != 1
    if (is_vector and lengths[4] != 3) or lengths[5:] != [1, 1]:
        raise ClipError(path, "wrong_shape", f"holds {lengths[4]} values per pixel, expected 1 or 3")
    return header.axis(header.time_axis), lengths[1], lengths[0], header.channels


def _read_pixels(path: pathlib.Path, file: BinaryIO, header: Header, shape: tuple[int, int, int, int]) -> np.ndarray:
    num_frames, height, width, channels = shape
    needed = math.prod(shape) * header.pixel_dtype.itemsize
    # Seeking inflates: at most as much as the pixels themselves may be, which no honest file needs.
    if header.vox_offset > needed + 2**20:
        raise ClipError(path, "damaged", f"its pixels are said to begin at byte {header.vox_offset}; export it again")
    file.seek(header.vox_offset)
    content = file.read(needed)
    if len(content) < needed:
        text = f"ends early: {len(content)} of {needed} bytes of its pixels are there; fetch it again"
        raise ClipError(path, "truncated", text)
    values = np.frombuffer(content, header.pixel_dtype)
    if header.datatype in _COLOURS:
        return values.reshape(shape)
    return np.moveaxis(values.reshape(channels, num_frames, height, width), 0, -1)


def _rescale(values: np.ndarray, header: Header) -> np.ndarray:
    """Applies slope and intercept, unless they change nothing or are left out (slope 0)."""
    is_absent = header.slope == 0 or not math.isfinite(header.slope) or not math.isfinite(header.intercept)
    if is_absent or (header.slope, header.intercept) == (1, 0) or header.datatype in _COLOURS:
        return values
    return values * np.float32(header.slope) + np.float32(header.intercept)


def _times(header: Header, num_frames: int) -> Times:
    """Times from the time axis, where the header gives it a unit of time."""
    seconds = _SECONDS_PER_UNIT.get(header.units & 0x38)
    step = abs(header.pixdim[header.time_axis])
    if seconds is None or not step * seconds > 0:
        return assumed_times(num_frames)
    fps = 1 / (step * seconds)
    # A step of exactly 1 s is what programs write that do not know it.
    return even_times(num_frames, fps, "file") if is_plausible_fps(fps) and fps != 1 else assumed_times(num_frames)


def _spacing(header: Header) -> Spacing:
    """The size of a pixel; without a unit, millimetres, as most programs mean it."""
    unit = _CM_PER_UNIT.get(header.units & 0x07, math.nan)
    dx, dy = abs(header.pixdim[1]) * unit, abs(header.pixdim[2]) * unit
    # Exactly 1 by 1 is what programs write that do not know it.
    is_default = header.pixdim[1:3] == (1, 1)
    if is_default or not (math.isfinite(dx) and math.isfinite(dy) and dx > 0 and dy > 0):
        return UNKNOWN_SPACING
    depth_cm = header.dim[2] * dy
    if not PLAUSIBLE_DEPTH_CM[0] <= depth_cm <= PLAUSIBLE_DEPTH_CM[1]:
        text = f"the header makes the picture {depth_cm:.3g} cm high, which cannot be; its spacing is not used"
        return Spacing(None, None, None, (Flag("spacing_implausible", text),))
    flags = ()
    if header.units & 0x07 == 0:
        flags = (Flag("spacing_unit_guessed", "the size of a pixel has no unit and was taken as millimetres"),)
    return Spacing((dy, dx), "NIfTI header", None, flags)
