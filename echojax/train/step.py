"""One optimiser step of any stage, compiled once."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from echojax.train.mesh import compiler_options, replicated
from echojax.train.state import TrainState

PyTree = Any
# (params, stats, constants, batch, step, key) -> (scalar loss, (new stats, metrics))
LossFunction = Callable[[PyTree, PyTree, PyTree, PyTree, jax.Array, jax.Array], tuple[jax.Array, tuple[PyTree, dict]]]


def make_train_step(loss: LossFunction, optimiser: optax.GradientTransformation) -> Callable:
    """The function (state, constants, batch) -> (state, metrics) that descends a stage's loss once."""

    def train_step(state: TrainState, constants: PyTree, batch: PyTree) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, (stats, metrics)), grads = gradient(state.params, state.stats, constants, batch, state.step, key)
        updates, optimiser_state = optimiser.update(grads, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": value, **metrics, "gradient_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, stats, optimiser_state, state.key), metrics

    return train_step


class CompiledStep(NamedTuple):
    """A step compiled ahead of time: there is no second compilation, other shapes are refused."""

    run: Callable
    compile_seconds: float


def compile_step(train_step: Callable, mesh: Mesh, state: TrainState, constants: PyTree, batch: PyTree) -> CompiledStep:
    """Compiles a step for arguments of these shapes and placements; the state is donated."""
    begin = time.perf_counter()
    jitted = jax.jit(train_step, donate_argnums=0, out_shardings=replicated(mesh), compiler_options=compiler_options())
    compiled = jitted.lower(state, constants, batch).compile()
    return CompiledStep(compiled, time.perf_counter() - begin)
