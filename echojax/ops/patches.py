"""Convolutions as one matrix product over patches, for sizes at which a CPU is faster so.

A patch is what a kernel sees at one position of the output: with patches P (positions, taps * c) and the kernel as a
matrix K (taps * c, d)

    y = P K,        dK = P^T dy,        dP = dy K^T,        dx = dP put back where the patches were taken from.

Patches hold every sample as often as there are taps. That pays where positions are few and the kernel is the larger
one, which is then read as it lies; and for the gradient of the kernel, block by block, where XLA would first transpose
all samples, computed anew from several layers before.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from echojax.ops.blocks import largest_divisor

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]

_BLOCK_BYTES = 8e6  # of patches, on which an iteration of the loop works


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def patch_conv(
    x: Float[Array, "b *space c"], kernel: Float[Array, "*taps c d"], stride: Ints, pads: Pads
) -> Float[Array, "b *out d"]:
    """Cross-correlates x with a kernel, `pads` holding (before, after) per axis. For `jax.grad` only."""
    return jnp.tensordot(_patches(x, kernel.shape[:-2], stride, pads), _as_matrix(kernel), axes=1)


def _patch_conv_backward(stride: Ints, pads: Pads, operands: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = operands
    patches, put_back = jax.vjp(lambda x: _patches(x, kernel.shape[:-2], stride, pads), x)
    # Written as a product with the kernel's second axis: to transpose it first would read it column by column.
    d_patches = jax.lax.dot_general(dy, _as_matrix(kernel), (((dy.ndim - 1,), (1,)), ((), ())))
    return put_back(d_patches)[0], _product(patches, dy).reshape(kernel.shape)


patch_conv.defvjp(
    lambda x, kernel, stride, pads: (patch_conv(x, kernel, stride, pads), (x, kernel)), _patch_conv_backward
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def with_kernel_gradient_by_patches(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "i j c d"],
    stride: Ints,
    pads: Pads,
    convolve: Callable[[Array, Array, Ints, Pads], Array],
) -> Float[Array, "b out_h out_w d"]:
    """`convolve(x, kernel, stride, pads)`, whose gradient for the kernel is summed over blocks of patches."""
    return convolve(x, kernel, stride, pads)


def _backward(stride: Ints, pads: Pads, convolve: Callable, operands: tuple[Array, Array], dy: Array):
    x, kernel = operands
    _, pullback = jax.vjp(lambda x: convolve(x, kernel, stride, pads), x)
    taps, (c, d) = kernel.shape[:2], kernel.shape[2:]
    if set(stride) == {1} and d < c:
        # The same with both changing places and taps counted from the end: patches of the narrower one are smaller.
        pads = tuple((n - 1 - before, n - 1 - after) for n, (before, after) in zip(taps, pads, strict=True))
        return *pullback(dy), _kernel_gradient(dy, x, taps, stride, pads)[::-1, ::-1].swapaxes(-1, -2)
    return *pullback(dy), _kernel_gradient(x, dy, taps, stride, pads)


with_kernel_gradient_by_patches.defvjp(
    lambda x, kernel, *static: (with_kernel_gradient_by_patches(x, kernel, *static), (x, kernel)), _backward
)


def _kernel_gradient(
    x: Float[Array, "b h w c"], dy: Float[Array, "b out_h out_w d"], taps: Ints, stride: Ints, pads: Pads
) -> Float[Array, "i j c d"]:
    """Goes through some images at a time, or some rows of one."""
    (b, num_rows, num_columns, d), c = dy.shape, x.shape[-1]
    most = _BLOCK_BYTES / (math.prod(taps) * c * x.dtype.itemsize)  # positions
    rows = largest_divisor(num_rows, most / num_columns)
    images = largest_divisor(b, most / (num_rows * num_columns))
    num_blocks = (b // images, num_rows // rows)
    padded = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (*pads[0], 0), (0, 0, 0), (0, 0, 0)])
    seen_rows = (rows - 1) * stride[0] + taps[0]

    def of_block(d_kernel: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        i, dy = block
        image, row = jnp.unravel_index(i, num_blocks)
        start = (image * images, row * rows * stride[0], 0, 0)
        seen = jax.lax.dynamic_slice(padded, start, (images, seen_rows, *x.shape[2:]))
        return d_kernel + _product(_patches(seen, taps, stride, ((0, 0), pads[1])), dy), None

    blocks = jnp.arange(math.prod(num_blocks)), dy.reshape(-1, images, rows, num_columns, d)
    d_kernel, _ = jax.lax.scan(of_block, jnp.zeros((math.prod(taps) * c, d), x.dtype), blocks)
    return d_kernel.reshape(*taps, c, d)


def _as_matrix(kernel: Float[Array, "*taps c d"]) -> Float[Array, "tc d"]:
    return kernel.reshape(-1, kernel.shape[-1])


def _product(patches: Float[Array, "b *out tc"], dy: Float[Array, "b *out d"]) -> Float[Array, "tc d"]:
    flat = (array.reshape(-1, array.shape[-1]) for array in (patches, dy))
    return jax.lax.dot_general(*flat, (((0,), (0,)), ((), ())))


def _patches(x: Float[Array, "b *space c"], taps: Sequence[int], stride: Ints, pads: Pads) -> Float[Array, "b *out tc"]:
    """What the kernel sees at every position of the output: taps in the kernel's order, and channels."""
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)])
    # The last axis first, so that later ones move longer pieces.
    for axis, num_taps, step in reversed(list(zip(itertools.count(1), taps, stride))):
        end = x.shape[axis] - num_taps + 1
        seen = [jax.lax.slice_in_dim(x, tap, tap + end, step, axis=axis) for tap in range(num_taps)]
        x = jnp.concatenate(seen, axis=-1)
    return x
