"""Starting the repository's programs as a user does."""

import contextlib
import io
import os
import pathlib
import socket
import subprocess
import sys
import warnings
from unittest import mock

import quick_compiler
from absl import flags
from absl.testing import flagsaver

from echojax.train import memory

ROOT = pathlib.Path(__file__).parents[1]


def environment(num_devices: int = 1) -> dict[str, str]:
    """Variables of a process on CPU devices that compiles quickly, and keeps all of it where it has a compile cache."""
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(num_devices),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {quick_compiler.flags()}".strip(),
    }


def start_main(*arguments: str, cwd: pathlib.Path, num_devices: int = 1) -> subprocess.Popen:
    """Starts `python main.py ARGUMENTS` in a directory, on CPU devices."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *arguments],
        cwd=cwd,
        env=environment(num_devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_main(*arguments: str, cwd: pathlib.Path, num_devices: int = 1) -> subprocess.CompletedProcess:
    """Runs `python main.py ARGUMENTS` to its end; output holds stdout and stderr."""
    process = start_main(*arguments, cwd=cwd, num_devices=num_devices)
    output, _ = process.communicate(timeout=400)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def call_main(*arguments: str) -> subprocess.CompletedProcess:
    """The same at the repository's root, without the seconds that a process takes to start: for what ends at once."""
    import main  # defines flags

    command, output = ["main.py", *arguments], io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(flagsaver.flagsaver())
        stack.callback(flags.FLAGS.unparse_flags)
        stack.enter_context(mock.patch.object(sys, "argv", command))
        stack.enter_context(contextlib.chdir(ROOT))
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(output))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DeprecationWarning)  # of how ml_collections loads a config's file
        # It would be for all tests to come.
        stack.enter_context(mock.patch.object(memory, "keep_freed_memory"))
        code = main.main(command)
    return subprocess.CompletedProcess(command, code, output.getvalue())


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
