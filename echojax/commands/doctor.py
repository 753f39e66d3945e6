"""Says which Python, libraries and devices echojax runs on, and for what something is missing."""

import argparse
import importlib.metadata
import platform
import sys
import warnings

# What needs a library that the base installation does not have; how to get it.
EXTRAS = {
    "torch": ("echojax port and export-torch with .pt, .pth, .ckpt and .bin files", 'pip install "echojax[port]"'),
    "pytest": ("the tests", 'pip install "echojax[test]"'),
}
REQUIRED = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "safetensors",
    "pandas",
    "matplotlib",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(args: argparse.Namespace) -> int:
    del args
    import echojax

    print(f"echojax {echojax.__version__} on Python {platform.python_version()}, {platform.platform()}")
    missing = []
    for name in REQUIRED:
        version = _version(name)
        print(f"  {name:<24} {version or 'MISSING'}")
        if version is None:
            missing.append(f"{name} is missing: pip install echojax")
    for name, (purpose, command) in EXTRAS.items():
        version = _version(name)
        print(f"  {name:<24} {version or f'not installed; needed for {purpose}: {command}'}")
    missing += _check_python() + (_check_devices() if _version("jaxlib") else [])
    for problem in missing:
        print(f"problem: {problem}")
    count = f"{len(missing)} problem{'s' if len(missing) > 1 else ''}."
    print(count if missing else "Everything that is needed is there.")
    return 1 if missing else 0


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_python() -> list[str]:
    version = sys.version_info[:2]
    if (3, 11) <= version < (3, 14):
        return []
    return [f"Python {platform.python_version()} is not supported; use 3.11 to 3.13"]


def _check_devices() -> list[str]:
    """Prints the devices, computes something on them, and says what is wrong."""
    import jax
    import jax.numpy as jnp

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            devices = jax.devices()
    except RuntimeError as error:
        return [f"JAX finds no device: {str(error).splitlines()[0]}"]
    kinds = sorted({device.device_kind for device in devices})
    print(f"  devices: {len(devices)} ({jax.default_backend()}: {', '.join(kinds)})")
    if jax.default_backend() == "cpu":
        print('  on the CPU; for a GPU: pip install "echojax[cuda]", for a TPU: pip install "echojax[tpu]"')
    total = float(jnp.sum(jnp.ones((64, 64)) @ jnp.ones((64, 64))))
    return [] if total == 64.0**3 else [f"a product of matrices of ones came out as {total}, expected {64.0**3}"]
