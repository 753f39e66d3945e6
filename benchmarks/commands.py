"""What the commands of this folder share."""

import functools
import os
import pathlib
import platform
import sys
from collections.abc import Callable

import jax

from echojax.errors import UserError


def reports_user_errors(main: Callable[..., int]) -> Callable[..., int]:
    """A command that ends with a line and exit code 2, not with a traceback, where its user made a mistake."""

    @functools.wraps(main)
    def command(*arguments) -> int:
        try:
            return main(*arguments)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2

    return command


def describe_device() -> str:
    """The device in words: kind, number, and for a CPU its cores."""
    devices = jax.devices()
    if devices[0].platform == "cpu":
        return f"{os.cpu_count()} CPU cores, {_cpu_model()}"
    return f"{len(devices)} x {devices[0].device_kind}"


def _cpu_model() -> str:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
