"""A run that is killed at any moment ends with the bits of an undisturbed one (spec of CSS, invariant 21)."""

import json
import pathlib
import random
import time
import warnings

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
import pytest
from programs import run_main, start_main

NUM_STEPS = 24
NUM_KILLS = 5


@pytest.fixture(scope="module")
def arguments(phantom_data, compile_cache) -> list[str]:
    """A CSS run of 24 steps that saves at every step: two streams, dropout, momentum, statistics."""
    return [
        f"--config={pathlib.Path(__file__).parents[2]}/configs/css.py:smoke",
        f"--config.data_dir={phantom_data}",
        f"--config.compile_cache_dir={compile_cache}",
        "--config.network.width=2",
        "--config.labels.num_labelled=6",
        "--config.labels.num_unlabelled=6",
        "--config.train.batch_size=2",
        "--config.train.num_epochs=8",
        # Two images per norm make a network in which rounding grows tenfold a step at the paper's rate.
        "--config.optimiser.learning_rate=1e-6",
        "--config.train.checkpoint_steps=1",
        "--config.validation.every_epochs=4",
        "--config.infer.after_training=False",
        "--config.evaluation.splits=('TEST',)",
    ]


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("undisturbed")
    finished = run_main(*arguments, f"--workdir={workdir}", cwd=workdir)
    assert finished.returncode == 0, finished.stdout
    return workdir


def test_invariant_21_five_kills_change_no_bit(arguments, undisturbed, tmp_path):
    delays = random.Random(0)
    lives = 0
    for life in range(NUM_KILLS):
        process = start_main(*arguments, f"--workdir={tmp_path}", cwd=tmp_path)
        # The first life dies while it starts or compiles; each later one somewhere after it has begun to train.
        if life:
            wait_for_progress(process, tmp_path, newest_step(tmp_path))
        time.sleep(delays.uniform(0, 2.0))
        if process.poll() is None:
            lives += 1
            process.kill()
        process.communicate()
    assert lives == NUM_KILLS, "the run ended before it could be killed five times; give it more steps"
    assert newest_step(tmp_path) < NUM_STEPS
    finished = run_main(*arguments, f"--workdir={tmp_path}", cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout
    for name in (f"checkpoints/{NUM_STEPS}", "best"):
        assert_same_arrays(tmp_path / name, undisturbed / name)
    assert steps_logged(tmp_path) == steps_logged(undisturbed)
    assert (tmp_path / "dice_test.csv").read_bytes() == (undisturbed / "dice_test.csv").read_bytes()


def test_a_finished_run_is_only_evaluated_again(arguments, undisturbed):
    again = run_main(*arguments, f"--workdir={undisturbed}", cwd=undisturbed)
    assert again.returncode == 0, again.stdout
    assert "no step was left to do" in again.stdout


def test_devices_that_do_not_divide_the_batch_are_an_error_with_the_nearest_sizes(arguments, tmp_path):
    refused = run_main(*arguments, f"--workdir={tmp_path}", cwd=tmp_path, num_devices=3)
    assert refused.returncode == 2
    assert "train.batch_size is 2, which 3 devices do not divide; nearest sizes: 3" in refused.stdout
    assert "Traceback" not in refused.stdout


def test_another_network_in_the_same_workdir_is_an_error(arguments, undisturbed):
    refused = run_main(*arguments, "--config.network.width=4", f"--workdir={undisturbed}", cwd=undisturbed)
    assert refused.returncode == 2
    assert "was made with network" in refused.stdout
    assert "Traceback" not in refused.stdout


def test_the_first_loss_that_is_not_finite_stops_the_run_with_step_and_videos(arguments, tmp_path):
    stopped = run_main(*arguments, "--config.optimiser.learning_rate=1e30", f"--workdir={tmp_path}", cwd=tmp_path)
    assert stopped.returncode == 2
    assert "the loss of step" in stopped.stdout
    assert "Videos of that step: labelled: " in stopped.stdout
    assert "Traceback" not in stopped.stdout
    kept = newest_step(tmp_path)
    assert kept <= 3
    for array in arrays_of(tmp_path / "checkpoints" / str(kept)) if kept else []:
        assert np.isfinite(array).all()


def wait_for_progress(process, workdir: pathlib.Path, step: int) -> None:
    """Waits until a run has saved a step beyond `step`, or has ended."""
    deadline = time.monotonic() + 200
    while newest_step(workdir) <= step and process.poll() is None:
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.02)


def newest_step(workdir: pathlib.Path) -> int:
    """The newest step saved, 0 before the first."""
    folder = workdir / "checkpoints"
    return max((int(path.name) for path in folder.glob("*") if path.name.isdigit()), default=0)


def log_entries(workdir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]


def steps_logged(workdir: pathlib.Path) -> list[tuple]:
    return [(entry["phase"], entry["step"], entry["loss"]) for entry in log_entries(workdir)]


def arrays_of(checkpoint: pathlib.Path) -> list[np.ndarray]:
    with warnings.catch_warnings():
        # Orbax warns that it restores without being told where to; here everything is on one CPU.
        warnings.simplefilter("ignore")
        loaded = {name: ocp.load(checkpoint, checkpointable_name=name) for name in ("weights", "training")}
    return [np.asarray(leaf) for leaf in jax.tree.leaves(loaded)]


def assert_same_arrays(first: pathlib.Path, second: pathlib.Path) -> None:
    arrays = arrays_of(first), arrays_of(second)
    assert len(arrays[0]) == len(arrays[1]) > 50
    for a, b in zip(*arrays, strict=True):
        np.testing.assert_array_equal(a, b)
