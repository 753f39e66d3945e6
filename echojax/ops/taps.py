"""Convolutions as a sum of one matrix product per tap, each over what it sees of the image; there is none for padding.

On the 14x14 maps of DeepLab's head a 3x3 kernel of rate 12 sees padding with four fifths of its products.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


class _View(NamedTuple):
    """What a tap sees: the size in pixels, where it lies in the image, and where in the output."""

    size: tuple[int, int]
    of_image: tuple[int, int]
    of_output: tuple[int, int]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_tap_by_tap(
    x: Float[Array, "b h w c"], kernel: Float[Array, "i j c d"], pads: Pads, dilation: Ints
) -> Float[Array, "b out_h out_w d"]:
    """Cross-correlates x with a kernel at stride 1, `pads` holding (before, after) per axis. For `jax.grad` only."""
    taps = kernel.shape[:2]
    shape = (x.shape[0], *_output_sizes(x.shape[1:3], taps, pads, dilation), kernel.shape[3])
    products = [
        (jax.lax.dot_general(_cut(x, view.of_image, view), kernel[tap], (((3,), (0,)), ((), ()))), view.of_output)
        for tap, view in _views(x.shape[1:3], taps, pads, dilation).items()
    ]
    return _sum_at(products, shape, x.dtype)


def _backward(pads: Pads, dilation: Ints, operands: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    """Written out: JAX pads each tap's share of both gradients to the size of the whole before it adds them up."""
    x, kernel = operands
    taps = kernel.shape[:2]
    d_seen, d_kernel = [], {}
    for tap, view in _views(x.shape[1:3], taps, pads, dilation).items():
        seen, d_product = _cut(x, view.of_image, view), _cut(dy, view.of_output, view)
        d_seen.append((jax.lax.dot_general(d_product, kernel[tap], (((3,), (1,)), ((), ()))), view.of_image))
        flat = (array.reshape(-1, array.shape[-1]) for array in (seen, d_product))
        d_kernel[tap] = jax.lax.dot_general(*flat, (((0,), (0,)), ((), ())))
    nothing = jnp.zeros(kernel.shape[2:], kernel.dtype)
    rows = [jnp.stack([d_kernel.get((i, j), nothing) for j in range(taps[1])]) for i in range(taps[0])]
    return _sum_at(d_seen, x.shape, x.dtype), jnp.stack(rows)


conv_tap_by_tap.defvjp(
    lambda x, kernel, pads, dilation: (conv_tap_by_tap(x, kernel, pads, dilation), (x, kernel)), _backward
)


def share_that_sees(sizes: Ints, taps: Ints, pads: Pads, dilation: Ints) -> float:
    """Of the pairs of an output and a tap, those where the tap sees the image and not padding."""
    share = 1.0
    for size, num_taps, num_out, pad, step in zip(
        sizes, taps, _output_sizes(sizes, taps, pads, dilation), pads, dilation, strict=True
    ):
        seen = sum(end - first for first, end, _ in _along(size, num_taps, num_out, pad, step))
        share *= seen / max(1, num_taps * num_out)
    return share


def _output_sizes(sizes: Ints, taps: Ints, pads: Pads, dilation: Ints) -> list[int]:
    return [n + sum(pad) - step * (k - 1) for n, k, pad, step in zip(sizes, taps, pads, dilation, strict=True)]


def _views(sizes: Ints, taps: Ints, pads: Pads, dilation: Ints) -> dict[tuple[int, int], _View]:
    """Of the taps that see anything."""
    all_rows, all_columns = (
        _along(*of_axis)
        for of_axis in zip(sizes, taps, _output_sizes(sizes, taps, pads, dilation), pads, dilation, strict=True)
    )
    views = {
        (i, j): _View((bottom - top, right - left), (row, column), (top, left))
        for i, (top, bottom, row) in enumerate(all_rows)
        for j, (left, right, column) in enumerate(all_columns)
    }
    return {tap: view for tap, view in views.items() if min(view.size) > 0}


def _along(size: int, num_taps: int, num_out: int, pad: tuple[int, int], step: int) -> list[tuple[int, int, int]]:
    """For each tap the first and the last but one output that sees the image, and where it looks first."""
    offsets = [tap * step - pad[0] for tap in range(num_taps)]
    ends = [(max(0, -offset), max(0, -offset, min(num_out, size - offset)), offset) for offset in offsets]
    return [(first, end, first + offset) for first, end, offset in ends]


def _cut(images: Float[Array, "b h w e"], corner: tuple[int, int], view: _View) -> Float[Array, "b rows columns e"]:
    (row, column), (height, width) = corner, view.size
    return images[:, row : row + height, column : column + width]


def _sum_at(parts: Sequence[tuple[Array, tuple[int, int]]], shape: Sequence[int], dtype: jnp.dtype) -> Array:
    """Adds images up at their places, each in place."""
    whole = [part for part, _ in parts if part.shape == tuple(shape)]
    total = sum(whole[1:], whole[0]) if whole else jnp.zeros(shape, dtype)
    for part, (row, column) in parts:
        if part.shape != tuple(shape):
            _, height, width, _ = part.shape
            place = (slice(None), slice(row, row + height), slice(column, column + width))
            total = jax.lax.dynamic_update_slice(total, total[place] + part, (0, row, column, 0))
    return total
