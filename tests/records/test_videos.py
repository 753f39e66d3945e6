import dataclasses
import pickle
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from echojax import records
from echojax.errors import UserError
from echojax.records import example, index, videos

FLOATS = ("fps", "ef_percent", "edv_ml", "esv_ml")


def make_records() -> list[records.VideoRecord]:
    rng = np.random.default_rng(0)
    shapes = [(9, 16, 12), (5, 16, 12), (30, 20, 24), (7, 16, 12), (6, 16, 12)]
    splits = ["TRAIN", "VAL", "TRAIN", "TRAIN", "TEST"]
    result = []
    for number, (shape, split) in enumerate(zip(shapes, splits, strict=True)):
        tracings = tuple(
            records.Tracing(int(frame), rng.uniform(0, 16, (rows, 4)))
            for frame, rows in [(4, 21), (2, 17), (4, 3)][: number % 4]
        )
        result.append(
            records.VideoRecord(
                name=f"vidéo {number}",
                split=split,
                row=2 * number,
                frames=rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
                fps=50 + number / 4,
                ef_percent=np.nan if number == 1 else 10.0 * number,
                edv_ml=100.5,
                esv_ml=np.nan if number == 2 else 50.5,
                tracings=tracings,
            )
        )
    return result


def write(directory, video_records, videos_per_shard=2):
    directory.mkdir(exist_ok=True)
    shards = {}
    for split in videos.SPLITS:
        members = [record for record in video_records if record.split == split]
        parts = [members[i : i + videos_per_shard] for i in range(0, len(members), videos_per_shard)]
        shards[split] = []
        for number, part in enumerate(parts):
            path = directory / example.shard_name("echonet", split, number, len(parts))
            summary = records.write_video_shard(path, part, video_records[0].frames.shape[-1])
            assert summary.num_bytes == path.stat().st_size
            shards[split].append((summary.num_records, summary.num_bytes))
    channels = video_records[0].frames.shape[-1]
    records.build_video_index(directory, channels=channels)
    example.write_dataset_info(directory, "echonet", example.video_codec(channels), shards, "test")
    return directory


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("videos") / "data", make_records())


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "copy")


def assert_tracings_equal(found, expected):
    assert [t.frame for t in found] == [t.frame for t in expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.points, b.points)


def test_every_field_comes_back(written):
    stored = records.open_videos(written)
    assert len(stored) == 5
    for position, expected in enumerate(make_records()):
        record = stored.record(position)
        np.testing.assert_array_equal(record.frames, expected.frames)
        np.testing.assert_array_equal(stored.frames(position), expected.frames)
        assert (record.name, record.split, record.row) == (expected.name, expected.split, expected.row)
        assert (stored.name[position], stored.split[position], stored.row[position]) == dataclasses.astuple(record)[:3]
        for key in FLOATS:
            np.testing.assert_equal(getattr(record, key), float(np.float32(getattr(expected, key))))
            np.testing.assert_equal(getattr(stored, key)[position], np.float32(getattr(expected, key)))
        assert_tracings_equal(record.tracings, expected.tracings)
        assert_tracings_equal(stored.tracings(position), expected.tracings)
        size = [getattr(stored, key)[position] for key in ("num_frames", "height", "width", "channels")]
        assert tuple(size) == expected.frames.shape


def test_grey_records(tmp_path):
    grey = [dataclasses.replace(record, frames=record.frames[..., :1]) for record in make_records()]
    stored = records.open_videos(write(tmp_path / "data", grey))
    assert list(stored.channels) == [1] * 5
    np.testing.assert_array_equal(stored.record(2).frames, grey[2].frames)


@pytest.mark.parametrize(
    "start, stop, step", [(0, None, 1), (3, 17, 2), (29, 30, 1), (5, 5, 1), (0, 30, 7), (1, 30, 3)]
)
def test_clips(written, start, stop, step):
    clip = records.open_videos(written).frames(2, start, stop, step)
    np.testing.assert_array_equal(clip, make_records()[2].frames[start:stop:step])
    assert clip.flags.owndata or clip.base.flags.owndata
    assert clip.flags.c_contiguous


def test_a_clip_is_read_from_its_own_bytes_alone(copy):
    stored = records.open_videos(copy)
    expected = make_records()[2].frames
    path = stored.shard_path(2)
    content = path.read_bytes()
    first = content.index(expected.tobytes()) + 10 * expected[0].size
    last = first + 8 * expected[0].size
    path.write_bytes(bytes(first) + content[first:last] + bytes(len(content) - last))
    np.testing.assert_array_equal(records.open_videos(copy).frames(2, 10, 18), expected[10:18])


@pytest.mark.parametrize("start, stop, step", [(-1, 3, 1), (0, 31, 1), (4, 2, 1), (31, None, 1), (0, 4, 0), (4, 0, -1)])
def test_frames_outside_the_video_are_an_error(written, start, stop, step):
    with pytest.raises(IndexError, match="not within the 30"):
        records.open_videos(written).frames(2, start, stop, step)


def test_select_and_position(written):
    stored = records.open_videos(written)
    assert stored.select("train").tolist() == [0, 2, 3]
    assert stored.select("VAL").tolist() == [1]
    assert stored.select("All").tolist() == [0, 1, 2, 3, 4]
    assert stored.select("TRAIN").dtype == np.int64
    assert stored.position("vidéo 3") == 3
    assert "vidéo 3" in stored
    with pytest.raises(UserError, match="no video named vidéo 9"):
        stored.position("vidéo 9")
    with pytest.raises(UserError, match="the splits are TRAIN, VAL, TEST and ALL"):
        stored.select("dev")


def test_source_names_include_what_failed(copy):
    assert records.open_videos(copy).source_names("TRAIN") == ["vidéo 0", "vidéo 2", "vidéo 3"]
    videos.write_source_list(copy, [("failed, too", "TRAIN"), ("vidéo 0", "TRAIN"), ("vidéo 1", "VAL"), ("x", "TRAIN")])
    records.build_video_index(copy)
    stored = records.open_videos(copy)
    assert stored.source_names("train") == ["failed, too", "vidéo 0", "x"]
    assert stored.source_names("ALL") == ["failed, too", "vidéo 0", "vidéo 1", "x"]


def test_equal_records_give_equal_bytes(written, tmp_path):
    again = write(tmp_path / "again", make_records())
    for path in written.glob("*.tfrecord-*"):
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_pickled_set_reads(written):
    stored = records.open_videos(written)
    stored.frames(0)
    again = pickle.loads(pickle.dumps(stored))
    np.testing.assert_array_equal(again.frames(2, 3, 9, 2), stored.frames(2, 3, 9, 2))
    assert_tracings_equal(again.tracings(3), stored.tracings(3))


def test_threads_read_with_fewer_maps_than_shards(written, monkeypatch):
    monkeypatch.setattr(index, "_MAX_MAPS", 1)
    stored, expected = records.open_videos(written), make_records()
    wrong = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for position in rng.integers(0, 5, 200):
            if not np.array_equal(stored.frames(position), expected[position].frames):
                wrong.append(position)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_missing_directory_names_the_command(tmp_path):
    with pytest.raises(
        UserError, match=r"does not exist or is empty.*python -m data_prep echonet --source=DIR --data_dir="
    ):
        records.open_videos(tmp_path / "nothing")


def test_unfinished_directory_is_refused(copy):
    (copy / "dataset_info.json").unlink()
    with pytest.raises(UserError, match="is not complete"):
        records.open_videos(copy)


@pytest.mark.parametrize("damage", ["missing", "cut", "garbage"])
def test_bad_index_says_how_to_make_it_anew(copy, damage):
    path = copy / "index.npz"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:300] if damage == "cut" else b"garbage")
    with pytest.raises(UserError, match="--rebuild_index"):
        records.open_videos(copy)
    records.build_video_index(copy)
    assert path.read_bytes() == content


@pytest.mark.parametrize("damage", ["missing", "longer"])
def test_changed_shard_is_refused(copy, damage):
    path = sorted(copy.glob("*.tfrecord-*"))[1]
    content = path.read_bytes()
    path.unlink()
    if damage == "longer":
        path.write_bytes(content + b"x")
    with pytest.raises(
        UserError, match=f"{path.name}: {'missing' if damage == 'missing' else 'has'}.*data_prep verify"
    ):
        records.open_videos(copy)


def test_flipped_byte_is_found_by_record_only(copy):
    stored = records.open_videos(copy)
    path = stored.shard_path(2)
    content = bytearray(path.read_bytes())
    content[content.index(make_records()[2].frames.tobytes()) + 77] ^= 8
    path.write_bytes(content)
    stored = records.open_videos(copy)
    assert (stored.frames(2) != make_records()[2].frames).sum() == 1
    with pytest.raises(records.DamagedShard, match="contradict the record's checksum"):
        stored.record(2)


def test_index_holds_no_pickle(written):
    with np.load(written / "index.npz", allow_pickle=False) as arrays:
        assert all(arrays[key].dtype != object for key in arrays)


def test_locate_frames_refuses_other_bytes():
    for data in (b"", b"\x00", b"\x0a", b"\x0a\xff", b"\x0a\x05ab", b"\x08\x01", bytes(range(200))):
        with pytest.raises(ValueError, match="record"):
            example.locate_frames(data, 0, len(data))


def test_no_shards_is_an_empty_set(tmp_path):
    records.build_video_index(tmp_path, channels=3)
    example.write_dataset_info(tmp_path, "echonet", example.video_codec(3), {"TRAIN": []}, "none")
    stored = records.open_videos(tmp_path)
    assert len(stored) == 0
    assert stored.select("ALL").tolist() == []


def test_reading_imports_no_tensorflow_no_tfds_no_opencv(written):
    code = (
        "import sys; from echojax import records; v = records.open_videos(sys.argv[1])\n"
        "v.frames(2, 0, 4); v.tracings(3)\n"
        "bad = {'tensorflow', 'tensorflow_datasets', 'cv2', 'pandas', 'torch', 'jax'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, str(written)], check=True)
