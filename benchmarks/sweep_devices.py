"""Several students at once: which way of training them is the fastest on the devices that are there?

    JAX_NUM_CPU_DEVICES=8 python -m benchmarks.sweep_devices --output=FILE.json [--num_students=8] [--num_steps=5]

The same students, which differ in their seeds alone, take the same steps on made clips in four ways:

    one_after_other   on one device
    split_batches     one after the other, every batch split over all devices
    side_by_side      each on a device of its own, in threads, as configs/dfkd_sweep.py does it
    stacked           as one program on one device, by vmap; students of several sizes could not be

Seconds are of all steps of all students, without compilation: the median of the repetitions.
"""

import argparse
import concurrent.futures
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.commands import reports_user_errors
from echojax import clips
from echojax.files import write_json
from echojax.networks import build_network
from echojax.stages.dfkd import make_loss
from echojax.train.mesh import check_divides, compiler_options, make_mesh, put_batch, replicated, use_devices
from echojax.train.optimiser import make_optimiser
from echojax.train.state import TrainState, initial_state
from echojax.train.step import compile_step, make_train_step
from echojax.versions import versions

# Lets one or more students take their steps, and returns when they have.
Runner = Callable[[], None]


def compile_one_after_other(devices: Sequence[jax.Device], settings: argparse.Namespace) -> Runner:
    """Students in turn, each with its batches split over all the devices given."""
    runners = [_compile_student(devices, seed, settings) for seed in range(settings.num_students)]

    def run() -> None:
        for runner in runners:
            runner()

    return run


def compile_side_by_side(devices: Sequence[jax.Device], settings: argparse.Namespace) -> Runner:
    """Students on devices of their own; a device that is through with one takes the next."""
    runners = [_compile_student([devices[i % len(devices)]], i, settings) for i in range(settings.num_students)]

    def run() -> None:
        with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
            for future in [pool.submit(runner) for runner in runners]:
                future.result()

    return run


def compile_stacked(devices: Sequence[jax.Device], settings: argparse.Namespace) -> Runner:
    """All students as one program, weights and batches stacked along a new first axis, on the first device."""
    train_step, _, _ = _make_student(0, settings)
    students = [_make_student(seed, settings)[1:] for seed in range(settings.num_students)]
    states, batches = jax.device_put(jax.tree.map(lambda *leaves: jnp.stack(leaves), *students), devices[0])
    step = jax.jit(jax.vmap(train_step, (0, None, 0)), donate_argnums=0, compiler_options=compiler_options())
    return _loop(step.lower(states, {}, batches).compile(), states, batches, settings.num_steps)


def _compile_student(devices: Sequence[jax.Device], seed: int, settings: argparse.Namespace) -> Runner:
    with use_devices(devices):
        mesh = make_mesh()
        train_step, state, batch = _make_student(seed, settings)
        state, batch = jax.device_put(state, replicated(mesh)), put_batch(mesh, batch)
        step = compile_step(train_step, mesh, state, {}, batch)
    return _loop(step.run, state, batch, settings.num_steps)


def _make_student(seed: int, settings: argparse.Namespace) -> tuple[Callable, TrainState, dict]:
    """A student's training step, its first state, and a batch of made clips."""
    size = {"num_blocks": settings.num_blocks, "num_layers": settings.num_layers, "width": settings.width}
    network = build_network({"family": "convlstm", "variant": "reference", "dtype": "float32", **size}, seed)
    optimiser = make_optimiser(1e-3, 0.9, 0.0, "adam")
    train_step = make_train_step(make_loss(network, clips.student_recipe("soft112"), 0.0), optimiser)
    shape = (settings.batch_size, settings.num_frames, settings.side_px, settings.side_px)
    clip, target = np.random.default_rng(seed).integers(0, 256, (2, *shape), np.uint8)
    state = initial_state(network.params, network.stats, optimiser, seed)
    return train_step, state, {"clips": {"clip": clip, "target": target}}


def _loop(step: Callable, state: TrainState, batch: dict, num_steps: int) -> Runner:
    def run() -> None:
        nonlocal state
        for _ in range(num_steps):
            state, _ = step(state, {}, batch)
        jax.block_until_ready(state)

    return run


def measure(compile_way: Callable[[], Runner], num_repetitions: int) -> dict[str, float]:
    """Seconds to compile, and of the steps of all students."""
    begin = time.perf_counter()
    run = compile_way()
    compiled = time.perf_counter() - begin
    run()  # the first steps also fill caches
    seconds = []
    for _ in range(num_repetitions):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(seconds), "compile_seconds": compiled}


def run(settings: argparse.Namespace) -> None:
    """Measures all four ways, prints them and writes the file.

    Raises:
      UserError: the devices do not divide a batch.
    """
    devices = jax.devices()
    with use_devices(devices):
        check_divides(make_mesh(), "--batch_size", settings.batch_size)
    ways = {
        "one_after_other": lambda: compile_one_after_other(devices[:1], settings),
        "split_batches": lambda: compile_one_after_other(devices, settings),
        "side_by_side": lambda: compile_side_by_side(devices, settings),
        "stacked": lambda: compile_stacked(devices, settings),
    }
    measured = {}
    for name, compile_way in ways.items():
        measured[name] = measure(compile_way, settings.num_repetitions)
        print(f"{name:<16} {measured[name]['seconds']:7.2f} s, compiled in {measured[name]['compile_seconds']:.1f} s")
    result = {
        "command": f"python -m benchmarks.sweep_devices {' '.join(sys.argv[1:])}".strip(),
        "device": f"{len(devices)} x {devices[0].device_kind}, {os.cpu_count()} CPU cores",
        "load_average": round(os.getloadavg()[0], 1),
        "settings": {name: value for name, value in vars(settings).items() if name != "output"},
        "ways": measured,
        "versions": versions(),
    }
    write_json(settings.output, result)


@reports_user_errors
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="FILE.json")
    parser.add_argument("--num_students", type=int, default=8)
    parser.add_argument("--num_steps", type=int, default=5, help="per student and repetition")
    parser.add_argument("--num_repetitions", type=int, default=3)
    parser.add_argument("--num_blocks", type=int, default=2)
    parser.add_argument("--num_layers", type=int, default=1)
    parser.add_argument("--width", type=int, default=6, help="channels of the first block")
    parser.add_argument("--batch_size", type=int, default=8, help="clips, over all devices")
    parser.add_argument("--num_frames", type=int, default=4, help="per clip")
    parser.add_argument("--side_px", type=int, default=112)
    run(parser.parse_args(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
