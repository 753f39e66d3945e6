"""Largest values in windows, with a gradient that XLA runs fast on a CPU."""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "b h w c"], window: int, stride: int, padding: int) -> Float[Array, "b h2 w2 c"]:
    """Largest value in square windows; outside of the image counts as -inf.

    The gradient goes to the first of equal values, row by row, as in PyTorch. XLA looks for it on a CPU with the
    numbers of all positions in four arrays beside the values, ten times slower than comparing.

    Args:
      window, stride, padding: pixels; a window is at least as wide as a stride.
    """
    if jax.default_backend() == "cpu":
        return _compared_max_pool(x, window, stride, padding)
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, window, window, 1), (1, stride, stride, 1), pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _compared_max_pool(x: Array, window: int, stride: int, padding: int) -> Array:
    return functools.reduce(jnp.maximum, itertools.chain.from_iterable(_taps(x, window, stride, padding)))


def _forward(x: Array, window: int, stride: int, padding: int):
    largest = _compared_max_pool(x, window, stride, padding)
    return largest, (x, largest)


def _backward(window: int, stride: int, padding: int, saved: tuple[Array, Array], gradient: Array):
    x, largest = saved
    is_open, rows = jnp.ones(largest.shape, bool), []
    for taps in _taps(x, window, stride, padding):
        parts = []
        for tap in taps:
            is_found = is_open & (tap == largest)
            is_open &= ~is_found
            parts.append(jnp.where(is_found, gradient, 0))
        rows.append(_spread(parts, stride, padding, x.shape[2], axis=2))
    return (_spread(rows, stride, padding, x.shape[1], axis=1),)


_compared_max_pool.defvjp(_forward, _backward)


def _taps(x: Array, window: int, stride: int, padding: int) -> list[list[Array]]:
    """What the windows hold at each of their places, by row and column: window x window arrays (b, h2, w2, c)."""
    padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=-jnp.inf)
    last_row, last_column = ((size - window) // stride * stride + 1 for size in padded.shape[1:3])
    return [
        [padded[:, i : i + last_row : stride, j : j + last_column : stride] for j in range(window)]
        for i in range(window)
    ]


def _spread(parts: Sequence[Array], stride: int, padding: int, size: int, axis: int) -> Array:
    """Adds part i of each window to position window * stride + i along an axis, and cuts the padding off.

    Positions with the same remainder by `stride` are added up first and then laid side by side: no position is written
    twice.
    """
    most_shifted = (len(parts) - 1) // stride
    of_remainder = []
    for remainder in range(stride):
        shifted = [_pad(part, shift, most_shifted - shift, axis) for shift, part in enumerate(parts[remainder::stride])]
        of_remainder.append(functools.reduce(jnp.add, shifted))
    shape = list(parts[0].shape)
    shape[axis] = (shape[axis] + most_shifted) * stride
    whole = jnp.stack(of_remainder, axis + 1).reshape(shape)
    whole = _pad(whole, 0, max(padding + size - shape[axis], 0), axis)
    return jax.lax.slice_in_dim(whole, padding, padding + size, axis=axis)


def _pad(x: Array, before: int, after: int, axis: int) -> Array:
    return jnp.pad(x, [(before, after) if each == axis else (0, 0) for each in range(x.ndim)])
