"""What a user waits for before anything is computed: imports, compilation, conversion."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks.data import Data
from benchmarks.measuring import Clock, Row
from benchmarks.sizes import Sizes
from data_prep import echonet

_ROOT = pathlib.Path(__file__).parents[2]
# Prints the seconds that the compilation of a training step took.
_COMPILE = """
import sys
from benchmarks.rows.networks import build_subject, compile_training_step
from benchmarks.sizes import sizes_of
print(compile_training_step(build_subject("r2plus1d_18", sizes_of(sys.argv[1]))).compile_seconds)
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


def conversion_row(data: Data) -> Row:
    """AVI files to RGB records, by as many processes as there are cores."""
    source = data.source
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        echonet.convert(source, pathlib.Path(folder) / "records", progress=False)
        seconds = time.perf_counter() - begin
    what = f"{data.sizes.num_videos} phantoms of {data.sizes.video_frames} frames, start of the processes included"
    return Row("conversion", data.sizes.num_videos / seconds, unit="videos/s", what=what)


def memory_row(sizes: Sizes) -> Row:
    """What the compiled training step of R(2+1)D-18 needs by XLA's own analysis: arguments, results, intermediates."""
    from benchmarks.rows.networks import build_subject, compile_training_step

    subject = build_subject("r2plus1d_18", sizes)
    analysis = compile_training_step(subject).run.memory_analysis()
    num_bytes = (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
        + analysis.temp_size_in_bytes
    )
    what = f"{subject.title} training step, {subject.what}; XLA's analysis"
    return Row("peak memory", num_bytes / 1e6, unit="MB", what=what)


def _run(arguments: list[str], **environment: str) -> str:
    """Standard output of a Python process in the root of the checkout."""
    variables = os.environ | {"PYTHONPATH": str(_ROOT)} | environment
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=variables, cwd=_ROOT, check=True, capture_output=True, text=True).stdout
