"""Where TensorFlow is installed, TFDS reads every record as we do."""

import numpy as np
import pytest
import tiny_echonet

from data_prep import echonet
from echojax import records

pytest.importorskip("tensorflow", reason="TFDS reads records only where TensorFlow is installed")
pytestmark = pytest.mark.filterwarnings("default")


def open_with_tfds(directory):
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(directory)


@pytest.mark.parametrize("pixels", ["rgb", "gray"])
def test_videos(pixels, tmp_path):
    source = tiny_echonet.make_source()
    source.files["b.avi"] = tiny_echonet.make_avi(1, height=48, width=40)
    source.files["c.avi"] = b""
    source.tracings["d"] = []
    source.rows["a"]["EF"] = ""
    data_dir = tmp_path / "data"
    echonet.convert(source.write(tmp_path / "source"), data_dir, pixels, 1, False, False, videos_per_shard=1)
    stored, builder = records.open_videos(data_dir), open_with_tfds(data_dir)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    seen = []
    for split, dataset in builder.as_dataset(shuffle_files=False).items():
        for example in dataset.as_numpy_iterator():
            position = stored.position(example["name"].decode())
            seen.append(position)
            assert_equal(example, stored.record(position))
            np.testing.assert_array_equal(example["frames"], stored.frames(position))
            assert stored.split[position] == split.upper()
    assert sorted(seen) == [0, 1, 2, 3]


def assert_equal(example, record):
    assert example["frames"].dtype == np.uint8
    np.testing.assert_array_equal(example["frames"], record.frames)
    assert example["row"] == record.row
    for key in ("fps", "ef_percent", "edv_ml", "esv_ml"):
        np.testing.assert_equal(example[key], np.float32(getattr(record, key)))
    assert example["tracing_frame"].tolist() == [tracing.frame for tracing in record.tracings]
    assert example["tracing_rows"].tolist() == [len(tracing.points) for tracing in record.tracings]
    points = np.concatenate([np.empty((0, 4)), *(tracing.points for tracing in record.tracings)])
    np.testing.assert_array_equal(example["tracing_points"], points)


@pytest.mark.parametrize("encoding", ["uint8", "float32"])
def test_masks(encoding, tmp_path):
    logits = {name: np.random.default_rng(n).normal(size=(5, 8, 6)).astype(np.float32) for n, name in enumerate("abc")}
    writer = records.MaskWriter(tmp_path, "VAL", list(logits), encoding, num_shards=2)
    for shard, names in writer.pending():
        writer.write_shard(shard, ((name, logits[name]) for name in names))
    writer.finish()
    stored = records.open_masks(tmp_path)
    examples = list(open_with_tfds(writer.directory).as_dataset(split="val").as_numpy_iterator())
    assert sorted(example["name"].decode() for example in examples) == ["a", "b", "c"]
    for example in examples:
        assert example["frames"].dtype == stored.dtype
        np.testing.assert_array_equal(example["frames"], stored.frames(example["name"].decode()))
