"""The frames of many videos in one row in memory: laying them out, and reading them by number.

    flat = FlatFrames(videos.parts(names))                        # nothing is read yet
    videos = videos.read_through(flat.numbers)                    # frames(...) now gives numbers, not pixels
    row = np.concatenate([block for _, block in flat.blocks(1024)])
    row[videos.frames(position, 10, 74, 2)[:, 0]]                 # the pixels after all

Frame 0 of the row is empty, all zeros: the zeros with which a clip is filled up beyond the end of its video are then
right as numbers and as pixels.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from echojax.errors import UserError
from echojax.records.index import ShardReader, check_span


class FramesReader(Protocol):
    """What `VideoSet` and `MaskSet` read frames through, by position in an index."""

    def view(self, position: int, start: int, stop: int | None, step: int) -> np.ndarray:
        """Frames [start, stop) by step, not to be written to."""


class FlatFrames:
    """Where the frames of chosen records lie in one row; all of one shape and dtype.

    Args:
      parts: readers, and the positions of the chosen records of each.

    Attributes:
      num_frames: of the row, the empty one included.
      frame_shape: (h, w, c) of video frames, (h, w) of masks.
      dtype: of the pixels.

    Raises:
      UserError: the records have frames of several shapes.
    """

    def __init__(self, parts: Sequence[tuple[ShardReader, np.ndarray]]):
        self._parts = parts
        shapes = {reader.shape(position)[1:] for reader, positions in parts for position in positions}
        if len(shapes) != 1:
            raise UserError(f"frames of {len(shapes)} shapes ({sorted(shapes)}) cannot be kept in one array")
        self.frame_shape = shapes.pop()
        self.dtype = parts[0][0].dtype
        self._first, self.num_frames = [], 1
        for reader, positions in parts:
            lengths = np.array([reader.shape(position)[0] for position in positions], np.int64)
            first = np.zeros(len(reader), np.int64)
            first[positions] = self.num_frames + np.cumsum(lengths) - lengths
            self._first.append(first)
            self.num_frames += int(lengths.sum())

    @property
    def num_bytes(self) -> int:
        """Size of the row."""
        return self.num_frames * int(np.prod(self.frame_shape)) * self.dtype.itemsize

    def blocks(self, num_frames: int) -> Iterator[tuple[int, np.ndarray]]:
        """Reads the row in blocks of `num_frames`, the last as long as is left: (number of the first frame, frames)."""
        first = 0
        block = np.zeros((min(num_frames, self.num_frames), *self.frame_shape), self.dtype)
        filled = 1
        for reader, position in ((reader, position) for reader, positions in self._parts for position in positions):
            frames = reader.view(position, 0, None, 1)
            while len(frames):
                if filled == len(block):
                    yield first, block
                    first += filled
                    block = np.empty((min(num_frames, self.num_frames - first), *self.frame_shape), self.dtype)
                    filled = 0
                taken = frames[: len(block) - filled]
                block[filled : filled + len(taken)] = taken
                filled += len(taken)
                frames = frames[len(taken) :]
        yield first, block

    def numbers(self, part: int) -> "NumberReader":
        """Reads numbers in the place of a part's frames."""
        return NumberReader(self._parts[part][0], self._first[part], self.frame_shape[2:])

    def pixels(self, part: int, row: np.ndarray) -> "RowReader":
        """Reads a part's frames from the row in memory."""
        return RowReader(self._parts[part][0], self._first[part], row)


@dataclasses.dataclass(frozen=True)
class NumberReader:
    """Numbers of frames in the row: int32 `(n, 1)` for pixels `(n, h, w, 1 or 3)`, `(n,)` for masks `(n, h, w)`."""

    reader: ShardReader
    first: np.ndarray
    channels: tuple[int, ...]

    def view(self, position: int, start: int, stop: int | None, step: int) -> np.ndarray:
        first, stop = _locate(self.reader, self.first, position, start, stop, step)
        # What drops the channels of pixels drops the last axis of the numbers too.
        return np.arange(first + start, first + stop, step, dtype=np.int32).reshape(-1, *(1 for _ in self.channels))


@dataclasses.dataclass(frozen=True)
class RowReader:
    """Frames in the row in memory."""

    reader: ShardReader
    first: np.ndarray
    row: np.ndarray

    def view(self, position: int, start: int, stop: int | None, step: int) -> np.ndarray:
        first, stop = _locate(self.reader, self.first, position, start, stop, step)
        return self.row[first + start : first + stop : step]


def _locate(reader: ShardReader, firsts: np.ndarray, position: int, start: int, stop: int | None, step: int):
    """Number of the record's first frame, and where the span asked for ends."""
    stop = check_span(reader, position, start, stop, step)
    if not firsts[position]:
        raise IndexError(f"record {position} of {reader.path(position).parent} is not kept in memory")
    return int(firsts[position]), stop
