"""One mesh for every machine, its only axis `data`: over the devices of all processes in training, else one's own."""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from echojax.errors import UserError

PyTree = Any

# On CPUs XLA hands 2-D convolutions to a kernel library whose kernel gradient is two to three times slower than XLA's
# own path; a compiler option reaches this backend alone, whereas an unknown name in XLA_FLAGS aborts the process.
_CPU_COMPILER_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}
# Arrays of fewer elements, such as biases and the scales of norms, are not worth a message between devices.
_MIN_SHARDED_SIZE = 2**12

_DEVICES: contextvars.ContextVar[tuple[jax.Device, ...]] = contextvars.ContextVar("devices", default=())


def make_mesh() -> Mesh:
    """A mesh over this process's devices, or those of `use_devices`, with the batch along its only axis, `data`."""
    return _mesh_over(_DEVICES.get() or jax.local_devices())


def make_training_mesh() -> Mesh:
    """A mesh over the devices of all processes, or those of `use_devices`; with one process that of `make_mesh`."""
    return _mesh_over(_DEVICES.get() or jax.devices())


def _mesh_over(devices: Sequence[jax.Device]) -> Mesh:
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


# --- Where arrays lie -------------------------------------------------------------------------------------------------


def replicated(mesh: Mesh) -> NamedSharding:
    """The same values on every device."""
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(mesh: Mesh, tree: PyTree, shard_params: bool) -> PyTree:
    """Where each array of a training state lies: whole on every device, or each large one in equal parts.

    With `shard_params` an array is split along its longest axis that the devices divide, the last of several. Optimiser
    state has the shapes of the parameters and is therefore split as they are.
    """

    def sharding(array) -> NamedSharding:
        spec = PartitionSpec()
        if shard_params and math.prod(array.shape) >= _MIN_SHARDED_SIZE:
            divided = [axis for axis, length in enumerate(array.shape) if length % mesh.size == 0]
            if divided:
                longest = max(divided, key=lambda axis: (array.shape[axis], axis))
                spec = PartitionSpec(*[None] * longest, "data")
        return NamedSharding(mesh, spec)

    return jax.tree.map(sharding, tree)


def place(tree: PyTree, shardings: PyTree) -> PyTree:
    """Puts arrays, which every process holds whole, where their shardings say; what lies there already stays."""
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    def put(array, sharding: NamedSharding) -> jax.Array:
        if isinstance(array, jax.Array) and array.sharding == sharding:
            return array
        if isinstance(array, jax.Array) and array.sharding == own and sharding.is_fully_replicated:
            shards = [shard.data for shard in array.addressable_shards]  # large data sets are not copied
            return jax.make_array_from_single_device_arrays(array.shape, sharding, shards)
        whole = np.asarray(array)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    own = replicated(make_mesh())

    return jax.tree.map(put, tree, shardings)


def localise(tree: PyTree) -> PyTree:
    """Arrays of the training mesh as this process's devices can use them alone; every process calls it at once."""
    if jax.process_count() == 1:
        return tree
    everywhere = replicated(make_training_mesh())
    whole = jax.jit(lambda tree: tree, out_shardings=everywhere)(tree)
    own = replicated(make_mesh())

    def pick(array: jax.Array) -> jax.Array:
        shards = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, own, shards)

    return jax.tree.map(pick, whole)


# --- Batches ----------------------------------------------------------------------------------------------------------


def check_divides(mesh: Mesh, what: str, batch_size: int, num_parts: int = 1) -> None:
    """Raises UserError, naming the nearest sizes that fit, unless the devices divide each part of a batch."""
    divisor = mesh.size * num_parts
    if batch_size % divisor:
        below, above = batch_size // divisor * divisor, -(-batch_size // divisor) * divisor
        nearest = f"{below} or {above}" if below else f"{above}"
        parts = f" times {num_parts} parts" if num_parts > 1 else ""
        raise UserError(
            f"{what} is {batch_size}, which {mesh.size} devices{parts} do not divide; nearest sizes: {nearest}"
        )


def round_up(batch_size: int, mesh: Mesh) -> int:
    """The next batch size that the devices of a mesh divide."""
    return -(-batch_size // mesh.size) * mesh.size


def put_batch(mesh: Mesh, batch, batch_sizes: Mapping[str, int] | None = None):
    """Host arrays {stream: {field: (b, ...)}} to arrays over a mesh, the leading axis split over its devices.

    Streams whose size the devices do not divide, such as the one unlabelled clip of CSS, are replicated.

    Args:
      batch_sizes: examples of each stream over all processes, where the mesh is that of all processes: each then holds
        its part of the streams that are split, and the others whole. By default the arrays are all there is.
    """

    def put(array: np.ndarray, batch_size: int) -> jax.Array:
        spec = PartitionSpec("data") if batch_size % mesh.size == 0 else PartitionSpec()
        return jax.make_array_from_process_local_data(NamedSharding(mesh, spec), array)

    if batch_sizes is None:
        return jax.tree.map(lambda array: put(array, len(array)), batch)
    return {name: {field: put(array, batch_sizes[name]) for field, array in of_stream.items()}
            for name, of_stream in batch.items()}  # fmt: skip
