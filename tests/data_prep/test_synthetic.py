"""EchoNet-Synthetic as published: its table is put right, and whatever is damaged besides costs nothing else."""

import csv
import dataclasses
import functools
import json
import pathlib
import shutil
import tempfile

import numpy as np
import pytest
import tiny_echonet
from tiny_echonet import LIST_COLUMNS

from data_prep import __main__ as command_line
from data_prep import echonet, synthetic, verify
from echojax import data, records, video
from echojax.errors import UserError

NUM_FRAMES, SIZE = 24, 16
SPLITS = ("TRAIN",) * 5 + ("VAL", "VAL", "TEST", "EXTRA")
REPAIRS = ["columns_shifted", "ef_requested", "fps_repaired", "volumes_absent"]


@functools.cache
def make_avi(seed: int, num_frames: int = NUM_FRAMES, fps: float = 30.0) -> bytes:
    """A video as published: grey as RGB, Motion JPEG, and an AVI header that says 30 frames per second."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "video.avi"
        grey = tiny_echonet.make_frames(seed, num_frames, SIZE, SIZE)[..., :1]
        video.write_video(path, grey, fps)
        return path.read_bytes()


@dataclasses.dataclass
class TinySynthetic:
    """The published layout in memory; change it, then `write`."""

    rows: dict[str, dict[str, str]]
    files: dict[str, bytes]

    def write(self, directory):
        (directory / "Videos").mkdir(parents=True)
        for name, content in self.files.items():
            (directory / "Videos" / name).write_bytes(content)
        with open(directory / "FileList.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(next(iter(self.rows.values()))), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows.values())
        return directory


def make_source() -> TinySynthetic:
    """As the authors' writer leaves it: frames as height, height as width, batch size as number of frames."""
    rows, files = {}, {}
    for number, split in enumerate(SPLITS):
        name = f"sample_{number:06d}"
        values = [name, 28 + number, 0, 0, NUM_FRAMES, SIZE, 32, 8, split]
        rows[name] = dict(zip(LIST_COLUMNS, map(str, values), strict=True))
        files[f"{name}.avi"] = make_avi(number)
    return TinySynthetic(rows, files)


def convert(source, data_dir, **options):
    options = {"workers": 1, "progress": False, "videos_per_shard": 2} | options
    return echonet.convert(source, data_dir, layout=synthetic.SYNTHETIC, **options)


@pytest.fixture
def source(tmp_path):
    return make_source().write(tmp_path / "source")


def kinds(summary) -> list[str]:
    return sorted(problem.kind for problem in summary.problems if problem.kind != "tracings_table_absent")


def test_records_hold_what_the_videos_are(source, tmp_path):
    summary = convert(source, tmp_path / "data")
    videos = records.open_videos(tmp_path / "data")
    assert summary.num_videos == {"TRAIN": 5, "VAL": 2, "TEST": 1}
    assert (set(videos.num_frames), set(videos.height), set(videos.width)) == ({NUM_FRAMES}, {SIZE}, {SIZE})
    assert set(videos.fps) == {32.0}
    np.testing.assert_array_equal(videos.ef_percent, 28 + np.arange(8))
    assert np.isnan(videos.edv_ml).all() and np.isnan(videos.esv_ml).all()
    assert not any(videos.tracings(position) for position in range(8))
    frames, fps = video.read_video(source / "Videos" / "sample_000003.avi")
    np.testing.assert_array_equal(videos.frames(3), frames)
    assert fps == 30.0


def test_every_repair_is_said_in_report_and_summary(source, tmp_path, capsys):
    arguments = ["synthetic", f"--source={source}", f"--data_dir={tmp_path / 'data'}", "--workers=1"]
    assert command_line.main(arguments) == 0
    out = capsys.readouterr().out
    report = {row["kind"]: row for row in csv.DictReader(open_report(tmp_path / "data"))}
    assert sorted(report) == sorted([*REPAIRS, "split_extra", "tracings_table_absent"])
    for kind in REPAIRS:
        assert f"1 kept: {kind}" in out
        assert (report[kind]["name"], report[kind]["outcome"]) == ("FileList.csv", "kept")
    assert "in 9 rows (24, 16, 8)" in report["columns_shifted"]["problem"]
    assert "put right (16, 16, 24)" in report["columns_shifted"]["action"]
    assert "FileList.csv: ESV and EDV are 0 in 9 rows: stored as unknown" in out
    assert "1 set aside: split_extra" in out
    assert report["split_extra"]["name"] == "sample_000008"


def open_report(data_dir):
    return (data_dir / "report.csv").read_text().splitlines()


def test_the_data_are_called_synthetic(source, tmp_path):
    convert(source, tmp_path / "data")
    assert data.data_kind(records.open_videos(tmp_path / "data")) == "synthetic"
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["options"]["command"] == "synthetic"


def test_a_table_that_is_right_stays_as_it_is(tmp_path):
    source = make_source()
    for row in source.rows.values():
        row |= {"FrameHeight": str(SIZE), "FrameWidth": str(SIZE), "NumberOfFrames": str(NUM_FRAMES), "EDV": "80.5"}
    summary = convert(source.write(tmp_path / "source"), tmp_path / "data")
    assert kinds(summary) == ["ef_requested", "fps_repaired", "split_extra"]
    assert set(records.open_videos(tmp_path / "data").edv_ml) == {80.5}


@pytest.mark.parametrize("fps, expected", [("", 32), ("30", 32), ("30.0", 32), ("32", 32), ("24", 24)])
def test_frame_rate(fps, expected, tmp_path):
    source = make_source()
    source.rows["sample_000001"]["FPS"] = fps
    summary = convert(source.write(tmp_path / "source"), tmp_path / "data")
    videos = records.open_videos(tmp_path / "data")
    assert videos.fps[1] == expected and videos.fps[0] == 32
    assert summary.num_failures == 0


def test_columns_may_be_missing(tmp_path):
    source = make_source()
    source.rows = {name: {key: row[key] for key in ("FileName", "EF", "Split")} for name, row in source.rows.items()}
    convert(source.write(tmp_path / "source"), tmp_path / "data")
    assert set(records.open_videos(tmp_path / "data").fps) == {32.0}


@dataclasses.dataclass(frozen=True)
class Damage:
    """Something wrong with `sample_000001` besides, and the findings that it must lead to; `stored`: is it a record."""

    change: object
    findings: list[str]
    stored: bool


def set_file(content):
    def change(source):
        source.files["sample_000001.avi"] = content(source.files["sample_000001.avi"])

    return change


def set_value(column, value):
    return lambda source: source.rows["sample_000001"].update({column: value})


DAMAGES = {
    "empty file": Damage(set_file(lambda content: b""), ["video_empty"], False),
    "cut file": Damage(set_file(lambda content: content[: len(content) // 2]), ["video_truncated"], False),
    "garbage": Damage(set_file(lambda content: b"garbage" * 500), ["video_unreadable"], False),
    "no file": Damage(lambda source: source.files.pop("sample_000001.avi"), ["video_missing"], False),
    "fewer frames": Damage(set_file(lambda content: make_avi(1, 20)), ["num_frames_differs"], True),
    "another rate": Damage(set_file(lambda content: make_avi(1, fps=15.0)), ["fps_differs"], True),
    "no EF": Damage(set_value("EF", ""), ["ef_absent"], True),
    "EF of 900": Damage(set_value("EF", "900"), ["ef_out_of_range"], True),
    "no such split": Damage(set_value("Split", "TRIAN"), ["split_unknown"], False),
    "unlisted file": Damage(lambda source: source.files.update(stray=b"", **{"z.avi": b""}), ["video_unlisted"], True),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_costs_nothing_else(damage, tmp_path):
    source = make_source()
    damage.change(source)
    summary = convert(source.write(tmp_path / "source"), tmp_path / "data")
    assert kinds(summary) == sorted([*damage.findings, *REPAIRS, "split_extra"])
    videos = records.open_videos(tmp_path / "data")
    assert len(videos) == (8 if damage.stored else 7)
    assert ("sample_000001" in videos) == damage.stored
    for name in set(map(str, videos.name)) - {"sample_000001"}:
        frames, _ = video.read_video(tmp_path / "source" / "Videos" / f"{name}.avi")
        np.testing.assert_array_equal(videos.frames(videos.position(name)), frames)


def test_strict_fails_at_damage_but_not_at_what_is_repaired(source, tmp_path, capsys):
    convert(source, tmp_path / "sound", strict=True)
    (source / "Videos" / "sample_000004.avi").write_bytes(b"")
    arguments = ["synthetic", f"--source={source}", f"--data_dir={tmp_path / 'data'}", "--strict", "--workers=1"]
    assert command_line.main(arguments) == 1
    assert "--strict: sample_000004" in capsys.readouterr().err


def test_a_mended_file_costs_one_shard(source, tmp_path):
    good = (source / "Videos" / "sample_000002.avi").read_bytes()
    (source / "Videos" / "sample_000002.avi").write_bytes(b"")
    assert convert(source, tmp_path / "data").num_failures == 1
    (source / "Videos" / "sample_000002.avi").write_bytes(good)
    mended = convert(source, tmp_path / "data")
    assert (mended.num_resumed, mended.num_shards, mended.num_failures) == (4, 5, 0)


def test_verify_understands_source_and_records(source, tmp_path, capsys):
    assert command_line.main(["verify", str(source), "--workers=1", "--notes"]) == 0
    out = capsys.readouterr().out
    assert "columns_shifted" in out and "size_differs" not in out and "fps_differs" not in out
    convert(source, tmp_path / "data")
    assert verify.verify_records(tmp_path / "data") == []
    shard = next((tmp_path / "data").glob("*train.tfrecord-00000*"))
    shard.write_bytes(shard.read_bytes()[:-5000])
    (finding,) = verify.verify_records(tmp_path / "data")
    assert "python -m data_prep synthetic --source=" in finding.mend


def test_other_sources_are_refused(source, tmp_path, capsys):
    other = tiny_echonet.make_source().write(tmp_path / "other")
    assert command_line.main(["synthetic", f"--source={other}", f"--data_dir={tmp_path / 'data'}"]) == 2
    assert "this is not EchoNet-Synthetic; use `python -m data_prep echonet`" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    convert(source, tmp_path / "data")
    with pytest.raises(UserError, match="holds a conversion with command=synthetic"):
        echonet.convert(source, tmp_path / "data", workers=1, progress=False, videos_per_shard=2)
    shutil.rmtree(source / "Videos")
    assert command_line.main(["synthetic", f"--source={source}", f"--data_dir={tmp_path / 'more'}"]) == 2
    assert "has no folder Videos/" in capsys.readouterr().err
