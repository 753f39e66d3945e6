"""The benchmark of reading: both sides make the same clip, and every figure is there."""

import json

import numpy as np
import pytest

from benchmarks import input as benchmark
from benchmarks.original_input import Cut, decode_original, original_item
from data_prep import echonet
from echojax.errors import UserError
from echojax.records import open_videos


@pytest.fixture(scope="module")
def rgb(phantom_data, tmp_path_factory):
    """The phantoms of the suite as AVI and as records in RGB; they are shorter than a clip."""
    folder = tmp_path_factory.mktemp("rgb")
    source = phantom_data.parent / "source"
    echonet.convert(source, folder, pixels="rgb", workers=1, progress=False)
    return source, folder


def test_both_ways_make_the_same_clip(rgb):
    source, data_dir = rgb
    videos = open_videos(data_dir)
    benchmark.check_same(source, videos, position=3)
    path = str(source / "Videos" / f"{videos.name[3]}.avi")
    np.testing.assert_array_equal(decode_original(path).transpose(1, 2, 3, 0), videos.frames(3))
    zero, one = np.zeros(3, np.float32), np.ones(3, np.float32)
    item = original_item(path, Cut(start=1, row=12, column=14), zero, one)
    np.testing.assert_array_equal(item[:, 5, :, :-2], videos.frames(3, 11, 12)[0, :, 2:].transpose(2, 0, 1))
    assert not item[:, -1].any() and not item[..., -2:].any()


def test_a_wrong_clip_is_noticed(rgb, monkeypatch):
    source, data_dir = rgb
    monkeypatch.setattr(benchmark, "original_item", lambda path, cut, *_: original_item(path, cut._replace(row=4), *_))
    with pytest.raises(UserError, match="the clips differ by up to"):
        benchmark.check_same(source, open_videos(data_dir))


def test_every_figure_is_written(rgb, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "measure_data_wait", lambda data_dir, num_steps, place: {"wait_percent": 1.0})
    source, data_dir = rgb
    arguments = f"--output={tmp_path}/input.json --source={source} --data_dir={data_dir}"
    small = "--workers=1 --repeats=1 --num_clips=2"
    assert benchmark.main([*arguments.split(), *small.split()]) == 0
    report = json.loads((tmp_path / "input.json").read_text())
    assert len(report["rows"]) == 6 and len({row["name"] for row in report["rows"]}) == 6
    for row in report["rows"]:
        assert row["ratio"] == pytest.approx(row["ours"] / row["theirs"]) and row["ours"] > 0 and row["device"]
    assert set(report["data_wait"]) == {"streaming", "host", "device"}
    assert "clips/s" in capsys.readouterr().out


def test_videos_without_their_records_are_an_error(tmp_path, capsys):
    assert benchmark.main([f"--output={tmp_path}/input.json", "--source=videos"]) == 2
    assert "--source and --data_dir go together" in capsys.readouterr().err
    assert benchmark.main([f"--output={tmp_path}/input.json", "--workers=two"]) == 2
    assert "--workers is 'two'" in capsys.readouterr().err
