"""One mesh for every machine: a single `data` axis over all devices of all hosts."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from echojax.errors import UserError

# On CPUs XLA hands 2-D convolutions to a kernel library whose kernel gradient is two to three times slower than XLA's
# own path; a compiler option reaches this backend alone, whereas an unknown name in XLA_FLAGS aborts the process.
_CPU_COMPILER_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}

_DEVICES: contextvars.ContextVar[tuple[jax.Device, ...]] = contextvars.ContextVar("devices", default=())


def make_mesh() -> Mesh:
    """A mesh over all devices, or those of `use_devices`, with the batch along its only axis, `data`."""
    devices = _DEVICES.get() or jax.devices()
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


@contextlib.contextmanager
def use_devices(devices: Sequence[jax.Device]) -> Iterator[None]:
    """Keeps what this thread computes within the block to some of the devices: others are free for other runs."""
    token = _DEVICES.set(tuple(devices))
    try:
        with jax.default_device(devices[0]):
            yield
    finally:
        _DEVICES.reset(token)


def compiler_options() -> dict[str, str] | None:
    """Options for `jax.jit` that suit the default backend."""
    return dict(_CPU_COMPILER_OPTIONS) if jax.default_backend() == "cpu" else None


def replicated(mesh: Mesh) -> NamedSharding:
    """The same values on every device."""
    return NamedSharding(mesh, PartitionSpec())


def check_divides(mesh: Mesh, what: str, batch_size: int) -> None:
    """Raises UserError, naming the nearest sizes that fit, unless the devices divide a batch."""
    devices = mesh.size
    if batch_size % devices:
        below, above = batch_size // devices * devices, -(-batch_size // devices) * devices
        nearest = f"{below} or {above}" if below else f"{above}"
        raise UserError(f"{what} is {batch_size}, which {devices} devices do not divide; nearest sizes: {nearest}")


def put_batch(mesh: Mesh, batch):
    """Host arrays {stream: {field: (b, ...)}} to global arrays, the leading axis split over the devices.

    Streams whose global size the devices do not divide, such as the one unlabelled clip of CSS, are replicated.
    """

    def put(array: np.ndarray) -> jax.Array:
        split = len(array) * jax.process_count() % mesh.size == 0
        spec = PartitionSpec("data") if split else PartitionSpec()
        return jax.make_array_from_process_local_data(NamedSharding(mesh, spec), array)

    return jax.tree.map(put, batch)
