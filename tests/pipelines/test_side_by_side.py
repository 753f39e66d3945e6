"""Runs spread over eight devices: one each, at the same time, the largest first."""

import json
import os
import subprocess
import sys

from programs import ROOT

NUM_DEVICES = 8
# Eleven students; in place of training, each of the first eight waits until all eight are there.
PROGRAM = """
import json, pathlib, threading
import jax.numpy as jnp
from configs import dfkd_sweep as config
from echojax.pipelines import dfkd_sweep, runs
from echojax.train.mesh import make_mesh

together = threading.Barrier(8, timeout=100)
used = {}

def run_one(name, stage, workdir):
    used[name] = [device.id for device in make_mesh().devices.ravel()], jnp.zeros(()).device.id
    if len(used) <= 8:
        together.wait()

runs.run_one, runs.read_outcome = run_one, lambda stage, folder: folder.name
sizes = dfkd_sweep.read_sizes([(1, 1, width) for width in range(1, 12)])
stages = {size.name: dfkd_sweep.size_stage(config.get_config("smoke"), size) for size in sizes}
outcomes = runs.run_all(stages, pathlib.Path("runs"))
print(json.dumps({"used": used, "outcomes": outcomes}))
"""


def test_eight_devices_have_a_run_each_and_then_the_rest(tmp_path):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={NUM_DEVICES}",
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    *_, took, last = finished.stdout.splitlines()
    assert took.startswith("11 of 11 runs were left to do and took") and took.endswith("on 8 device(s)")
    result = json.loads(last)
    names = [f"11w{width}" for width in range(1, 12)]
    assert result["outcomes"] == {name: name for name in names}
    assert all(mesh == [default] for mesh, default in result["used"].values())
    first = list(result["used"])[:NUM_DEVICES]
    assert set(first) == set(names[-NUM_DEVICES:])
    assert {result["used"][name][1] for name in first} == set(range(NUM_DEVICES))
