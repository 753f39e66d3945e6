import pickle

import numpy as np
import pytest

from echojax import records
from echojax.errors import UserError
from echojax.records import masks

NAMES = ["a", "b", "c", "d", "e"]


def make_logits(name: str) -> np.ndarray:
    rng = np.random.default_rng(ord(name))
    return rng.normal(0, 4, (3 + ord(name) % 4, 8, 6)).astype(np.float32)


def write(directory, split="TRAIN", names=NAMES, shards=None, **options):
    writer = records.MaskWriter(directory, split, names, **options)
    for shard, members in writer.pending():
        if shards is None or shard in shards:
            writer.write_shard(shard, ((name, make_logits(name)) for name in members))
    return writer


def test_invariant_10_quantisation_of_known_logits():
    logits = np.float32([-6, -2.3, -2.1, -0.77, -0.76, -0.01, 0, 0.008, 5, 16, 17])
    assert records.encode_logits(logits, "floor").tolist() == [0, 23, 27, 80, 81, 126, 127, 128, 253, 254, 255]
    assert records.encode_logits(logits, "uint8").tolist() == [1, 23, 28, 81, 81, 127, 128, 128, 253, 255, 255]
    assert records.encode_logits(logits, "float32") is logits


@pytest.mark.parametrize("encoding, error", [("uint8", 0.5 / 255), ("floor", 1 / 255)])
def test_quantisation_error(encoding, error):
    logits = np.linspace(-12, 12, 10_001, dtype=np.float32)
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    stored = records.encode_logits(logits, encoding)
    assert stored.dtype == np.uint8
    assert np.abs(stored / 255 - probability).max() <= error + 1e-6


def test_decoded_logits_encode_to_the_same():
    stored = np.arange(256, dtype=np.uint8)
    logits = records.decode_logits(stored)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert (np.diff(logits) > 0).all()
    np.testing.assert_array_equal(records.encode_logits(logits, "uint8"), stored)


@pytest.mark.parametrize("encoding", masks.ENCODINGS)
def test_every_mask_comes_back(tmp_path, encoding):
    write(tmp_path, encoding=encoding, num_shards=2).finish()
    write(tmp_path, "VAL", ["v"], encoding=encoding).finish()
    stored = pickle.loads(pickle.dumps(records.open_masks(tmp_path)))
    assert (stored.encoding, stored.dtype, len(stored)) == (
        encoding,
        "float32" if encoding == "float32" else "uint8",
        6,
    )
    assert sorted(stored.name) == [*NAMES, "v"]
    for name in [*NAMES, "v"]:
        expected = records.encode_logits(make_logits(name), encoding)
        assert stored.num_frames(name) == len(expected)
        np.testing.assert_array_equal(stored.frames(name), expected)
        np.testing.assert_array_equal(stored.frames(name, 1, 3), expected[1:3])
        np.testing.assert_array_equal(stored.record(name).frames, expected)
        assert stored.frames(name).dtype == stored.dtype
        assert stored.frames(name).flags.aligned


def test_interrupted_run_goes_on(tmp_path):
    first = write(tmp_path, num_shards=3, shards=[0, 2], producer="step 1")
    with pytest.raises(ValueError, match=r"shards \[1\] are not written"):
        first.finish()
    with pytest.raises(UserError, match="is not complete"):
        records.open_masks(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in first.directory.glob("*.tfrecord-*")}
    assert len(times) == 2
    again = records.MaskWriter(tmp_path, "TRAIN", NAMES, num_shards=3, producer="step 1")
    assert list(again.pending()) == [(1, ["c", "d"])]
    write(tmp_path, num_shards=3, producer="step 1").finish()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    stored = records.open_masks(tmp_path)
    assert list(stored.name) == NAMES
    assert stored.producer == {"train": "step 1"}


def test_a_shard_that_fails_leaves_nothing(tmp_path):
    writer = records.MaskWriter(tmp_path, "TRAIN", NAMES, num_shards=2)

    def fail():
        yield "a", make_logits("a")
        raise KeyError

    with pytest.raises(KeyError):
        writer.write_shard(0, fail())
    assert [path.name for path in writer.directory.iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    "options, text",
    [
        ({"encoding": "float32"}, "encoding='uint8' instead of 'float32'"),
        ({"producer": "other"}, "producer='' instead of 'other'"),
        ({"num_shards": 4}, "num_shards=2 instead of 4"),
        ({"names": [*NAMES, "f"]}, "num_videos=5 instead of 6"),
        ({"names": NAMES[::-1]}, "names_sha256"),
    ],
)
def test_another_plan_is_refused(tmp_path, options, text):
    write(tmp_path, num_shards=2, shards=[0])
    with pytest.raises(UserError, match=text):
        write(tmp_path, **({"num_shards": 2} | options))


@pytest.mark.parametrize("names", [["a"], ["b", "a", "c"], ["a", "b", "d"], ["a", "b", "c", "d"]])
def test_other_names_than_planned_are_refused(tmp_path, names):
    writer = records.MaskWriter(tmp_path, "TRAIN", NAMES, num_shards=2)
    with pytest.raises(ValueError, match="shard 0 expects"):
        writer.write_shard(0, ((name, make_logits(name)) for name in names))


def test_unusable_masks_are_refused(tmp_path):
    writer = records.MaskWriter(tmp_path, "TRAIN", ["a"])
    with pytest.raises(UserError, match="a: the network's masks are not finite"):
        writer.write_shard(0, [("a", np.full((2, 4, 4), np.nan, np.float32))])
    for bad in (
        np.zeros((2, 4, 4), bool),
        np.zeros((2, 4, 4), np.int64),
        np.zeros((4, 4), np.float32),
        np.zeros((0, 4, 4), np.float32),
    ):
        with pytest.raises(ValueError, match="float logits"):
            writer.write_shard(0, [("a", bad)])
    with pytest.raises(UserError, match="unknown mask encoding 'png'"):
        records.MaskWriter(tmp_path, "VAL", ["a"], encoding="png")


def test_opening_what_does_not_fit(tmp_path):
    with pytest.raises(UserError, match="holds no masks; make them with `python main"):
        records.open_masks(tmp_path)
    write(tmp_path, "TRAIN").finish()
    write(tmp_path, "VAL", encoding="floor").finish()
    with pytest.raises(UserError, match="different encodings"):
        records.open_masks(tmp_path)
    write(tmp_path / "twice", "TRAIN").finish()
    write(tmp_path / "twice", "VAL", ["a"]).finish()
    with pytest.raises(UserError, match="masks of a are in two splits"):
        records.open_masks(tmp_path / "twice")


def test_masks_are_no_videos(tmp_path):
    write(tmp_path).finish()
    with pytest.raises(UserError, match="is not the index of such records"):
        records.open_videos(tmp_path / "train")


def test_unknown_name(tmp_path):
    write(tmp_path).finish()
    stored = records.open_masks(tmp_path / "train")
    assert "a" in stored
    assert "z" not in stored
    for read in (stored.frames, stored.num_frames, stored.record):
        with pytest.raises(UserError, match="no masks of z"):
            read("z")
