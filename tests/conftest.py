"""Fixtures that several test modules share."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory) -> pathlib.Path:
    """Records of 20 short phantoms (12 TRAIN, 4 VAL, 4 TEST), 48 to 52 frames of 112x112, one channel."""
    from data_prep import echonet
    from data_prep.phantom.dataset import write_dataset

    folder = tmp_path_factory.mktemp("phantoms")
    write_dataset(folder / "source", 20, 5, num_frames=(48, 52), split_shares=(0.6, 0.2, 0.2), workers=1)
    echonet.convert(folder / "source", folder / "records", pixels="gray", workers=1, progress=False)
    return folder / "records"


@pytest.fixture(scope="session")
def compile_cache(tmp_path_factory) -> pathlib.Path:
    """Keeps compiled programs for the processes that tests start."""
    return tmp_path_factory.mktemp("xla")


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
