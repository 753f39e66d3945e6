import json
import shutil

import numpy as np
import pytest
import tiny_echonet

from data_prep import __main__ as command_line
from data_prep import echonet, verify
from echojax import records
from echojax.errors import UserError
from echojax.records import example, tfrecord

SPLITS = {"a": "TRAIN", "b": "TRAIN", "c": "TRAIN", "d": "TRAIN", "e": "VAL"}
TRAIN_0 = "echonet-train.tfrecord-00000-of-00002"
TRAIN_1 = "echonet-train.tfrecord-00001-of-00002"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny_echonet.make_source(SPLITS).write(tmp_path_factory.mktemp("verify") / "source")


@pytest.fixture(scope="module")
def converted(source):
    data_dir = source.parent / "data"
    echonet.convert(source, data_dir, workers=1, progress=False, videos_per_shard=2)
    return data_dir


@pytest.fixture
def data_dir(converted, tmp_path):
    return shutil.copytree(converted, tmp_path / "data")


def flip(path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_sound_records(data_dir, capsys):
    assert verify.verify_records(data_dir) == []
    assert command_line.main(["verify", str(data_dir)]) == 0
    assert capsys.readouterr().out == f"{data_dir}: sound\n"


@pytest.mark.parametrize("seed", range(12))
def test_flipped_byte_is_located(seed, data_dir, capsys):
    rng = np.random.default_rng(seed)
    path = data_dir / TRAIN_0
    sizes = [length + 16 for _, length in tfrecord.scan(path, path.read_bytes())]
    # Also in the headers and footers, where scanning from the start would lose its way.
    place = [0, 9, sizes[0] - 2, sizes[0] + 3, sizes[0] + 9, sum(sizes) - 1]
    position = place[seed] if seed < len(place) else int(rng.integers(sum(sizes)))
    flip(path, position, bit=int(rng.integers(8)))
    name, start = ("a", 0) if position < sizes[0] else ("b", sizes[0])
    findings = verify.verify_records(data_dir)
    assert [(f.file, f.record, f.offset) for f in findings] == [(path, name, start)]
    assert command_line.main(["verify", str(data_dir)]) == 1
    out = capsys.readouterr().out
    assert f"{path}: record {name}: " in out
    assert "python -m data_prep echonet --source=" in out


def test_two_damaged_records_are_two_findings(data_dir):
    flip(data_dir / TRAIN_0, 0)
    flip(data_dir / TRAIN_1, 5000)
    flip(data_dir / TRAIN_0, -10)
    assert sorted(finding.record for finding in verify.verify_records(data_dir)) == ["a", "b", "c"]


def test_advice_mends(data_dir, source):
    flip(data_dir / TRAIN_0, 5000)
    (finding,) = verify.verify_records(data_dir)
    assert "remove the damaged shards, then" in finding.mend
    finding.file.unlink()
    summary = echonet.convert(source, data_dir, workers=1, progress=False, videos_per_shard=2)
    assert summary.num_resumed == summary.num_shards - 1
    assert verify.verify_records(data_dir) == []


def test_missing_shard(data_dir):
    (data_dir / TRAIN_1).unlink()
    (finding,) = verify.verify_records(data_dir)
    assert (finding.file, finding.problem) == (data_dir / TRAIN_1, "missing")


def test_truncated_shard_names_the_lost_videos(data_dir):
    path = data_dir / TRAIN_1
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 - 100])
    (finding,) = verify.verify_records(data_dir)
    assert "truncated" in finding.problem
    assert finding.problem.endswith("lost or cut: c, d")
    assert finding.record == "c"


def test_longer_shard(data_dir):
    path = data_dir / TRAIN_1
    path.write_bytes(path.read_bytes() + b"more")
    (finding,) = verify.verify_records(data_dir)
    assert "the index covers" in finding.problem


def test_shard_too_many(data_dir):
    shutil.copy(data_dir / TRAIN_0, data_dir / "echonet-train.tfrecord-00002-of-00003")
    (finding,) = verify.verify_records(data_dir)
    assert "belongs to no split" in finding.problem
    assert finding.file.name == "echonet-train.tfrecord-00002-of-00003"


def test_shards_exchanged(data_dir):
    first, second = (data_dir / TRAIN_0).read_bytes(), (data_dir / TRAIN_1).read_bytes()
    (data_dir / TRAIN_0).write_bytes(second)
    (data_dir / TRAIN_1).write_bytes(first)
    findings = verify.verify_records(data_dir)
    assert {finding.file.name for finding in findings} == {TRAIN_0, TRAIN_1}


def test_sound_shard_of_another_conversion(data_dir):
    record = records.open_videos(data_dir).record(0)
    frames = 255 - record.frames
    other = records.VideoRecord(record.name, record.split, record.row, frames, record.fps, tracings=record.tracings)
    second = records.open_videos(data_dir).record(1)
    records.write_video_shard(data_dir / TRAIN_0, [other, second], 3)
    (finding,) = verify.verify_records(data_dir)
    assert "another SHA-256" in finding.problem


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"PK\x03\x04 cut"])
def test_bad_index_is_rebuilt(content, data_dir, capsys):
    before = (data_dir / "index.npz").read_bytes()
    (data_dir / "index.npz").unlink()
    if content is not None:
        (data_dir / "index.npz").write_bytes(content)
    (finding,) = verify.verify_records(data_dir)
    assert finding.file == data_dir / "index.npz"
    assert "--rebuild_index" in finding.mend
    assert command_line.main(["verify", str(data_dir), "--rebuild_index"]) == 0
    assert (data_dir / "index.npz").read_bytes() == before


def test_index_that_contradicts_the_shards(data_dir):
    arrays = dict(np.load(data_dir / "index.npz"))
    arrays["name"][1] = "x"
    np.savez(data_dir / "index.npz", **arrays)
    (finding,) = verify.verify_records(data_dir)
    assert "the index expects x at byte" in finding.problem
    assert "where b is" in finding.problem
    assert "--rebuild_index" in finding.mend


def test_without_index_damage_is_still_located(data_dir):
    (data_dir / "index.npz").unlink()
    flip(data_dir / TRAIN_0, 5000)
    flip(data_dir / TRAIN_1, 0)
    findings = verify.verify_records(data_dir)[1:]
    assert [(finding.file.name, finding.offset) for finding in findings] == [(TRAIN_0, 0), (TRAIN_1, 0)]
    assert "what follows is unknown" in findings[1].problem


def test_unfinished_conversion(data_dir):
    (data_dir / "dataset_info.json").unlink()
    (finding,) = verify.verify_records(data_dir)
    assert "the folder is not complete" in finding.problem


def test_description_that_contradicts_the_shards(data_dir):
    path = data_dir / "dataset_info.json"
    info = json.loads(path.read_text())
    info["splits"][0]["shardLengths"][0] = "3"
    path.write_text(json.dumps(info))
    (finding,) = verify.verify_records(data_dir)
    assert "holds 2 records, dataset_info.json says 3" in finding.problem


def test_masks(tmp_path, capsys):
    for split in ("TRAIN", "VAL"):
        writer = records.MaskWriter(tmp_path, split, [f"{split} 1", f"{split} 2"])
        for shard, names in writer.pending():
            writer.write_shard(shard, ((name, np.zeros((4, 8, 8), np.float32)) for name in names))
        writer.finish()
    assert command_line.main(["verify", str(tmp_path)]) == 0
    shard = tmp_path / "val" / example.shard_name("masks", "val", 0, 1)
    flip(shard, 200)
    assert command_line.main(["verify", str(tmp_path)]) == 1
    assert f"{shard}: record VAL 1: bytes 0 to" in capsys.readouterr().out
    flip(shard, 200)
    (tmp_path / "val" / "index.npz").unlink()
    assert command_line.main(["verify", str(tmp_path), "--rebuild_index"]) == 0


def test_source(source, tmp_path, capsys):
    assert command_line.main(["verify", str(source), "--workers=1"]) == 0
    assert "everything can be converted" in capsys.readouterr().out
    damaged = shutil.copytree(source, tmp_path / "source")
    (damaged / "Videos" / "b.avi").write_bytes(b"")
    (damaged / "Videos" / "c.avi").write_bytes(tiny_echonet.make_avi(0, fps=30.0))
    before = sorted(path.name for path in damaged.rglob("*"))
    assert command_line.main(["verify", str(damaged), "--workers=1"]) == 1
    out = capsys.readouterr().out
    assert "b: " in out
    assert "0 bytes" in out
    assert "30 frames per second" not in out
    assert "1 kept: fps_differs" in out
    assert command_line.main(["verify", str(damaged), "--workers=1", "--notes"]) == 1
    assert "30 frames per second" in capsys.readouterr().out
    assert sorted(path.name for path in damaged.rglob("*")) == before


def test_nothing_to_verify(tmp_path):
    with pytest.raises(UserError, match="holds neither"):
        verify.run(verify_arguments(tmp_path))


def verify_arguments(directory):
    import argparse

    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)
    return parser.parse_args([str(directory)])
