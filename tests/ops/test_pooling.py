"""The largest of windows and its gradient equal XLA's own, ties included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from echojax import ops


def windowed(x, window, stride, padding):
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, window, window, 1), (1, stride, stride, 1), pads)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradient(pool, x, cotangent):
    value, pullback = jax.vjp(pool, x)
    return value, *pullback(cotangent)


@pytest.mark.parametrize(
    ("height", "width", "window", "stride", "padding"),
    [(8, 6, 3, 2, 1), (7, 8, 3, 2, 1), (8, 6, 2, 2, 0), (7, 9, 2, 2, 0), (6, 5, 3, 1, 1), (11, 10, 3, 3, 0)],
)
@pytest.mark.parametrize("has_ties", [False, True])
def test_value_and_gradient(height, width, window, stride, padding, has_ties):
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 2, (2, height, width, 3)) if has_ties else rng.standard_normal((2, height, width, 3))
    x = jnp.asarray(x, jnp.float32)
    sizes = dict(window=window, stride=stride, padding=padding)
    ours, theirs = (functools.partial(pool, **sizes) for pool in (ops.max_pool, windowed))
    # Whole numbers, whose sums are exact in any order.
    cotangent = jnp.asarray(rng.integers(-9, 10, ours(x).shape), jnp.float32)
    results = value_and_gradient(ours, x, cotangent), value_and_gradient(theirs, x, cotangent)
    for result, wanted in zip(*results, strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_outside_of_the_image_counts_as_minus_infinity():
    x = -jnp.arange(1.0, 17).reshape(1, 4, 4, 1)
    assert np.array_equal(ops.max_pool(x, window=3, stride=2, padding=1)[0, :, :, 0], [[-1, -2], [-5, -6]])


def test_the_first_of_equal_values_has_the_gradient():
    gradient = jax.grad(lambda x: ops.max_pool(x, window=2, stride=2, padding=0).sum())(jnp.ones((1, 2, 2, 1)))
    assert np.array_equal(gradient[0, :, :, 0], [[1, 0], [0, 0]])
