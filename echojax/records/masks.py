"""Masks of every frame of many videos: a resumable writer, and `MaskSet` to read them.

How a mask is stored (`encoding`), from a network's logit:

| encoding  | stored                            | meant for                                                           |
|-----------|-----------------------------------|---------------------------------------------------------------------|
| `uint8`   | uint8 `round(255 sigmoid(logit))` | default; off by at most 1/510 in probability                        |
| `floor`   | uint8 `floor(255 sigmoid(logit))` | EchoDFKD's teacher masks; low by half a step on average             |
| `float32` | the logit                         | as CSS stores them; four times the space                            |
"""

import copy
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import scipy.special

from echojax.errors import UserError
from echojax.files import remove_leftovers, write_json
from echojax.records import example, index, tfrecord
from echojax.records.flat import FramesReader
from echojax.remote import local_folder, publish

ENCODINGS = ("uint8", "floor", "float32")
DATASET = "masks"
VIDEOS_PER_SHARD = 64
PLAN_NAME = "plan.json"
_COMMAND = "python main.py --config=configs/css.py --mode=infer"


@dataclasses.dataclass(frozen=True, eq=False)
class MaskRecord:
    """The masks of one video: `frames (t, h, w)`, uint8 probabilities or float32 logits."""

    name: str
    frames: np.ndarray


def encode_logits(logits: np.ndarray, encoding: str) -> np.ndarray:
    """Turns logits into what is stored; see the module's table. Any shape; float32 in, uint8 or float32 out."""
    logits = np.asarray(logits, np.float32)
    if encoding == "float32":
        return logits
    scaled = 255 * scipy.special.expit(logits)
    return (np.rint(scaled) if encoding == "uint8" else np.floor(scaled)).astype(np.uint8)


def decode_logits(stored: np.ndarray) -> np.ndarray:
    """Turns what is stored back into float32 logits.

    A stored uint8 `v` gives the logit of `v / 255`; 0 and 255, each of which stands for half a step, give the logit of
    the middle of that half step, ±6.93.
    """
    if stored.dtype == np.float32:
        return stored
    table = scipy.special.logit(np.clip(np.arange(256) / 255, 0.25 / 255, 1 - 0.25 / 255)).astype(np.float32)
    return table[stored]


class MaskWriter:
    """Writes the masks of one split, shard by shard, so that a killed run goes on where it stopped.

        writer = MaskWriter("runs/css/masks", "TRAIN", names, producer="runs/css/best")
        for shard, names in writer.pending():
            writer.write_shard(shard, ((name, logits_of(name)) for name in names))
        writer.finish()

    Args:
      masks_dir: gets a folder for the split.
      split: `TRAIN`, `VAL` or `TEST`.
      names: every video of the split, in the order in which they shall be stored.
      encoding: one of `ENCODINGS`.
      num_shards: how many files; by default 64 videos each.
      producer: says which model made the masks, for instance checkpoint and step. A run is resumed only with the same.

    Raises:
      UserError: the folder was begun with other names, encoding, shards or producer.
    """

    def __init__(
        self,
        masks_dir: os.PathLike | str,
        split: str,
        names: Sequence[str],
        encoding: str = "uint8",
        num_shards: int | None = None,
        producer: str = "",
    ):
        if encoding not in ENCODINGS:
            raise UserError(f"unknown mask encoding {encoding!r}; choose one of {', '.join(ENCODINGS)}")
        self.directory = pathlib.Path(masks_dir).absolute() / split.lower()
        self._split = split.lower()
        self._encoding = encoding
        num_shards = num_shards or max(1, -(-len(names) // VIDEOS_PER_SHARD))
        self._parts = [[str(n) for n in part] for part in np.array_split(np.array(names, dtype=str), num_shards)]
        self._codec = example.mask_codec("float32" if encoding == "float32" else "uint8")
        digest = hashlib.sha256("\n".join(map(str, names)).encode()).hexdigest()
        self._plan = {
            "encoding": encoding,
            "producer": producer,
            "num_videos": len(names),
            "names_sha256": digest,
            "num_shards": num_shards,
        }
        self._begin()

    def pending(self) -> Iterator[tuple[int, list[str]]]:
        """Shards that are still to be written, with the names of their videos in order."""
        for shard, names in enumerate(self._parts):
            if not self._path(shard).is_file():
                yield shard, names

    def write_shard(self, shard: int, masks: Iterable[tuple[str, np.ndarray]]) -> None:
        """Writes one shard; it appears whole or not at all.

        Args:
          shard: its number, from `pending`.
          masks: name and float logits `(t, h, w)` of each of its videos, in the order of `pending`; taken one by one.
            Masks that are uint8 already, probability times 255, are stored as they are, or as `decode_logits` of them
            where the encoding is `float32`.

        Raises:
          UserError: a logit is not finite.
          ValueError: other names or another order than planned, or another shape.
        """
        expected = self._parts[shard]
        with tfrecord.TFRecordWriter(self._path(shard)) as writer:
            for name, logits in masks:
                if writer.num_records >= len(expected) or name != expected[writer.num_records]:
                    raise ValueError(f"shard {shard} expects {expected}, got {name} as number {writer.num_records}")
                writer.write(self._codec.encode({"name": name, "frames": self._encode(name, logits)}))
            if writer.num_records != len(expected):
                raise ValueError(f"shard {shard} expects {len(expected)} videos, got {writer.num_records}")
        publish(self._path(shard))

    def finish(self) -> None:
        """Writes index, `features.json` and `dataset_info.json`; the masks can then be opened.

        Raises:
          ValueError: shards are still pending.
        """
        if missing := [shard for shard, _ in self.pending()]:
            raise ValueError(f"{self.directory}: shards {missing} are not written yet")
        build_mask_index(self.directory, self._codec)
        shards = [(len(names), self._path(shard).stat().st_size) for shard, names in enumerate(self._parts)]
        producer = self._plan["producer"] or "an unnamed model"
        description = f"Masks of the left ventricle, {self._encoding}, by {producer}."
        example.write_dataset_info(self.directory, DATASET, self._codec, {self._split: shards}, description)

    def _begin(self) -> None:
        remove_leftovers(self.directory)
        path = self.directory / PLAN_NAME
        if path.is_file():
            begun = json.loads(path.read_text())
            if other := [key for key in self._plan if begun.get(key) != self._plan[key]]:
                raise UserError(
                    f"{self.directory}: begun with "
                    + ", ".join(f"{key}={begun.get(key)!r} instead of {self._plan[key]!r}" for key in other)
                    + "; remove the folder to begin anew, or choose another"
                )
            return
        write_json(path, self._plan)

    def _path(self, shard: int) -> pathlib.Path:
        return self.directory / example.shard_name(DATASET, self._split, shard, len(self._parts))

    def _encode(self, name: str, logits: np.ndarray) -> np.ndarray:
        logits = np.asarray(logits)
        if logits.ndim == 3 and logits.dtype == np.uint8 and len(logits):
            return decode_logits(logits) if self._encoding == "float32" else logits
        if logits.ndim != 3 or logits.dtype.kind != "f" or len(logits) == 0:
            raise ValueError(f"{name}: expected float logits or uint8 (t, h, w), got {logits.dtype} {logits.shape}")
        if not np.isfinite(logits).all():
            raise UserError(f"{name}: the network's masks are not finite; its checkpoint is unusable")
        return encode_logits(logits, self._encoding)


def build_mask_index(directory: pathlib.Path, codec: example.ExampleCodec) -> None:
    """Derives `index.npz` of one split's folder from its shards."""
    names, sizes, fields = [], [], []
    for path in sorted(directory.glob(f"{DATASET}-*.tfrecord-?????-of-?????")):
        fields.extend(f | {"shard": len(names)} for f in index.scan_shard(path, codec))
        names.append(path.name)
        sizes.append(path.stat().st_size)
    int_keys = ("shard", "record_offset", "record_bytes", "frames_offset")
    arrays = {key: np.array([f[key] for f in fields], np.int64) for key in int_keys}
    arrays |= {
        "name": np.array([f["name"] for f in fields], dtype=str),
        "frames_shape": np.array([f["frames_shape"] for f in fields], np.int64).reshape(-1, 3),
        "shard_name": np.array(names, dtype=str),
        "shard_bytes": np.array(sizes, np.int64),
    }
    index.save_arrays(directory / index.INDEX_NAME, arrays)


def open_masks(masks_dir: os.PathLike | str, made_by: str = _COMMAND) -> "MaskSet":
    """Opens the masks of all splits below a directory, or those of one split's folder.

    Args:
      masks_dir: a local one, or one in a bucket (gs://...), which is then copied to the cache (`echojax.remote`).
      made_by: the command that makes them, for messages.

    Raises:
      UserError: there are none, a split is not complete, or the splits are stored in different ways.
    """
    root = local_folder(masks_dir).absolute()
    folders = [root] if (root / PLAN_NAME).is_file() else sorted(path.parent for path in root.glob(f"*/{PLAN_NAME}"))
    if not folders:
        raise UserError(f"{masks_dir}: holds no masks; make them with `{made_by}`")
    return MaskSet(root, [example.require_dataset(folder, made_by) for folder in folders], made_by)


class MaskSet:
    """Masks by name of the video. Reading is thread-safe, and the object can be pickled.

    Attributes:
      masks_dir: absolute path.
      name: str `(n,)`, of all splits.
      encoding: `uint8`, `floor` or `float32`.
      dtype: `uint8` (probability times 255) or `float32` (logit).
      producer: per split folder, what made the masks.
    """

    def __init__(self, masks_dir: pathlib.Path, folders: Sequence[pathlib.Path], made_by: str = _COMMAND):
        plans = {folder.name: json.loads((folder / PLAN_NAME).read_text()) for folder in folders}
        encodings = {name: plan["encoding"] for name, plan in plans.items()}
        if len(set(encodings.values())) > 1:
            raise UserError(f"{masks_dir}: the splits are stored in different encodings, {encodings}; infer them alike")
        self.masks_dir, self._made_by = masks_dir, made_by
        self.encoding = next(iter(encodings.values()))
        self.dtype = "float32" if self.encoding == "float32" else "uint8"
        self.producer = {name: plan["producer"] for name, plan in plans.items()}
        self._readers, self._place, self._num_frames = [], {}, {}
        for folder in folders:
            arrays = index.load_arrays(folder, index.RECORD_KEYS)
            for position, name in enumerate(map(str, arrays["name"])):
                if name in self._place:
                    raise UserError(f"{masks_dir}: masks of {name} are in two splits; remove one folder")
                self._place[name] = (len(self._readers), position)
                self._num_frames[name] = int(arrays["frames_shape"][position, 0])
            self._readers.append(index.ShardReader(folder, arrays, np.dtype(self.dtype)))
        self.name = np.array(list(self._place), dtype=str)

    def __len__(self) -> int:
        return len(self.name)

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def parts(self, names: Iterable[str]) -> list[tuple[index.ShardReader, np.ndarray]]:
        """The reader of each split's masks, with the positions of the videos of these names."""
        places = [self._find(name) for name in sorted(names)]
        positions = [sorted(position for of, position in places if of is reader) for reader in self._readers]
        return [(reader, np.array(of, np.int64)) for reader, of in zip(self._readers, positions, strict=True)]

    def read_through(self, make_reader: Callable[[int], FramesReader]) -> "MaskSet":
        """The same masks, read through `make_reader(number of the part)`, for instance from memory."""
        masks = copy.copy(self)
        masks._readers = [make_reader(part) for part in range(len(self._readers))]
        return masks

    def num_frames(self, name: str) -> int:
        """Number of masks of a video."""
        self._find(name)
        return self._num_frames[name]

    def frames(self, name: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        """Reads masks [start, stop) by step, as stored and no other bytes: `(n, h, w)`.

        Raises:
          IndexError: the frames are not all within the video.
        """
        return np.array(self.view(name, start, stop, step), order="C")

    def view(self, name: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        """The same masks without a copy: read-only, to be copied to where they are needed."""
        reader, position = self._find(name)
        return reader.view(position, start, stop, step)

    def record(self, name: str) -> MaskRecord:
        """Reads all masks of a video and checks the record's checksum."""
        reader, position = self._find(name)
        fields = example.mask_codec(self.dtype).decode(reader.record(position))
        return MaskRecord(fields["name"], fields["frames"])

    def _find(self, name: str) -> tuple[index.ShardReader, int]:
        if name not in self._place:
            raise UserError(f"{self.masks_dir}: no masks of {name}; make those of its split with `{self._made_by}`")
        reader, position = self._place[name]
        return self._readers[reader], position
