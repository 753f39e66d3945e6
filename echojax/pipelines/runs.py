"""Many runs of the student's stage: finished ones are kept, half-done ones go on, free devices share the rest."""

import concurrent.futures
import csv
import json
import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from echojax import evaluate, run
from echojax.errors import UserError
from echojax.networks import abstract_network, describe_student
from echojax.resident import make_resident
from echojax.stages import dfkd
from echojax.train.loop import train
from echojax.train.mesh import use_devices
from echojax.versions import versions

# Only training is done side by side. Matplotlib's settings are those of the process, and in Python before 3.11.8 two
# threads may not read NumPy files at once (github.com/python/cpython/issues/106905).
_ONE_AT_A_TIME = threading.Lock()
# What an evaluation writes last.
_LAST_FILE = "index.html"


class Outcome(NamedTuple):
    """What a finished run's folder says of TEST.

    Attributes:
      num_weights: trainable parameters.
      dice: of each video, ED and ES pooled.
      metrics: of the stage.
    """

    num_weights: int
    dice: Float[np.ndarray, "n"]
    metrics: dict[str, evaluate.Interval]


def run_all(stages: Mapping[str, ConfigDict], workdir: Path) -> dict[str, Outcome]:
    """Trains and evaluates each stage in its own folder of workdir, unless that was done before.

    With several devices every run has one of them for itself, else one run follows the other.

    Args:
      stages: by the name of their folder.

    Raises:
      UserError: a folder holds a run of other settings.
    """
    for name, stage in stages.items():
        check_same_settings(stage, workdir / name)
    pending = {name: stage for name, stage in stages.items() if not (workdir / name / _LAST_FILE).exists()}
    devices = jax.local_devices()[: len(pending)]
    begin = time.perf_counter()
    if len(devices) > 1:
        _run_side_by_side(pending, workdir, devices)
    else:
        for name, stage in pending.items():
            run_one(name, stage, workdir)
    took = f"{time.perf_counter() - begin:.0f} s on {len(devices)} device(s)" if pending else "nothing"
    print(f"{len(pending)} of {len(stages)} runs were left to do and took {took}")
    return {name: read_outcome(stage, workdir / name) for name, stage in stages.items()}


def run_one(name: str, stage: ConfigDict, workdir: Path) -> None:
    """Trains a stage from where it stands, and evaluates it."""
    folder = workdir / name
    with _ONE_AT_A_TIME:
        student = make_resident(dfkd.build(stage), stage.data.resident)
        run.write_config(stage, folder)
    timing = train(student, stage, folder, versions())
    print(f"{name}: {timing.describe()}")
    with _ONE_AT_A_TIME:
        run.evaluate_stage(stage, folder)


def _run_side_by_side(stages: Mapping[str, ConfigDict], workdir: Path, devices: list[jax.Device]) -> None:
    free = queue.SimpleQueue()
    for device in devices:
        free.put(device)

    def run_on_free_device(name: str, stage: ConfigDict) -> None:
        device = free.get()
        try:
            with use_devices([device]):
                run_one(name, stage, workdir)
        finally:
            free.put(device)

    # The longest first, so that no device waits at the end for one that began late.
    largest_first = sorted(stages.items(), key=lambda item: count_weights(item[1]), reverse=True)
    with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
        futures = [pool.submit(run_on_free_device, name, stage) for name, stage in largest_first]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # what runs comes to its end, what has not begun never does
            raise


def check_same_settings(stage: ConfigDict, workdir: Path) -> None:
    """Raises UserError where the folder holds a run of this stage with other settings: they would not compare."""
    path = workdir / "config.json"
    if not path.exists():
        return
    found = _flatten(json.loads(path.read_text())["config"])
    wanted = _flatten(json.loads(stage.to_json_best_effort()))
    differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if differing:
        name = differing[0]
        raise UserError(
            f"{path} has {name} = {found.get(name)}, this run has {wanted.get(name)} ({len(differing)} settings "
            "differ); give another --workdir, or delete this one to begin anew"
        )


def read_outcome(stage: ConfigDict, workdir: Path) -> Outcome:
    """Reads a finished run's results on TEST."""
    with (workdir / "dice_test.csv").open(newline="", encoding="utf-8") as file:
        dice = [float(row["overall"]) for row in csv.DictReader(file)]
    metrics = evaluate.load_metrics(workdir / "metrics.json")[stage.stage]
    return Outcome(count_weights(stage), np.array(dice), metrics)


def count_weights(stage: ConfigDict) -> int:
    """Trainable parameters of the student that a config asks for."""
    network = abstract_network(describe_student(stage.dfkd, stage.network.dtype))
    return sum(parameter.size for parameter in network.params.values())


def _flatten(values: Mapping, prefix: str = "") -> dict:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    flat = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
