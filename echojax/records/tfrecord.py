"""TFRecord framing: one file of byte strings, each with its length and two checksums.

    length    uint64, little-endian
    crc       uint32, masked CRC-32C of the eight length bytes
    data      `length` bytes
    crc       uint32, masked CRC-32C of the data

TensorFlow's reader, TFDS and Grain read such files. Writing our own costs few lines, needs no TensorFlow, and gives the
byte offset of every record, from which a clip's frames are read alone.
"""

import hashlib
import os
import pathlib
import struct
from collections.abc import Iterator

import google_crc32c

from echojax.errors import UserError

HEADER_BYTES = 12
FOOTER_BYTES = 4
_MASK_DELTA = 0xA282EAD8


class DamagedShard(UserError):
    """A TFRecord file whose bytes contradict its checksums or end early; `offset` is where the bad record begins."""

    def __init__(self, path: os.PathLike | str, offset: int, text: str):
        super().__init__(f"{path}: byte {offset}: {text}")
        self.path = pathlib.Path(path)
        self.offset = offset
        self.text = text

    def __reduce__(self):
        return type(self), (self.path, self.offset, self.text)


def masked_crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), rotated right by 15 bits plus a constant, as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


class TFRecordWriter:
    """Writes one TFRecord file that appears under its name only when it is complete.

    Use as a context manager; an exception inside leaves no file behind.

    Attributes:
      num_records: records written so far.
      num_bytes: file size so far.
    """

    def __init__(self, path: os.PathLike | str):
        self._path = pathlib.Path(path)
        self._temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        self._hash = hashlib.sha256()
        self.num_records = 0
        self.num_bytes = 0

    def __enter__(self) -> "TFRecordWriter":
        self._file = open(self._temporary, "wb")
        return self

    def write(self, data: bytes) -> None:
        """Appends one record."""
        length = struct.pack("<Q", len(data))
        self._append(length + struct.pack("<I", masked_crc32c(length)))
        self._append(data)
        self._append(struct.pack("<I", masked_crc32c(data)))
        self.num_records += 1

    def sha256(self) -> str:
        """Hexadecimal SHA-256 of all bytes so far."""
        return self._hash.hexdigest()

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.num_bytes += len(data)

    def __exit__(self, error_type, error, traceback) -> None:
        try:
            if error_type is None:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if error_type is None:
                os.replace(self._temporary, self._path)
        finally:
            self._temporary.unlink(missing_ok=True)


def scan(path: os.PathLike | str, buffer) -> Iterator[tuple[int, int]]:
    """Walks from record to record, reading only the lengths.

    Args:
      path: the file's name, for messages.
      buffer: its bytes, for instance an `mmap`.

    Yields:
      offset of the data and its length in bytes, per record.

    Raises:
      DamagedShard: a length contradicts its checksum, or the file ends inside a record.
    """
    position, size = 0, len(buffer)
    while position < size:
        if position + HEADER_BYTES > size:
            raise DamagedShard(path, position, f"the file ends inside a record header ({size} bytes in all)")
        length = read_length(path, buffer, position)
        end = position + HEADER_BYTES + length + FOOTER_BYTES
        if end > size:
            raise DamagedShard(path, position, f"the record ends at byte {end}, the file at {size}: it is truncated")
        yield position + HEADER_BYTES, length
        position = end


def read_length(path: os.PathLike | str, buffer, position: int) -> int:
    """Reads and checks the length in the record header at `position`."""
    length, crc = struct.unpack("<QI", buffer[position : position + HEADER_BYTES].ljust(HEADER_BYTES, b"\0"))
    if crc != masked_crc32c(struct.pack("<Q", length)):
        raise DamagedShard(path, position, "the record's length contradicts its checksum")
    return length


def read_record(path: os.PathLike | str, buffer, offset: int, length: int) -> bytes:
    """Reads the data of one record and checks it against its checksum.

    Args:
      path: the file's name, for messages.
      buffer: its bytes.
      offset, length: from `scan` or an index.

    Raises:
      DamagedShard: the checksums contradict the bytes, or no such record begins there.
    """
    start = offset - HEADER_BYTES
    if read_length(path, buffer, start) != length:
        raise DamagedShard(path, start, f"expected a record of {length} bytes here; the index belongs to another file")
    data = bytes(buffer[offset : offset + length])
    footer = buffer[offset + length : offset + length + FOOTER_BYTES].ljust(FOOTER_BYTES, b"\0")
    if len(data) != length or struct.unpack("<I", footer)[0] != masked_crc32c(data):
        end = offset + length + FOOTER_BYTES
        raise DamagedShard(path, start, f"bytes {start} to {end} contradict the record's checksum")
    return data
