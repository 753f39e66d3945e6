"""The video data set: records, index, and `VideoSet`, through which everything reads."""

import copy
import csv
import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from echojax.errors import UserError
from echojax.files import replaced_file
from echojax.records import example, index, tfrecord
from echojax.records.flat import FramesReader
from echojax.remote import local_folder

SPLITS = ("TRAIN", "VAL", "TEST")
SOURCE_LIST = "source_list.csv"
INDEX_KEYS = (
    *index.RECORD_KEYS,
    *("split", "row", "fps", "ef_percent", "edv_ml", "esv_ml", "source_name", "source_split"),
    *("num_tracings", "tracing_frame", "tracing_rows", "tracing_points"),
)
_PER_VIDEO = ("row", "fps", "ef_percent", "edv_ml", "esv_ml", "record_offset", "record_bytes", "frames_offset")


@dataclasses.dataclass(frozen=True, eq=False)
class Tracing:
    """One expert contour of the left ventricle in one frame.

    Attributes:
      frame: index of the traced frame.
      points: float64 `(rows, 4)`, X1, Y1, X2, Y2 in pixels of the stored frame; row 0 is the long axis, the others are
        chords from wall to wall along it.
    """

    frame: int
    points: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class VideoRecord:
    """One video with what is known about it.

    Attributes:
      name: file name without extension.
      split: `TRAIN`, `VAL` or `TEST`.
      row: row in the source's list, from 0.
      frames: uint8 `(t, h, w, c)`, c = 3 (RGB) or 1 (grey).
      fps: frames per second.
      ef_percent, edv_ml, esv_ml: ejection fraction and volumes; NaN where unknown.
      tracings: in file order; a frame may have several.
    """

    name: str
    split: str
    row: int
    frames: np.ndarray
    fps: float
    ef_percent: float = math.nan
    edv_ml: float = math.nan
    esv_ml: float = math.nan
    tracings: tuple[Tracing, ...] = ()


@dataclasses.dataclass(frozen=True)
class ShardSummary:
    """What was written into one shard."""

    num_records: int
    num_bytes: int
    sha256: str


def write_video_shard(path: os.PathLike | str, records: Iterable[VideoRecord], channels: int) -> ShardSummary:
    """Writes records, one at a time in memory, into a shard that appears whole or not at all.

    Args:
      path: name it with `example.shard_name`, from which TFDS and the index learn the split.
      records: of one split, in the order in which they shall be stored.
      channels: 3 (RGB) or 1 (grey) of every record.
    """
    codec = example.video_codec(channels)
    with tfrecord.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(codec.encode(_to_example(record)))
        return ShardSummary(writer.num_records, writer.num_bytes, writer.sha256())


def build_video_index(directory: os.PathLike | str, dataset: str = "echonet", channels: int | None = None) -> None:
    """Derives `index.npz` from the shards, and from `source_list.csv` where it is there.

    Args:
      directory: of the shards.
      dataset: name of the data set in the shards' file names.
      channels: of the frames; read from `features.json` if not given.

    Raises:
      DamagedShard: a shard's framing is broken.
    """
    directory = pathlib.Path(directory)
    codec = example.video_codec(read_channels(directory) if channels is None else channels)
    names, sizes, fields = [], [], []
    for split in SPLITS:
        for path in sorted(directory.glob(f"{dataset}-{split.lower()}.tfrecord-?????-of-?????")):
            fields.extend(f | {"split": split, "shard": len(names)} for f in index.scan_shard(path, codec))
            names.append(path.name)
            sizes.append(path.stat().st_size)
    fields.sort(key=lambda f: f["row"])
    arrays = _index_arrays(fields) | {
        "shard_name": np.array(names, dtype=str),
        "shard_bytes": np.array(sizes, np.int64),
    }
    source = read_source_list(directory) or [(f["name"], f["split"]) for f in fields]
    arrays["source_name"] = np.array([name for name, _ in source], dtype=str)
    arrays["source_split"] = np.array([split for _, split in source], dtype=str)
    index.save_arrays(directory / index.INDEX_NAME, arrays)


def read_channels(directory: pathlib.Path) -> int:
    """Reads from `features.json` whether frames are RGB (3) or grey (1)."""
    import tensorflow_datasets as tfds

    if not (directory / "features.json").is_file():
        raise UserError(
            f"{directory}: features.json is missing; convert again with the same command, which keeps the shards"
        )
    return int(tfds.features.FeaturesDict.from_config(str(directory))["frames"].shape[-1])


def write_source_list(directory: pathlib.Path, rows: Sequence[tuple[str, str]]) -> None:
    """Keeps the source's list: name and split of every row in file order, converted or not."""
    with replaced_file(directory / SOURCE_LIST) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "split"), *rows])


def read_source_list(directory: pathlib.Path) -> list[tuple[str, str]]:
    """Reads what `write_source_list` kept; empty where there is none."""
    path = directory / SOURCE_LIST
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [(row["name"], row["split"]) for row in csv.DictReader(file)]


def open_videos(data_dir: os.PathLike | str) -> "VideoSet":
    """Opens a directory of video records.

    Args:
      data_dir: a local one, or one in a bucket (gs://...), which is then copied to the cache (`echojax.remote`).

    Raises:
      UserError: the directory is not there or not complete, or its files contradict each other.
    """
    data_dir = local_folder(data_dir)
    directory = example.require_dataset(data_dir, _command(data_dir))
    return VideoSet(directory, index.load_arrays(directory, INDEX_KEYS))


class VideoSet:
    """Videos in the order of their source's list.

    Positions are integers from 0 to `len(self) - 1`. Reading is thread-safe, and the object can be pickled.

    Attributes:
      data_dir: absolute path.
      name, split: str `(n,)`.
      row: int64 `(n,)`, row in the source's list; rows that failed to convert are missing from it.
      fps, ef_percent, edv_ml, esv_ml: float32 `(n,)`; NaN where unknown.
      num_frames, height, width, channels: int64 `(n,)`.
    """

    def __init__(self, data_dir: pathlib.Path, arrays: dict[str, np.ndarray]):
        self.data_dir = data_dir
        self.name, self.split, self.row = arrays["name"], arrays["split"], arrays["row"]
        self.fps, self.ef_percent = arrays["fps"], arrays["ef_percent"]
        self.edv_ml, self.esv_ml = arrays["edv_ml"], arrays["esv_ml"]
        self.num_frames, self.height, self.width, self.channels = arrays["frames_shape"].T
        self._source_name, self._source_split = arrays["source_name"], arrays["source_split"]
        self._tracing_start = np.concatenate([[0], np.cumsum(arrays["num_tracings"])])
        self._tracing_frame = arrays["tracing_frame"]
        self._points_start = np.concatenate([[0], np.cumsum(arrays["tracing_rows"])])
        self._tracing_points = arrays["tracing_points"]
        self._reader = index.ShardReader(data_dir, arrays, np.uint8)
        self._position = {str(name): position for position, name in enumerate(self.name)}
        self._chosen = np.ones(len(self.name), bool)

    def __len__(self) -> int:
        return len(self.name)

    def __contains__(self, name: str) -> bool:
        return name in self._position

    def select(self, split: str) -> np.ndarray:
        """Positions of a split, int64, in source order; `ALL` is every video. Upper and lower case are one."""
        wanted = _check_split(split)
        return np.flatnonzero(((self.split == wanted) | (wanted == "ALL")) & self._chosen)

    def only(self, names: Sequence[str]) -> "VideoSet":
        """The same videos, of which `select` gives these alone.

        Raises:
          UserError: a name is unknown.
        """
        if unknown := [name for name in names if name not in self]:
            raise UserError(
                f"{self.data_dir}: {len(unknown)} of {len(names)} names are unknown here, such as {unknown[0]}; "
                "report.csv there lists what was left out and why"
            )
        chosen = copy.copy(self)
        chosen._chosen = np.isin(self.name, list(names))
        return chosen

    def parts(self, names: Iterable[str]) -> list[tuple[index.ShardReader, np.ndarray]]:
        """The reader of the frames, with the positions of the videos of these names."""
        return [(self._reader, np.flatnonzero(np.isin(self.name, list(names))))]

    def read_through(self, make_reader: Callable[[int], FramesReader]) -> "VideoSet":
        """The same videos, whose frames are read through `make_reader(number of the part)`: from memory, say."""
        videos = copy.copy(self)
        videos._reader = make_reader(0)
        return videos

    def position(self, name: str) -> int:
        """Position of the video of this name (without extension)."""
        if name not in self._position:
            raise UserError(f"{self.data_dir}: no video named {name}; report.csv there lists what was left out and why")
        return self._position[name]

    def source_names(self, split: str) -> list[str]:
        """Names of every row of the source's list in a split, in file order, including videos that failed to convert.

        The semi-supervised split shuffles this list; it must not depend on which files happened to be readable.
        """
        wanted = _check_split(split)
        pairs = zip(self._source_name, self._source_split, strict=True)
        return [str(name) for name, split in pairs if wanted in ("ALL", split)]

    def frames(self, position: int, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        """Reads frames [start, stop) by step, and no other bytes: uint8 `(n, h, w, c)`.

        Raises:
          IndexError: the frames are not all within the video.
        """
        return np.array(self.view(position, start, stop, step), order="C")

    def view(self, position: int, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        """The same frames without a copy: read-only, to be copied to where they are needed."""
        return self._reader.view(position, start, stop, step)

    def tracings(self, position: int) -> tuple[Tracing, ...]:
        """Tracings of a video in file order, from the index; empty where there are none."""
        first, last = self._tracing_start[position : position + 2]
        return tuple(
            Tracing(
                int(self._tracing_frame[t]), self._tracing_points[self._points_start[t] : self._points_start[t + 1]]
            )
            for t in range(first, last)
        )

    def record(self, position: int) -> VideoRecord:
        """Reads a whole record and checks its checksum.

        Raises:
          DamagedShard: bytes of the record have changed since it was written.
        """
        codec = example.video_codec(int(self.channels[position]))
        fields = codec.decode(self._reader.record(position))
        return _from_example(fields, str(self.split[position]))

    def shard_path(self, position: int) -> pathlib.Path:
        """The shard that holds a video."""
        return self._reader.path(position)


def _command(data_dir: pathlib.Path) -> str:
    """The command that makes a data set; the defaults of `data_dir` are named after their sources."""
    source = "synthetic" if data_dir.name == "synthetic" else "echonet"
    return f"python -m data_prep {source} --source=DIR --data_dir={data_dir}"


def _check_split(split: str) -> str:
    wanted = split.upper()
    if wanted not in (*SPLITS, "ALL"):
        raise UserError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)} and ALL")
    return wanted


def _to_example(record: VideoRecord) -> dict:
    points = [np.asarray(t.points, np.float64).reshape(-1, 4) for t in record.tracings]
    return {
        "name": record.name,
        "row": record.row,
        "frames": np.ascontiguousarray(record.frames),
        "fps": record.fps,
        "ef_percent": record.ef_percent,
        "edv_ml": record.edv_ml,
        "esv_ml": record.esv_ml,
        "tracing_frame": np.array([t.frame for t in record.tracings], np.int64),
        "tracing_rows": np.array([len(p) for p in points], np.int64),
        "tracing_points": np.concatenate([np.empty((0, 4)), *points]),
    }


def _from_example(fields: dict, split: str) -> VideoRecord:
    return VideoRecord(
        name=fields["name"],
        split=split,
        row=int(fields["row"]),
        frames=fields["frames"],
        tracings=tuple(_split_tracings(fields)),
        **{key: float(fields[key]) for key in ("fps", "ef_percent", "edv_ml", "esv_ml")},
    )


def _split_tracings(fields: dict) -> Iterator[Tracing]:
    ends = np.cumsum(fields["tracing_rows"], dtype=np.int64)
    for frame, rows, end in zip(fields["tracing_frame"], fields["tracing_rows"], ends, strict=True):
        yield Tracing(int(frame), np.array(fields["tracing_points"][end - rows : end]))


def _index_arrays(fields: list[dict]) -> dict[str, np.ndarray]:
    float_keys = ("fps", "ef_percent", "edv_ml", "esv_ml")
    arrays = {
        key: np.array([f[key] for f in fields], np.float32 if key in float_keys else np.int64) for key in _PER_VIDEO
    }
    arrays |= {
        "name": np.array([f["name"] for f in fields], dtype=str),
        "split": np.array([f["split"] for f in fields], dtype=str),
        "shard": np.array([f["shard"] for f in fields], np.int32),
        "frames_shape": np.array([f["frames_shape"] for f in fields], np.int64).reshape(-1, 4),
        "num_tracings": np.array([len(f["tracing_frame"]) for f in fields], np.int64),
        "tracing_frame": np.concatenate([np.empty(0, np.int64), *(f["tracing_frame"] for f in fields)]),
        "tracing_rows": np.concatenate([np.empty(0, np.int64), *(f["tracing_rows"] for f in fields)]),
        "tracing_points": np.concatenate([np.empty((0, 4)), *(f["tracing_points"] for f in fields)]),
    }
    return arrays
