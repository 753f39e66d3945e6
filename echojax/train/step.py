"""One optimiser step of any stage, compiled once."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from echojax.train.mesh import compiler_options, replicated
from echojax.train.state import TrainState

PyTree = Any
# (params, stats, constants, batch, step, key) -> (scalar loss, (new stats, metrics))
LossFunction = Callable[[PyTree, PyTree, PyTree, PyTree, jax.Array, jax.Array], tuple[jax.Array, tuple[PyTree, dict]]]


def make_train_step(
    loss: LossFunction,
    optimiser: optax.GradientTransformation,
    num_parts: int = 1,
    sums_examples: bool = False,
    mesh: Mesh | None = None,
) -> Callable:
    """The function (state, constants, batch) -> (state, metrics) that descends a stage's loss once.

    Args:
      num_parts: gradient accumulation: the batch is computed in so many parts, one after the other, in the memory of
        one; see `accumulate`.
      sums_examples: the loss is a sum over examples rather than their mean.
      mesh: over whose devices every part is spread.
    """
    gradient = jax.value_and_grad(loss, has_aux=True)
    if num_parts > 1:
        gradient = accumulate(gradient, num_parts, sums_examples, mesh)

    def train_step(state: TrainState, constants: PyTree, batch: PyTree) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        (value, (stats, metrics)), grads = gradient(state.params, state.stats, constants, batch, state.step, key)
        updates, optimiser_state = optimiser.update(grads, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": value, **metrics, "gradient_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, stats, optimiser_state, state.key), metrics

    return train_step


def accumulate(gradient: Callable, num_parts: int, sums_examples: bool, mesh: Mesh | None = None) -> Callable:
    """Gradient accumulation: `gradient` of a batch from those of its parts, consecutive examples of every stream.

    Equal to the whole batch's up to rounding where no example looks at another. Batch norm in train mode, which all of
    the papers' networks have, takes the statistics of each part by itself and records one part after the other, as in
    PyTorch: it equals a whole batch that is normalised in as many groups. Dropout draws anew for every part. A stream
    whose size `num_parts` does not divide, such as the one unlabelled clip of CSS, is seen whole by every part.

    Args:
      gradient: `jax.value_and_grad` of a `LossFunction`.
      sums_examples: the loss is a sum over examples, so that parts add up; else they are averaged.
    """

    def accumulated(params, stats, constants, batch, step, key):
        divided = {name for name, of_stream in batch.items() if _size(of_stream) % num_parts == 0}
        whole = {name: of_stream for name, of_stream in batch.items() if name not in divided}
        parts = jax.tree.map(split, {name: batch[name] for name in divided})

        def add(carry, part):
            stats, total = carry
            number, examples = part
            part_key = jax.random.fold_in(key, number)
            (value, (stats, metrics)), grads = gradient(params, stats, constants, whole | examples, step, part_key)
            return (stats, jax.tree.map(jnp.add, total, (value, metrics, grads))), None

        first = whole | jax.tree.map(lambda array: array[0], parts)
        (value, (_, metrics)), grads = jax.eval_shape(gradient, params, stats, constants, first, step, key)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (value, metrics, grads))
        # On CPUs a convolution within a loop loses its fast path.
        unroll = num_parts if jax.default_backend() == "cpu" else 1
        (stats, total), _ = jax.lax.scan(add, (stats, zeros), (jnp.arange(num_parts), parts), unroll=unroll)
        if not sums_examples:
            total = jax.tree.map(lambda x: x / num_parts, total)
        value, metrics, grads = total
        return (value, (stats, metrics)), grads

    def split(array: jax.Array) -> jax.Array:
        parts = array.reshape(num_parts, -1, *array.shape[1:])
        if mesh is None or mesh.size == 1 or parts.shape[1] % mesh.size:
            return parts
        return jax.lax.with_sharding_constraint(parts, NamedSharding(mesh, PartitionSpec(None, "data")))

    return accumulated


class CompiledStep(NamedTuple):
    """A step compiled ahead of time: there is no second compilation, other shapes are refused."""

    run: Callable
    compile_seconds: float


def compile_step(train_step: Callable, mesh: Mesh, state: TrainState, constants: PyTree, batch: PyTree) -> CompiledStep:
    """Compiles a step for arguments of these shapes and placements; the state is donated, and stays where it lies."""
    begin = time.perf_counter()
    shardings = jax.tree.map(lambda array: array.sharding, state), replicated(mesh)
    jitted = jax.jit(train_step, donate_argnums=0, out_shardings=shardings, compiler_options=compiler_options())
    compiled = jitted.lower(state, constants, batch).compile()
    return CompiledStep(compiled, time.perf_counter() - begin)


def _size(of_stream: dict[str, jax.Array]) -> int:
    return len(next(iter(of_stream.values())))
