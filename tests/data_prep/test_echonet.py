import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import shared
import tiny_echonet
from tiny_echonet import make_avi

from data_prep import __main__ as command_line
from data_prep import echonet, shards, tracings
from echojax import records, video
from echojax.errors import UserError

SPLITS = {f"v{number:02d}": ("TRAIN", "TRAIN", "TRAIN", "VAL", "TEST")[number % 5] for number in range(20)}


@pytest.fixture
def source(tmp_path):
    return tiny_echonet.make_source(SPLITS).write(tmp_path / "source")


def convert(source, data_dir, **options):
    return echonet.convert(source, data_dir, **({"workers": 1, "progress": False, "videos_per_shard": 3} | options))


def read_files(directory) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.is_file()}


def shard_times(directory) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in directory.glob("[!.]*.tfrecord-*")}


def test_order_is_that_of_the_list(source, tmp_path):
    summary = convert(source, tmp_path / "data")
    stored = records.open_videos(tmp_path / "data")
    assert list(stored.name) == list(SPLITS)
    assert stored.row.tolist() == list(range(20))
    assert stored.source_names("TRAIN") == [name for name, split in SPLITS.items() if split == "TRAIN"]
    assert summary.num_videos == {"TRAIN": 12, "VAL": 4, "TEST": 4}
    assert (summary.num_shards, summary.num_resumed, summary.num_failures) == (8, 0, 0)
    assert "20 of 20 listed videos: 12 TRAIN, 4 VAL, 4 TEST" in str(summary)


def test_processes_write_the_same_files(source, tmp_path):
    convert(source, tmp_path / "one")
    convert(source, tmp_path / "two", workers=2)
    assert read_files(tmp_path / "one") == read_files(tmp_path / "two")


def test_manifest_describes_the_shards(source, tmp_path):
    convert(source, tmp_path / "data")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert {shard["file"] for shard in manifest["shards"]} == set(shard_times(tmp_path / "data"))
    for shard in manifest["shards"]:
        content = (tmp_path / "data" / shard["file"]).read_bytes()
        assert (shard["num_bytes"], shard["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert sum(shard["num_videos"] for shard in manifest["shards"]) == 20
    assert manifest["options"]["pixels"] == "rgb"
    assert manifest["versions"]["opencv"]


def test_grey_pixels(source, tmp_path):
    convert(source, tmp_path / "data", pixels="gray")
    stored = records.open_videos(tmp_path / "data")
    frames, _ = video.read_video(source / "Videos" / "v03.avi")
    np.testing.assert_array_equal(stored.frames(stored.position("v03")), video.to_gray(frames))


def test_finished_conversion_is_kept(source, tmp_path):
    convert(source, tmp_path / "data")
    before, times = read_files(tmp_path / "data"), shard_times(tmp_path / "data")
    summary = convert(source, tmp_path / "data")
    assert summary.num_resumed == 8
    assert read_files(tmp_path / "data") == before
    assert shard_times(tmp_path / "data") == times


def test_only_the_shard_of_a_mended_file_is_made_anew(source, tmp_path):
    good = (source / "Videos" / "v05.avi").read_bytes()
    (source / "Videos" / "v05.avi").write_bytes(b"")
    broken = convert(source, tmp_path / "data")
    assert [(p.name, p.kind) for p in broken.problems] == [("v05", "video_empty")]
    times = shard_times(tmp_path / "data")
    (source / "Videos" / "v05.avi").write_bytes(good)
    mended = convert(source, tmp_path / "data")
    assert (mended.num_resumed, mended.problems) == (7, ())
    after = shard_times(tmp_path / "data")
    assert [name for name in times if times[name] != after[name]] == ["echonet-train.tfrecord-00001-of-00004"]
    convert(source, tmp_path / "fresh")
    fresh, resumed = read_files(tmp_path / "fresh"), read_files(tmp_path / "data")
    assert fresh == resumed


def test_changed_label_is_noticed(source, tmp_path):
    convert(source, tmp_path / "data")
    table = source / "FileList.csv"
    table.write_text(table.read_text().replace("v00,40.0", "v00,12.5"))
    assert convert(source, tmp_path / "data").num_resumed == 7
    assert records.open_videos(tmp_path / "data").ef_percent[0] == 12.5


def test_lost_rows_leave_no_shards_behind(source, tmp_path):
    convert(source, tmp_path / "data")
    table = source / "FileList.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:11]))
    convert(source, tmp_path / "data")
    assert list(records.open_videos(tmp_path / "data").name) == list(SPLITS)[:10]
    assert len(shard_times(tmp_path / "data")) == 4
    assert len(list((tmp_path / "data" / ".shards").glob("*.tfrecord-*"))) == 4


def test_killed_run_goes_on(source, tmp_path):
    for path in (source / "Videos").iterdir():
        path.write_bytes(make_avi(0, height=480, width=480))
    data_dir = tmp_path / "data"
    command = [sys.executable, "-m", "data_prep", "echonet", f"--source={source}", f"--data_dir={data_dir}"]
    command += ["--videos_per_shard=1", "--workers=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while len(shard_times(data_dir)) < 4 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (data_dir / "dataset_info.json").exists()
    done = shard_times(data_dir)
    (data_dir / ".echonet-val.tfrecord-00000-of-00004.1.tmp").write_bytes(b"left by a killed process")
    (data_dir / ".index.npz.1.tmp").mkdir()
    summary = convert(source, data_dir, videos_per_shard=1)
    # The last of them may have been killed between the shard and its sidecar.
    assert len(done) - 1 <= summary.num_resumed <= len(done)
    convert(source, tmp_path / "fresh", videos_per_shard=1)
    assert read_files(data_dir) == read_files(tmp_path / "fresh")
    assert not list(data_dir.rglob(".*.tmp"))


@pytest.mark.parametrize("damage", ["row", "file"])
def test_strict_fails(damage, source, tmp_path, capsys):
    if damage == "row":
        (source / "Videos" / "v05.avi").unlink()
    else:
        (source / "Videos" / "v05.avi").write_bytes(b"")
    with pytest.raises(echonet.StrictError, match=r"--strict: v05: .*listed in"):
        convert(source, tmp_path / "data", strict=True)
    assert not (tmp_path / "data" / "dataset_info.json").exists()
    assert "v05" in (tmp_path / "data" / "report.csv").read_text()
    arguments = ["echonet", f"--source={source}", f"--data_dir={tmp_path / 'data'}", "--strict", "--workers=1"]
    assert command_line.main([*arguments, "--videos_per_shard=3"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: --strict: v05")


def test_strict_accepts_notes(source, tmp_path):
    (source / "Videos" / "v05.avi").write_bytes(make_avi(0, fps=30.0))
    summary = convert(source, tmp_path / "data", strict=True)
    assert [problem.kind for problem in summary.problems] == ["fps_differs"]


def test_exit_codes(source, tmp_path, capsys):
    arguments = ["echonet", f"--source={source}", f"--data_dir={tmp_path / 'data'}", "--workers=1"]
    assert command_line.main(arguments) == 0
    assert "20 of 20 listed videos" in capsys.readouterr().out
    (source / "Videos" / "v05.avi").write_bytes(b"")
    assert command_line.main(arguments) == 1
    assert "1 left out: video_empty" in capsys.readouterr().out
    assert command_line.main([*arguments, "--pixels=gray"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert "holds a conversion with pixels=rgb" in captured.err


def test_help_names_every_command(capsys):
    assert command_line.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("echonet", "phantom", "masks", "verify"))
    assert command_line.main([]) == 2


def test_wrong_use_shows_no_traceback():
    process = subprocess.run(
        [sys.executable, "-m", "data_prep", "echonet", "--source=nowhere", "--data_dir=out"],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2
    assert process.stderr == (
        "error: nowhere: no such directory; expected FileList.csv, VolumeTracings.csv and Videos/ in it\n"
    )


def test_full_disk_is_one_line(source, tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "make_shard", refuse)
    assert command_line.main(["echonet", f"--source={source}", f"--data_dir={tmp_path / 'data'}", "--workers=1"]) == 2
    assert "No space left on device; mend it and run the same command again" in capsys.readouterr().err


def test_foreign_directory_is_not_touched(source, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not empty and no conversion of ours"):
        convert(source, tmp_path / "data")
    assert os.listdir(tmp_path / "data") == ["thesis.tex"]


def test_another_source_is_not_mixed_in(source, tmp_path):
    convert(source, tmp_path / "data")
    other = tiny_echonet.make_source().write(tmp_path / "other")
    with pytest.raises(UserError, match="holds a conversion with source="):
        convert(other, tmp_path / "data")


@pytest.mark.parametrize(
    "name, content, text",
    [
        ("FileList.csv", b"", "is not a table"),
        (
            "FileList.csv",
            b"FileName;EF;Split\nv00;55.5;TRAIN\n",
            "lacks the column FileName, Split; found FileName;EF;Split",
        ),
        ("FileList.csv", b"FileName,EF\nv00,55\n", "lacks the column Split"),
        ("FileList.csv", b"FileName,EF,Split\nv00,55,5,TRAIN\n", "is not a table"),
        ("FileList.csv", b"FileName,EF,Split\nv00,1,TRAIN\nv01,1,TRAIN,2\n", "is not a table"),
        ("FileList.csv", "FileName,Split\nv\xf600,TRAIN\n".encode("latin-1"), "is not UTF-8"),
        ("VolumeTracings.csv", b"FileName,X,Y,Frame\nv00,1,2,3\n", "lacks the column X1, Y1, X2, Y2"),
    ],
    ids=["empty", "semicolons", "no_split", "decimal_comma", "long_row", "latin1", "other_tracings"],
)
def test_unusable_tables(name, content, text, source, tmp_path):
    (source / name).write_bytes(content)
    with pytest.raises(UserError, match=text):
        convert(source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_missing_table_and_folder(source, tmp_path):
    (source / "FileList.csv").unlink()
    with pytest.raises(UserError, match=r"FileList\.csv: no such file"):
        convert(source, tmp_path / "data")
    with pytest.raises(UserError, match="has no folder Videos/"):
        convert(source / "Videos", tmp_path / "data")


@pytest.mark.parametrize("options, text", [({"pixels": "bgr"}, "--pixels"), ({"videos_per_shard": 0}, "at least 1")])
def test_wrong_options(options, text, source, tmp_path):
    with pytest.raises(UserError, match=text):
        convert(source, tmp_path / "data", **options)


@pytest.mark.parametrize("tilt", [-1.2, -0.4, 0.0, 0.3, 1.5, 3.0])
def test_long_axes_are_found(tilt):
    parts = [tiny_echonet.make_tracing(8, tilt=tilt), tiny_echonet.make_tracing(7, rows=17, tilt=tilt + 0.2)]
    parts.append(tiny_echonet.make_tracing(9, rows=21, tilt=tilt - 0.2))
    assert tracings.find_long_axes(np.vstack(parts)).tolist() == [0, 21, 38]


def test_real_videos(tmp_path):
    summary = convert(shared.require_shared("real_echo"), tmp_path / "data")
    stored = records.open_videos(tmp_path / "data")
    assert summary.num_videos == {"TRAIN": 7, "VAL": 2, "TEST": 3}
    assert summary.num_failures == 0
    kinds = [problem.kind for problem in summary.problems]
    assert (kinds.count("fps_differs"), kinds.count("tracings_absent"), len(kinds)) == (8, 8, 16)
    assert sorted(stored.fps.tolist()) == [47, 50, 50, 50, 50, 50, 50, 50, 50, 53, 54, 54]
    traced = [position for position in range(12) if stored.tracings(position)]
    assert [str(stored.split[position]) for position in traced] == ["TRAIN", "TRAIN", "VAL", "TEST"]
    assert all(len(tracing.points) == 21 for position in traced for tracing in stored.tracings(position))
    assert np.isfinite([stored.ef_percent, stored.edv_ml, stored.esv_ml]).all()
