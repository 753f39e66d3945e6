"""Records as `tf.train.Example`, described and coded by TFDS without TensorFlow.

The pixels of a record are one bytes feature, `frames/value`: raw, uncompressed, C order, so that frames [start, stop)
are a byte range of the file. `locate_frames` finds that range without reading the pixels.

TFDS takes half a second to import, and training needs only the index: it is imported inside the functions that code
whole records.
"""

import functools
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from echojax.errors import UserError

FRAMES_KEY = b"frames/value"
VERSION = "1.0.0"
_LENGTH_DELIMITED = 2


class ExampleCodec:
    """Encodes and decodes the records of one kind.

    Args:
      features: a `tfds.features.FeaturesDict` whose pixels are a bytes-encoded tensor called `frames`.
    """

    def __init__(self, features: Any):
        from tensorflow_datasets.core import example_parser, example_serializer

        self.features = features
        specs = features.get_serialized_info()
        self._serializer = example_serializer.ExampleSerializer(specs)
        self._parser = example_parser.ExampleParserNp(specs)
        small = {key: spec for key, spec in specs.items() if key != "frames"}
        small["frames"] = {"shape": specs["frames"]["shape"]}
        self._small_parser = example_parser.ExampleParserNp(small)

    def frames_bytes(self, shape: tuple[int, ...]) -> int:
        """Size in bytes of pixels of this shape."""
        return int(np.prod(shape, dtype=np.int64)) * np.dtype(self.features["frames"].np_dtype).itemsize

    def encode(self, example: Mapping[str, Any]) -> bytes:
        """Serialises an example; equal examples give equal bytes."""
        message = self._serializer.get_tf_example(self.features.encode_example(example))
        return message.SerializeToString(deterministic=True)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Deserialises a whole record, pixels included."""
        return _with_text(self.features.decode_example_np(self._parser.parse_example(data)))

    def decode_small(self, data: bytes) -> dict[str, Any]:
        """Deserialises what `locate_frames` returned: all but the pixels, whose shape comes as `frames_shape`."""
        example = dict(self._small_parser.parse_example(data))
        shape = tuple(int(n) for n in example.pop("frames")["shape"])
        small = {key: self.features[key].decode_example_np(value) for key, value in example.items()}
        return _with_text(small | {"frames_shape": shape})


def _with_text(fields: dict[str, Any]) -> dict[str, Any]:
    """TFDS gives texts as bytes."""
    return {key: value.decode() if isinstance(value, bytes) else value for key, value in fields.items()}


@functools.cache
def video_codec(channels: int) -> ExampleCodec:
    """The records of a video data set: pixels, name, labels and tracings. NaN means that a value is unknown."""
    import tensorflow_datasets as tfds

    tensor = tfds.features.Tensor
    float_ = functools.partial(tfds.features.Scalar, np.float32)
    shape = (None, None, None, channels)
    return ExampleCodec(
        tfds.features.FeaturesDict(
            {
                "name": tfds.features.Text(doc="file name without extension"),
                "row": tfds.features.Scalar(np.int64, doc="row in the source's list, from 0"),
                "frames": tensor(shape=shape, dtype=np.uint8, encoding="bytes", doc="pixels, t h w c, RGB or grey"),
                "fps": float_(doc="frames per second"),
                "ef_percent": float_(doc="left-ventricular ejection fraction, percent; NaN: unknown"),
                "edv_ml": float_(doc="end-diastolic volume, mL; NaN: unknown"),
                "esv_ml": float_(doc="end-systolic volume, mL; NaN: unknown"),
                "tracing_frame": tensor(shape=(None,), dtype=np.int64, doc="frame of each tracing, in file order"),
                "tracing_rows": tensor(shape=(None,), dtype=np.int64, doc="rows of each tracing"),
                "tracing_points": tensor(
                    shape=(None, 4),
                    dtype=np.float64,
                    encoding="bytes",
                    doc="X1, Y1, X2, Y2 in pixels, all tracings concatenated; the first row of each is the long axis",
                ),
            }
        )
    )


@functools.cache
def mask_codec(dtype: str) -> ExampleCodec:
    """The records of a mask data set: one mask per frame of a video, uint8 probabilities or float32 logits."""
    import tensorflow_datasets as tfds

    frames = tfds.features.Tensor(
        shape=(None, None, None), dtype=np.dtype(dtype), encoding="bytes", doc="masks, t h w, one per video frame"
    )
    return ExampleCodec(
        tfds.features.FeaturesDict(
            {"name": tfds.features.Text(doc="the video's file name without extension"), "frames": frames}
        )
    )


def locate_frames(buffer, offset: int, length: int) -> tuple[int, int, bytes]:
    """Finds the pixels of a serialised example by walking its wire format, without touching them.

    An example is `{1: features}`, features are `{1: entry}*`, an entry is `{1: key, 2: feature}`, and a bytes feature
    is `{1: {1: value}}`; every level is a tag, a length and the content.

    Args:
      buffer: the file's bytes.
      offset, length: the record's data in it.

    Returns:
      offset of the pixels in the buffer, their length in bytes, and the example without them, serialised.

    Raises:
      ValueError: this is no serialised example with a feature `frames/value`.
    """
    start, end = _enter(buffer, offset, offset + length)
    entries, span = [], None
    position = start
    while position < end:
        entry_start, entry_end = _enter(buffer, position, end)
        key_start, key_end = _enter(buffer, entry_start, entry_end)
        if buffer[key_start:key_end] == FRAMES_KEY:
            value_start, value_end = key_end, entry_end
            for _ in range(3):
                value_start, value_end = _enter(buffer, value_start, value_end)
            span = (value_start, value_end - value_start)
        else:
            entries.append(buffer[position:entry_end])
        position = entry_end
    if span is None:
        raise ValueError("the record has no feature frames/value")
    features = b"".join(entries)
    return *span, b"\x0a" + _varint(len(features)) + features


def _enter(buffer, position: int, end: int) -> tuple[int, int]:
    """Reads a tag and a length at `position`; returns the bounds of the content."""
    if position >= end or buffer[position] & 7 != _LENGTH_DELIMITED:
        raise ValueError("the record is not a serialised tf.train.Example")
    length, shift = 0, 0
    while True:
        position += 1
        if position >= end:
            raise ValueError("the record ends inside a length")
        byte = buffer[position]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    start = position + 1
    if start + length > end:
        raise ValueError("a feature of the record reaches beyond its end")
    return start, start + length


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def shard_name(dataset: str, split: str, shard: int, num_shards: int) -> str:
    """TFDS's file name of a shard, such as `echonet-train.tfrecord-00003-of-00234`."""
    return f"{dataset}-{split.lower()}.tfrecord-{shard:05d}-of-{num_shards:05d}"


def write_dataset_info(
    directory: os.PathLike | str,
    dataset: str,
    codec: ExampleCodec,
    splits: Mapping[str, Sequence[tuple[int, int]]],
    description: str,
) -> None:
    """Writes `features.json`, then `dataset_info.json`: with them `tfds.builder_from_directory(directory)` works.

    Args:
      directory: the folder of the shards.
      dataset: name of the data set, as in the shards' file names.
      codec: of the records.
      splits: per split, number of records and of bytes of each shard. Splits without shards are left out.
      description: one paragraph for people.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import dataset_info, naming
    from tensorflow_datasets.core import splits as splits_lib

    directory = pathlib.Path(directory)
    template = naming.ShardedFileTemplate(data_dir=directory, dataset_name=dataset, filetype_suffix="tfrecord")
    infos = [
        splits_lib.SplitInfo(
            name=split.lower(),
            shard_lengths=[records for records, _ in shards],
            num_bytes=sum(size for _, size in shards),
            filename_template=template,
        )
        for split, shards in splits.items()
        if shards
    ]
    info = dataset_info.DatasetInfo(
        builder=dataset_info.DatasetIdentity(
            name=dataset, version=tfds.core.Version(VERSION), data_dir=str(directory), module_name="echojax"
        ),
        description=description,
        features=codec.features,
        split_dict=splits_lib.SplitDict(infos),
        disable_shuffling=True,
    )
    info.set_file_format("tfrecord")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".info.", suffix=".tmp") as temporary:
        info.write_to_directory(temporary)
        for name in ("features.json", "dataset_info.json"):
            os.replace(pathlib.Path(temporary) / name, directory / name)


def require_dataset(directory: os.PathLike | str, command: str) -> pathlib.Path:
    """Returns the directory as an absolute path, or says which command makes what is missing there."""
    path = pathlib.Path(directory).absolute()
    if not (path / "dataset_info.json").is_file():
        state = "is not complete" if path.is_dir() and any(path.iterdir()) else "does not exist or is empty"
        raise UserError(f"{directory}: {state} (no dataset_info.json); make it with `{command}`")
    return path
