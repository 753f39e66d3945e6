"""A conversion by many machines: every part apart, in any order, twice, unfinished; and by Apache Beam."""

import pytest
import tiny_echonet

from data_prep import __main__ as command_line
from data_prep import beam, echonet
from echojax import records
from echojax.errors import UserError

SPLITS = {f"v{number:02d}": ("TRAIN", "TRAIN", "TRAIN", "VAL", "TEST")[number % 5] for number in range(20)}
OPTIONS = {"workers": 1, "progress": False, "videos_per_shard": 3}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny_echonet.make_source(SPLITS).write(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The files of a conversion in one piece."""
    directory = tmp_path_factory.mktemp("whole") / "data"
    echonet.convert(source, directory, **OPTIONS)
    return read_files(directory)


def read_files(directory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def shard_times(directory) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in directory.glob("[!.]*.tfrecord-*")}


def test_parts_in_any_order_give_the_files_of_one_run(source, whole, tmp_path):
    summaries = [echonet.convert_part(source, tmp_path, (number, 3), **OPTIONS) for number in (2, 0, 1)]
    assert [summary.num_shards for summary in summaries] == [2, 3, 3]  # of 8
    assert sum(summary.num_videos for summary in summaries) == 20
    times = shard_times(tmp_path)
    finished = echonet.convert(source, tmp_path, **OPTIONS)
    assert (finished.num_shards, finished.num_resumed) == (8, 8)
    assert shard_times(tmp_path) == times
    assert read_files(tmp_path) == whole


def test_a_part_again_makes_nothing_and_finishing_makes_what_is_missing(source, whole, tmp_path):
    echonet.convert_part(source, tmp_path, (0, 2), **OPTIONS)
    times = shard_times(tmp_path)
    again = echonet.convert_part(source, tmp_path, (0, 2), **OPTIONS)
    assert (again.num_shards, again.num_resumed) == (4, 4)
    assert shard_times(tmp_path) == times
    with pytest.raises(UserError):  # not complete yet
        records.open_videos(tmp_path)
    assert echonet.convert(source, tmp_path, **OPTIONS).num_resumed == 4
    assert read_files(tmp_path) == whole


def test_the_command_takes_parts(source, whole, tmp_path, capsys):
    arguments = ["echonet", f"--source={source}", f"--data_dir={tmp_path}", "--videos_per_shard=3", "--workers=1"]
    assert command_line.main([*arguments, "--shard=1/2"]) == 0
    assert "part 1/2: 4 of 8 shards" in capsys.readouterr().out
    assert command_line.main([*arguments, "--shard=0/2"]) == 0
    assert command_line.main(arguments) == 0
    assert "8 shards (8 kept from an earlier run)" in capsys.readouterr().out
    assert read_files(tmp_path) == whole


@pytest.mark.parametrize("part", ["2/2", "1", "a/b", "-1/2", "0/0"])
def test_a_part_that_cannot_be_is_explained(source, tmp_path, part, capsys):
    code = command_line.main(["echonet", f"--source={source}", f"--data_dir={tmp_path}", f"--shard={part}"])
    assert code == 2
    assert "expected I/N with I from 0 to N-1" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")  # Beam's own
def test_beam_writes_the_same_files_on_the_local_runner(source, whole, tmp_path, capsys):
    pytest.importorskip("apache_beam")
    arguments = ["beam", f"--source={source}", f"--data_dir={tmp_path}", "--videos_per_shard=3"]
    runner = ["--", "--runner=BundleBasedDirectRunner"]  # needs no download
    assert command_line.main([*arguments, *runner]) == 0
    assert "20 of 20 listed videos" in capsys.readouterr().out
    assert read_files(tmp_path) == whole


def test_without_beam_the_command_says_how_to_get_it(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "apache_beam", None)
    request = beam.Request(str(source), str(tmp_path), "rgb", 3)
    with pytest.raises(UserError, match=r"pip install 'echojax\[beam\]'"):
        beam.convert(request, [])
