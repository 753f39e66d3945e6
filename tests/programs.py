"""Starting the repository's programs as a user does."""

import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def start_main(*arguments: str, cwd: pathlib.Path, num_devices: int = 1) -> subprocess.Popen:
    """Starts `python main.py ARGUMENTS` in a directory, on CPU devices."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(num_devices)}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_main(*arguments: str, cwd: pathlib.Path, num_devices: int = 1) -> subprocess.CompletedProcess:
    """Runs `python main.py ARGUMENTS` to its end; output holds stdout and stderr."""
    process = start_main(*arguments, cwd=cwd, num_devices=num_devices)
    output, _ = process.communicate(timeout=400)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
