"""Phantoms as files: EchoNet-Dynamic's layout, the same bytes for the same request."""

import csv
import json

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.phantom import render, sample_parameters, write_dataset
from data_prep.phantom.dataset import split_of
from echojax.errors import UserError
from echojax.lv import disc_volume
from echojax.video import read_video

REQUEST = dict(num_videos=5, seed=7, num_frames=(16, 20))
COLUMNS = ["FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("phantoms"), **REQUEST, workers=1, truth=True)


def read_table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_file_list_has_the_public_layout(dataset):
    rows = read_table(dataset / "FileList.csv")
    assert list(rows[0]) == COLUMNS
    assert [row["FileName"] for row in rows] == [f"phantom_7_{k:06d}" for k in range(5)]
    assert {row["Split"] for row in rows} <= {"TRAIN", "VAL", "TEST"}
    for row in rows:
        frames, fps = read_video(dataset / "Videos" / f"{row['FileName']}.avi")
        assert frames.shape == (int(row["NumberOfFrames"]), 112, 112, 3)
        assert fps == pytest.approx(float(row["FPS"]))


def test_tracings_have_21_rows_for_ed_and_es_and_give_the_listed_ef(dataset):
    tracings = read_table(dataset / "VolumeTracings.csv")
    assert list(tracings[0]) == ["FileName", "X1", "Y1", "X2", "Y2", "Frame"]
    for row in read_table(dataset / "FileList.csv"):
        own = [t for t in tracings if t["FileName"] == f"{row['FileName']}.avi"]
        frames = list(dict.fromkeys(int(t["Frame"]) for t in own))
        assert len(frames) == 2 and len(own) == 42
        volumes = []
        for frame in frames:
            points = np.array(
                [[float(t[c]) for c in ("X1", "Y1", "X2", "Y2")] for t in own if int(t["Frame"]) == frame]
            )
            lengths = np.hypot(points[:, 2] - points[:, 0], points[:, 3] - points[:, 1])
            volumes.append(disc_volume(lengths[1:], lengths[0]))
        assert 100 * (1 - volumes[1] / volumes[0]) == pytest.approx(float(row["EF"]), abs=0.01)
        edv, esv = float(row["EDV"]), float(row["ESV"])
        assert 100 * (edv - esv) / edv == pytest.approx(float(row["EF"]), abs=0.01)


def test_truth_of_every_frame(dataset):
    row = read_table(dataset / "FileList.csv")[2]
    phantom = render(sample_parameters(7, 2, (16, 20)))
    with np.load(dataset / "Truth" / f"{row['FileName']}.npz") as truth:
        np.testing.assert_array_equal(np.unpackbits(truth["masks"], axis=-1).astype(bool), phantom.masks)
        np.testing.assert_allclose(truth["volume_ml"], phantom.volume_ml, rtol=1e-6)
        assert float(row["EDV"]) == pytest.approx(truth["volume_ml"][truth["ed_frame"]], rel=1e-5)
        assert float(row["ESV"]) == pytest.approx(truth["volume_ml"][truth["es_frame"]], rel=1e-5)


def test_videos_depend_neither_on_their_number_nor_on_the_workers(dataset, tmp_path):
    more = write_dataset(tmp_path / "more", **REQUEST | dict(num_videos=7), workers=2)
    for path in sorted((dataset / "Videos").iterdir()):
        assert path.read_bytes() == (more / "Videos" / path.name).read_bytes()
    assert read_table(more / "FileList.csv")[:5] == read_table(dataset / "FileList.csv")


def test_shuffled_rows_are_the_same_rows(dataset, tmp_path):
    shuffled = write_dataset(tmp_path / "shuffled", **REQUEST, workers=1, shuffle=True)
    rows, shuffled_rows = (read_table(d / "FileList.csv") for d in (dataset, shuffled))
    assert rows != shuffled_rows
    assert rows == sorted(shuffled_rows, key=lambda row: row["FileName"])


def test_a_finished_data_set_is_left_alone_and_another_not_overwritten(dataset):
    before = (dataset / "phantoms.json").stat().st_mtime_ns
    write_dataset(dataset, **REQUEST, workers=1, truth=True)
    assert (dataset / "phantoms.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="another request"):
        write_dataset(dataset, **REQUEST | dict(seed=8), workers=1, truth=True)


def test_real_data_is_never_overwritten(tmp_path):
    (tmp_path / "FileList.csv").write_text("FileName\n")
    with pytest.raises(UserError, match="not from a finished phantom run"):
        write_dataset(tmp_path, **REQUEST, workers=1)
    assert (tmp_path / "FileList.csv").read_text() == "FileName\n"


@pytest.mark.parametrize("num_videos", [16, 100])
def test_any_first_videos_hold_the_split_shares(num_videos):
    for seed in range(5):
        splits = [split_of(seed, index, (0.75, 0.125, 0.125)) for index in range(num_videos)]
        assert abs(splits.count("TRAIN") - 0.75 * num_videos) <= 2
        assert abs(splits.count("VAL") - 0.125 * num_videos) <= 2
        assert min(splits.count(name) for name in ("TRAIN", "VAL", "TEST")) >= 1


def test_a_split_without_share_stays_empty():
    assert {split_of(0, index, (1.0, 0.0, 0.0)) for index in range(50)} == {"TRAIN"}
    assert {split_of(0, index, (0.0, 0.0, 1.0)) for index in range(50)} == {"TEST"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num_videos=0"], "num_videos must be at least 1"),
        (["--num_videos=2", "--frames=many"], "--frames must be a number"),
        (["--num_videos=2", "--frames=5"], "at least 16"),
        (["--num_videos=2", "--splits", "0.5", "0.5", "0.5"], "sum to 1"),
        (["--num_videos=2", "--workers=0"], "workers must be at least 1"),
    ],
)
def test_wrong_use_ends_with_code_2_and_one_line(flags, words, tmp_path, capsys):
    assert main(["phantom", f"--output={tmp_path / 'out'}", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_command_writes_a_data_set(tmp_path):
    flags = [
        f"--output={tmp_path}",
        "--num_videos=1",
        "--seed=1",
        "--frames=16",
        "--workers=1",
        "--ef_range",
        "30",
        "35",
    ]
    assert main(["phantom", *flags]) == 0
    assert json.loads((tmp_path / "phantoms.json").read_text())["num_videos"] == 1
    [row] = read_table(tmp_path / "FileList.csv")
    assert 22 < float(row["EF"]) < 36
