"""Trains a stage for a few steps on some of this process's devices, as a program of its own; prints what it measured.

    python few_steps.py '[{"workdir": ..., "config": [...], "num_devices": 4}, ...]'       one run after the other
    python few_steps.py '[...]' INDEX/COUNT@HOST:PORT                                      on several processes

`config` are command-line settings of configs/ef.py:smoke. Without `num_devices` a run takes all devices of all
processes.
"""

import contextlib
import json
import pathlib
import sys

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from configs import ef
from echojax.train import processes
from echojax.train.loop import _Run
from echojax.train.mesh import use_devices


def shrink(settings: dict):
    """A video network of four channels that meets eight clips a step."""
    config = ef.get_config("smoke")
    config.network.variant, config.network.width = "r3d_18", 4
    config.clip.num_frames, config.clip.period, config.clip.decimate = 4, 4, 2
    config.labels.subset = "all"
    config.train.batch_size = 8
    config.train.num_epochs = 1000
    config.train.checkpoint_epochs = config.validation.every_epochs = 1000
    config.validation.batch_size = 2
    config.optimiser.learning_rate = 1e-6
    config.update_from_flattened_dict(settings)
    return config


def train(settings: dict, workdir: str, num_devices: int = 0) -> dict:
    """Runs a config to its `train.max_steps`; returns losses, the validation and the bytes that one device holds."""
    from echojax.stages import ef as stage_ef

    with use_devices(jax.devices()[:num_devices]) if num_devices else contextlib.nullcontext():
        config = shrink(settings)
        run = _Run(stage_ef.build(config), config, pathlib.Path(workdir), {})
        parameters = jax.tree.leaves((run.state.params, run.state.optimiser))
        held = sum(array.addressable_shards[0].data.nbytes for array in parameters)
        run.run()
    log = [json.loads(line) for line in (pathlib.Path(workdir) / "log.jsonl").read_text().splitlines()]
    return {
        "losses": [entry["loss"] for entry in log if entry["phase"] == "train"],
        "validation": [entry["mse"] for entry in log if entry["phase"] == "validation"],
        "bytes_held": held,
        "bytes": sum(array.nbytes for array in parameters),
        "read": {step: digest(run.batches.batch(step)) for step in (0, 3)},
    }


def digest(batch) -> dict:
    """Shape and sum of every field of a batch: what this process reads of it."""
    return {
        f"{stream}.{field}": [list(array.shape), float(np.sum(array, dtype=np.float64))]
        for stream, fields in batch.items()
        for field, array in fields.items()
    }


def main(runs: list[dict], where: str) -> None:
    """Prints one JSON line per run."""
    with processes.joined(where):
        for settings in runs:
            pathlib.Path(settings["workdir"]).mkdir(parents=True, exist_ok=True)
            print(
                json.dumps(train(settings["config"], settings["workdir"], settings.get("num_devices", 0))), flush=True
            )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
