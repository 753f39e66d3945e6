"""What computed a result."""

import importlib.metadata

import jax

import echojax

LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")


def versions() -> dict[str, str]:
    """Versions of echojax and of what computes its results."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"echojax": echojax.__version__, **libraries, "device": jax.devices()[0].device_kind}
