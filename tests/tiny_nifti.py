"""NIfTI files, written field by field as the standard's header file lists them."""

import gzip
import pathlib
import struct

import numpy as np

_CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "u2": 512}


def make_nifti(
    values: np.ndarray,
    pixdim: tuple[float, ...] = (1.0, 0.8, 0.9, 1.0, 1.0),
    units: int = 2,
    version: int = 1,
    byte_order: str = "<",
    **fields,
) -> bytes:
    """The bytes of a single-file NIfTI.

    Args:
      values: (t, h, w), or (z, t, h, w) and so on: the reverse of the file's axes.
      fields: `dim`, `datatype`, `slope`, `intercept`, `vox_offset` or `magic` instead of the right ones.
    """
    dim = fields.get("dim", (values.ndim, *values.shape[::-1]))
    dim = (*dim, *[1] * (8 - len(dim)))
    pixdim = (*pixdim, *[1.0] * (8 - len(pixdim)))
    datatype = fields.get("datatype", _CODES[values.dtype.str[1:]])
    slope, intercept = fields.get("slope", 0.0), fields.get("intercept", 0.0)
    offset = fields.get("vox_offset", 352 if version == 1 else 544)
    header = bytearray(offset if 0 <= offset <= 4096 else 544)
    pack = lambda form, position, *items: struct.pack_into(byte_order + form, header, position, *items)  # noqa: E731
    if version == 1:
        pack("i", 0, 348)
        pack("8h", 40, *dim)
        pack("hh", 70, datatype, 8 * values.dtype.itemsize)
        pack("8f", 76, *pixdim)
        pack("fff", 108, offset, slope, intercept)
        header[123] = units
        header[344:348] = fields.get("magic", b"n+1\0")
    else:
        pack("i", 0, 540)
        header[4:12] = fields.get("magic", b"n+2\0\r\n\x1a\n")
        pack("hh", 12, datatype, 8 * values.dtype.itemsize)
        pack("8q", 16, *dim)
        pack("8d", 104, *pixdim)
        pack("q", 168, offset)
        pack("dd", 176, slope, intercept)
        pack("i", 500, units)
    return bytes(header) + values.astype(values.dtype.newbyteorder(byte_order)).tobytes()


def write_nifti(path: pathlib.Path, values: np.ndarray, **options) -> pathlib.Path:
    """Writes a NIfTI; compressed if the name ends with .gz."""
    content = make_nifti(values, **options)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
