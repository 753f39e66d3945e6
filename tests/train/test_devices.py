"""The same run on 1, 4 and 8 devices and on two processes: losses, batches, checkpoints, sharded parameters."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from programs import environment, free_port

PROGRAM = pathlib.Path(__file__).parent / "few_steps.py"
NUM_STEPS = 10


def start(runs: list[dict], num_devices: int, cache: pathlib.Path, where: str = "") -> subprocess.Popen:
    variables = environment(num_devices) | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, str(PROGRAM), json.dumps(runs), *([where] if where else [])]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def results(process: subprocess.Popen) -> list[dict]:
    try:
        out, error = process.communicate(timeout=400)
    finally:
        process.kill()
    assert process.returncode == 0, error
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def describe(data_dir, workdir, max_steps=NUM_STEPS, num_devices=0, **settings) -> dict:
    config = {"data_dir": str(data_dir), "train.max_steps": max_steps, **settings}
    return {"config": config, "workdir": str(workdir), "num_devices": num_devices}


@pytest.fixture(scope="module")
def on_devices(phantom_data, compile_cache, tmp_path_factory) -> dict[str, dict]:
    """What runs on 1 and 8 of eight virtual devices measured, and those that changed to or from 4 half-way."""
    folder = tmp_path_factory.mktemp("devices")
    half = NUM_STEPS // 2
    wanted = {
        "1": describe(phantom_data, folder / "1", num_devices=1),
        "8": describe(phantom_data, folder / "8", num_devices=8),
        "8 sharded": describe(phantom_data, folder / "sharded", num_devices=8, **{"mesh.shard_params": True}),
        "4 first": describe(phantom_data, folder / "4 to 1", half, num_devices=4),
        "4 to 1": describe(phantom_data, folder / "4 to 1", num_devices=1),
        "1 first": describe(phantom_data, folder / "1 to 4", half, num_devices=1),
        "1 to 4": describe(phantom_data, folder / "1 to 4", num_devices=4, **{"mesh.shard_params": True}),
    }
    return dict(zip(wanted, results(start(list(wanted.values()), 8, compile_cache)), strict=True))


@pytest.mark.parametrize("name", ["8", "8 sharded", "4 to 1", "1 to 4"])
def test_losses_agree_over_ten_steps(on_devices, name):
    alone = on_devices["1"]
    assert len(alone["losses"]) == len(on_devices[name]["losses"]) == NUM_STEPS
    np.testing.assert_allclose(on_devices[name]["losses"], alone["losses"], rtol=1e-4)
    np.testing.assert_allclose(on_devices[name]["validation"][-1], alone["validation"][-1], rtol=1e-3)


def test_runs_begin_where_they_stopped(on_devices):
    for name in ("4", "1"):
        (whole,) = (of_run["losses"] for other, of_run in on_devices.items() if other.startswith(f"{name} to"))
        half = on_devices[f"{name} first"]["losses"]
        assert len(half) == NUM_STEPS // 2 and whole[: NUM_STEPS // 2] == half


def test_batches_do_not_depend_on_the_devices(on_devices):
    assert on_devices["1"]["read"] == on_devices["4 first"]["read"] == on_devices["8"]["read"]


def test_sharded_parameters_and_optimiser_state_take_less_of_each_device(on_devices):
    whole, sharded = on_devices["8"], on_devices["8 sharded"]
    assert whole["bytes_held"] == whole["bytes"]
    # Biases and scales stay whole.
    assert sharded["bytes"] / 8 < sharded["bytes_held"] < sharded["bytes"] / 3


def test_two_processes_train_as_one(on_devices, phantom_data, compile_cache, tmp_path):
    """Losses, the part of each batch that a process reads, and a checkpoint of both that one process goes on with."""
    where = f"2@127.0.0.1:{free_port()}"
    runs = [describe(phantom_data, tmp_path)]
    pair = [start(runs, 1, compile_cache, f"{index}/{where}") for index in (0, 1)]
    (first,), others = results(pair[0]), results(pair[1])
    assert not others, "only the first process speaks"
    np.testing.assert_allclose(first["losses"], on_devices["1"]["losses"], rtol=1e-4)
    np.testing.assert_allclose(first["validation"], on_devices["1"]["validation"], rtol=1e-3)
    for step, fields in on_devices["1"]["read"].items():
        for name, (shape, _) in fields.items():
            assert first["read"][step][name][0] == [shape[0] // 2, *shape[1:]]
    (alone,) = results(start([describe(phantom_data, tmp_path, NUM_STEPS + 2)], 1, compile_cache))
    assert len(alone["losses"]) == NUM_STEPS + 2 and alone["losses"][:NUM_STEPS] == first["losses"]
