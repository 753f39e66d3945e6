"""Several processes: what they exchange, how they end together, and that inference divided gives the same bytes."""

import json
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

import pytest
from programs import ROOT, environment, free_port, start_main

from configs import css
from echojax import data, networks, records
from echojax.errors import UserError
from echojax.stages import common
from echojax.train import checkpoint, processes

PROGRAM = pathlib.Path(__file__).parent / "exchange_forever.py"


class Ended(NamedTuple):
    """How a process ended, and how long after another one was killed, if one was."""

    code: int
    out: str
    error: str
    seconds: float


def start_exchange(index: int, where: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, str(PROGRAM), f"{index}/{where}", *arguments]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def end(process: subprocess.Popen, begin: float) -> Ended:
    out, error = process.communicate(timeout=120)
    return Ended(process.returncode, out, error, time.monotonic() - begin)


@pytest.fixture(scope="module")
def pairs() -> dict[str, list[Ended]]:
    """Pairs of processes, of which the first or the second is killed, or the second meets what it cannot use.

    All at once: each waits for another's heartbeats most of its time.
    """
    places = {name: f"2@127.0.0.1:{free_port()}" for name in ("lost 0", "lost 1", "failed")}
    started = {
        name: [start_exchange(0, where), start_exchange(1, where, *(["1"] if name == "failed" else []))]
        for name, where in places.items()
    }
    try:
        for lost in (0, 1):
            for process in started[f"lost {lost}"]:
                while "round 2" not in (line := process.stderr.readline()):
                    assert line, process.communicate()
        for lost in (0, 1):
            started[f"lost {lost}"][lost].kill()
        begin = time.monotonic()
        return {name: [end(process, begin) for process in pair] for name, pair in started.items()}
    finally:
        for process in (*started["lost 0"], *started["lost 1"], *started["failed"]):
            process.kill()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_within_a_minute_and_says_so(pairs, lost):
    left = pairs[f"lost {lost}"][1 - lost]
    assert left.seconds < 60
    assert left.code not in (0, 2)
    assert f"process {1 - lost} of 2 stopped before the end" in left.error
    assert "Start them all again with the same command: the run goes on from its newest checkpoint" in left.error
    assert ("first: round 2" in left.out) == (lost == 1), "the first process alone speaks"


def test_what_one_process_cannot_use_ends_both_and_it_says_why(pairs):
    first, second = pairs["failed"]
    assert second.code == 2
    assert "echojax: clip.avi: is empty, expected a video" in second.error
    assert "Traceback" not in second.error and "stopped before the end" not in second.error
    assert first.code not in (0, 2)
    assert "process 0 of 2 stopped before the end" in first.error


@pytest.fixture(scope="module")
def segmentation(phantom_data, tmp_path_factory) -> pathlib.Path:
    """A run of random weights."""
    config = make_config(phantom_data, "")
    network = networks.build_network(networks.describe_segmentation(config.network))
    preprocessing = data.dataset_preprocessing(records.open_videos(phantom_data), 0, 1, 3)
    metadata = checkpoint.Metadata("css", network.description, preprocessing, 1, None, {}, {}, {})
    folder = tmp_path_factory.mktemp("run")
    checkpoint.save_weights(folder, network.params, network.stats, metadata)
    return folder


def make_config(data_dir, cache):
    config = css.get_config("smoke")
    config.data_dir, config.compile_cache_dir = str(data_dir), str(cache)
    config.network.width = 2
    return config


@pytest.fixture(scope="module")
def runs(segmentation, phantom_data, compile_cache, tmp_path_factory) -> dict[int, pathlib.Path]:
    """The same checkpoint, inferred and evaluated by one process and by two."""
    folders = {}
    for count in (1, 2):
        folders[count] = tmp_path_factory.mktemp(f"by_{count}")
        (folders[count] / "best").symlink_to(segmentation / "best")
    arguments = [
        f"--config={ROOT}/configs/css.py:smoke",
        f"--config.data_dir={phantom_data}",
        f"--config.compile_cache_dir={compile_cache}",
        "--config.network.width=2",
        "--config.evaluation.batch_size=3",
        "--config.evaluation.splits=('TEST',)",
        "--config.infer.splits=('VAL','TEST')",
        "--config.infer.videos_per_shard=1",
    ]
    for mode in ("infer", "evaluate"):
        where = f"2@127.0.0.1:{free_port()}"
        started = [start_main(*arguments, f"--mode={mode}", f"--workdir={folders[1]}", cwd=folders[1])]
        started += [
            start_main(
                *arguments, f"--mode={mode}", f"--workdir={folders[2]}", f"--processes={i}/{where}", cwd=folders[2]
            )
            for i in (0, 1)
        ]
        try:
            outputs = [process.communicate(timeout=400)[0] for process in started]
        finally:
            for process in started:
                process.kill()
        assert [process.returncode for process in started] == [0, 0, 0], outputs
    return folders


def test_masks_and_metrics_of_two_processes_have_the_bytes_of_one(runs):
    paths = sorted(path.relative_to(runs[1]) for path in runs[1].glob("masks/*/*.tfrecord*"))
    assert len(paths) == 8
    for path in [*paths, pathlib.Path("dice_test.csv"), pathlib.Path("metrics.json")]:
        assert (runs[2] / path).read_bytes() == (runs[1] / path).read_bytes(), path
    assert json.loads((runs[2] / "metrics.json").read_text())["css"]["dice"]["n"] == 4
    assert {path.name for path in runs[2].iterdir()} == {path.name for path in runs[1].iterdir()}


def test_streams_that_the_devices_do_not_divide_are_read_whole(phantom_data):
    videos = records.open_videos(phantom_data)
    positions = common.traced_cohort(videos, videos.select("TRAIN")).positions
    source = data.TracedFrames(videos, positions)
    batches = data.Batches({"labelled": data.Stream(source, 4), "unlabelled": data.Stream(source, 2)}, seed=0)
    whole = batches.batch(3)
    for host in (0, 1):  # two hosts of two devices each
        part = batches.of_host(host, 2, 4).batch(3)
        assert (part["labelled"]["ed"] == whole["labelled"]["ed"][2 * host : 2 * host + 2]).all()
        assert (part["unlabelled"]["ed"] == whole["unlabelled"]["ed"]).all()


@pytest.mark.parametrize("where", ["2", "2/2@host:1", "0/2", "0/2@host", "first"])
def test_a_place_that_cannot_be_is_explained(where):
    with pytest.raises(UserError, match="expected auto, or INDEX/COUNT@HOST:PORT"), processes.joined(where):
        pass


def test_one_process_has_everything_and_waits_for_nobody(tmp_path):
    assert processes.is_first()
    assert processes.share("abc") == ["a", "b", "c"]
    assert processes.gather([{"x": 1}]) == [{"x": 1}]
    assert processes.first_then_others(lambda: 5) == 5
    with processes.output_folder(tmp_path) as folder:
        assert folder == tmp_path
