"""The index of a directory of shards, and reading pixels through it."""

import collections
import math
import mmap
import os
import pathlib
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from echojax.errors import UserError
from echojax.files import replaced_file
from echojax.records import example, tfrecord

INDEX_NAME = "index.npz"
# What every index holds, of videos or masks: names, and where each record is.
RECORD_KEYS = (
    *("name", "shard", "record_offset", "record_bytes", "frames_offset", "frames_shape"),
    *("shard_name", "shard_bytes"),
)
REBUILD = "python -m data_prep verify {} --rebuild_index"
# Files mapped at once: below the 256 open files that macOS allows by default.
_MAX_MAPS = 128


def map_file(path: os.PathLike | str) -> mmap.mmap | bytes:
    """Maps a file into memory, read-only."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def save_arrays(path: os.PathLike | str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an `.npz` without pickles; it appears whole or not at all."""
    with replaced_file(path) as temporary:
        np.savez(temporary, **arrays)


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote; a damaged file raises OSError, ValueError, EOFError or BadZipFile."""
    # NumPy leaves the file open when it finds it damaged.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def load_arrays(directory: pathlib.Path, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """Reads a directory's index, of which the given arrays are needed.

    Raises:
      UserError: it is missing or unreadable, describes other records, or the shards have other sizes than it says.
    """
    path = directory / INDEX_NAME
    mend = f"make it anew with `{REBUILD.format(directory)}`"
    try:
        arrays = read_arrays(path)
        if absent := [key for key in keys if key not in arrays]:
            raise UserError(f"{path}: is not the index of such records (it lacks {', '.join(absent)}); {mend}")
        sizes = {str(name): int(size) for name, size in zip(arrays["shard_name"], arrays["shard_bytes"], strict=True)}
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {mend}") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: unreadable ({error}); {mend}") from error
    for name, size in sizes.items():
        shard = directory / name
        found = shard.stat().st_size if shard.is_file() else None
        if found != size:
            state = "missing" if found is None else f"has {found} bytes"
            raise UserError(
                f"{shard}: {state}, the index expects {size}; restore it or convert again "
                f"(`python -m data_prep verify {directory}` lists what is wrong)"
            )
    return arrays


def scan_shard(path: pathlib.Path, codec: example.ExampleCodec) -> Iterator[dict]:
    """Reads everything but the pixels of a shard's records, in file order.

    Yields:
      per record what `ExampleCodec.decode_small` gives, with `record_offset`, `record_bytes` and `frames_offset`.

    Raises:
      DamagedShard: the framing is broken, or a record is no example of this codec. Checksums of data are not checked.
    """
    buffer = map_file(path)
    for offset, length in tfrecord.scan(path, buffer):
        try:
            frames_offset, frames_bytes, small = example.locate_frames(buffer, offset, length)
            fields = codec.decode_small(small)
        except Exception as error:  # TFDS and protobuf raise many kinds on bytes they do not understand.
            raise tfrecord.DamagedShard(path, offset - tfrecord.HEADER_BYTES, f"unreadable record ({error})") from error
        if codec.frames_bytes(fields["frames_shape"]) != frames_bytes:
            raise tfrecord.DamagedShard(
                path, offset, f"{frames_bytes} bytes of pixels cannot have the shape {fields['frames_shape']}"
            )
        yield fields | {"record_offset": offset, "record_bytes": length, "frames_offset": frames_offset}


def check_span(reader: "ShardReader", position: int, start: int, stop: int | None, step: int) -> int:
    """Where the frames [start, stop) by step of a record end; None is its end.

    Raises:
      IndexError: they are not all within the record.
    """
    num_frames = reader.shape(position)[0]
    stop = num_frames if stop is None else stop
    if not (0 <= start <= stop <= num_frames and step > 0):
        raise IndexError(f"frames [{start}, {stop}) by {step} are not within the {num_frames} of record {position}")
    return stop


class ShardReader:
    """Reads records and frames of a directory of shards by position in its index; safe to share and to pickle.

    Args:
      directory: where the shards are.
      arrays: `shard_name (s,)`; per record `shard`, `record_offset`, `record_bytes`, `frames_offset`, each `(n,)`, and
        `frames_shape (n, k)`.
      dtype: of the pixels.

    Attributes:
      dtype: of the pixels.
    """

    def __init__(self, directory: pathlib.Path, arrays: Mapping[str, np.ndarray], dtype: np.dtype):
        self._paths = [directory / str(name) for name in arrays["shard_name"]]
        self._shard = arrays["shard"]
        self._record_offset = arrays["record_offset"]
        self._record_bytes = arrays["record_bytes"]
        self._frames_offset = arrays["frames_offset"]
        self._frames_shape = arrays["frames_shape"]
        self.dtype = np.dtype(dtype)
        self._lock = threading.Lock()
        self._maps = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._shard)

    def shape(self, position: int) -> tuple[int, ...]:
        """Shape of a record's frames, the time axis first."""
        return tuple(int(n) for n in self._frames_shape[position])

    def view(self, position: int, start: int, stop: int | None, step: int) -> np.ndarray:
        """Looks at frames [start, stop) by step where they lie, read-only; only their pages are read from disk.

        Raises:
          IndexError: the frames are not within the record.
        """
        shape = self.shape(position)
        stop = check_span(self, position, start, stop, step)
        pixels_per_frame = math.prod(shape[1:])
        first = int(self._frames_offset[position]) + start * pixels_per_frame * self.dtype.itemsize
        flat = np.frombuffer(self._map(position), self.dtype, (stop - start) * pixels_per_frame, offset=first)
        return flat.reshape(stop - start, *shape[1:])[::step]

    def record(self, position: int) -> bytes:
        """Reads a whole record and checks its checksum."""
        path = self._paths[self._shard[position]]
        offset, length = int(self._record_offset[position]), int(self._record_bytes[position])
        return tfrecord.read_record(path, self._map(position), offset, length)

    def path(self, position: int) -> pathlib.Path:
        """The shard that holds a record."""
        return self._paths[self._shard[position]]

    def _map(self, position: int) -> mmap.mmap | bytes:
        shard = int(self._shard[position])
        with self._lock:
            if shard not in self._maps:
                self._maps[shard] = map_file(self._paths[shard])
                if len(self._maps) > _MAX_MAPS:
                    # Arrays that still look at the map keep it alive; it is closed with the last of them.
                    self._maps.popitem(last=False)
            self._maps.move_to_end(shard)
            return self._maps[shard]

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()
        del state["_lock"], state["_maps"]
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _maps=collections.OrderedDict())
