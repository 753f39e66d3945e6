"""What training changes: everything a checkpoint needs to go on with the same bits."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PyTree = Any


class TrainState(NamedTuple):
    """The state of a run after `step` optimiser steps.

    Attributes:
      step: int32 scalar.
      params: trained parameters, float32.
      stats: running statistics of the norms, float32.
      optimiser: optax's state.
      key: the run's random key data; step s draws from `fold_in(key, s)`.
    """

    step: jax.Array
    params: PyTree
    stats: PyTree
    optimiser: PyTree
    key: jax.Array


def initial_state(params: PyTree, stats: PyTree, optimiser: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.int32(0), params, stats, optimiser.init(params), jax.random.key_data(jax.random.key(seed)))
