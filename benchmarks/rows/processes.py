"""What takes a process of its own: what a user waits for before anything is computed, and a CPU's virtual devices."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jax

from benchmarks import costs
from benchmarks.measuring import Clock, Row, program_mb
from benchmarks.rows.networks import build_subject, compile_training_step
from benchmarks.sizes import Sizes

_ROOT = pathlib.Path(__file__).parents[2]
# Prints the seconds that the compilation of a training step took.
_COMPILE = """
import sys
from benchmarks.rows.networks import build_subject, compile_training_step
from benchmarks.sizes import sizes_of
print(compile_training_step(build_subject("r2plus1d_18", sizes_of(sys.argv[1]))).compile_seconds)
"""
# Prints the curve over as many virtual devices as the environment asks for.
_OVER_DEVICES = """
import dataclasses, json, sys
from benchmarks import costs
from benchmarks.measuring import Clock
from benchmarks.sizes import sizes_of
sizes = sizes_of(sys.argv[1])
print(json.dumps(dataclasses.asdict(costs.over_devices(sizes, Clock(sizes.num_repetitions, sizes.tried)))))
"""


def start_up_rows(clock: Clock) -> list[Row]:
    """A process that imports echojax, and one that prints the command's help."""
    commands = {
        "import echojax": ["-c", "import echojax"],
        "echojax --help": ["-c", "import sys; from echojax.cli import main; sys.exit(main(['--help']))"],
    }
    return [
        clock.alone(f"start-up: {name}", lambda arguments=arguments: _run(arguments), "a process of its own")
        for name, arguments in commands.items()
    ]


def compile_rows(suite: str) -> list[Row]:
    """Compilation of the training step of R(2+1)D-18 in a process of its own, without and with JAX's cache filled."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        seconds = [float(_run(["-c", _COMPILE, suite], **environment)) for _ in range(2)]
    what = "R(2+1)D-18, lowering and compiling"
    return [
        Row(f"compile time of a training step, {name}", value, what=what)
        for name, value in zip(("cache empty", "cache filled"), seconds, strict=True)
    ]


def memory_row(sizes: Sizes) -> Row:
    """What the compiled training step of R(2+1)D-18 needs."""
    subject = build_subject("r2plus1d_18", sizes)
    megabytes = program_mb(compile_training_step(subject).run)
    what = f"{subject.title} training step, {subject.what}; XLA's analysis"
    return Row("peak memory", megabytes, unit="MB", what=what)


def over_devices(suite: str, sizes: Sizes, clock: Clock) -> costs.Curve:
    """`costs.over_devices`; on a CPU, which is one device to JAX, over virtual ones that share its cores."""
    if jax.default_backend() != "cpu":
        return costs.over_devices(sizes, clock)
    environment = {"JAX_NUM_CPU_DEVICES": str(max(sizes.cost_devices))}
    if jax.config.jax_compilation_cache_dir:
        environment["JAX_COMPILATION_CACHE_DIR"] = jax.config.jax_compilation_cache_dir
    return costs.Curve(**json.loads(_run(["-c", _OVER_DEVICES, suite], **environment)))


def _run(arguments: list[str], **environment: str) -> str:
    """Standard output of a Python process in the root of the checkout."""
    variables = os.environ | {"PYTHONPATH": str(_ROOT)} | environment
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=variables, cwd=_ROOT, check=True, capture_output=True, text=True).stdout
