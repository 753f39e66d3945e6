"""3x3 convolutions with 4/9 of the products: Winograd's F(2x2, 3x3) (Lavin and Gray, CVPR 2016, arXiv 1509.09308).

A 2x2 tile of the output depends on the 4x4 samples of the input around it. Along one axis, with samples d, taps k and
results y,

    v = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)                    "spread" samples
    u = (k0, (k0 + k1 + k2) / 2, (k0 - k1 + k2) / 2, k2)        "spread" taps
    m = v u                                                     four products instead of six
    y = (m0 + m1 + m2, m1 - m2 - m3)

and along both axes 16 products give what takes 36. With channels each product is a matrix product over all tiles. All
of it is linear in x and in the kernel, and the gradients are products of the same 16 arrays; the spread samples, four
times as large as x, are made anew for them rather than kept.

A kernel that also spans k frames of a video is a 3x3 kernel over frames whose channels hold the k frames around them.

The saving is lost where the 16 arrays travel through memory. The videos therefore go through a loop, block by block:
some videos, some frames of one, or some rows of one frame, so few that their arrays stay in the processor's cache.

In float32 results differ from the plain convolution's by the rounding of a few more sums: about 1e-6 of the largest.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from echojax.ops.blocks import largest_divisor

# Arrays by row and column: of samples, taps, products or results.
Grid = Sequence[Sequence[Array]]

_BLOCK_BYTES = 12e6  # of spread samples and products, on which an iteration of the loop works
_BLOCK_BYTES_OF_GRADIENT = 6e6  # the same for the kernel's gradient
_TAPS_WORTH = 2  # how many times the bytes of the spread taps, which every iteration reads, a block may hold instead


@jax.custom_vjp
def winograd_conv(x: Float[Array, "b t h w c"], kernel: Float[Array, "k 3 3 c d"]) -> Float[Array, "b t h w d"]:
    """Cross-correlates videos with a kernel that spans k (odd) of their frames and 3x3 of their pixels, at stride 1.

    Outside of the video x is zero. Images are frames to a kernel with k = 1. For `jax.grad` only.
    """
    return _convolve(x, kernel)


def _backward(operands, dy):
    x, kernel = operands
    return _convolve(dy, kernel[::-1, ::-1, ::-1], of_taps=1), _kernel_gradient(x, dy, len(kernel))


winograd_conv.defvjp(lambda x, kernel: (winograd_conv(x, kernel), (x, kernel)), _backward)


# --- Block by block ---------------------------------------------------------------------------------------------------


class _Block(NamedTuple):
    """How much goes through an iteration: whole videos, or whole frames of one, or rows of one; each divides all."""

    videos: int
    frames: int
    rows: int  # even


def _convolve(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "k 3 3 c d"], of_taps: int = 0
) -> Float[Array, "b t h w d"]:
    """The convolution; with `of_taps` 1 the kernel is (k, 3, 3, d, c): its axis 1 of channels is summed over.

    It is left to the products to transpose taps: to write them so would read the kernel column by column.
    """
    b, t, h, w, _ = x.shape
    k, num_out = len(kernel), kernel.shape[4 - of_taps]
    taps = _over_both_axes(_spread_taps, jnp.concatenate(list(kernel), axis=2 + of_taps))
    block = _block(x.shape, k * x.shape[-1], num_out, _BLOCK_BYTES / x.dtype.itemsize)
    num_blocks, window = _windows(x, k, block)

    def multiply(v: Float[Array, "m i j kc"], taps: Float[Array, "_ _"]) -> Float[Array, "m i j d"]:
        return jax.lax.dot_general(v, taps, (((3,), (of_taps,)), ((), ())))

    def of_block(i: Array) -> Float[Array, "m rows w d"]:
        products = _each(multiply, _spread_samples(window(i)), taps)
        return _join(_over_both_axes(_gather_products, products))[:, :, :w]

    y = jax.lax.map(of_block, jnp.arange(num_blocks))
    return y.reshape(b, t, h + h % 2, w, num_out)[:, :, :h]


def _kernel_gradient(x: Float[Array, "b t h w c"], dy: Float[Array, "b t h w d"], k: int) -> Float[Array, "k 3 3 c d"]:
    """The gradient with respect to the kernel of the convolution that x went through."""
    h, w, num_in, num_out = *x.shape[2:4], k * x.shape[-1], dy.shape[-1]
    block = _block(x.shape, num_in, num_out, _BLOCK_BYTES_OF_GRADIENT / x.dtype.itemsize)
    num_blocks, window = _windows(x, k, block)
    whole_tiles = jnp.pad(dy, ((0, 0), (0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    dy_blocks = whole_tiles.reshape(num_blocks, -1, block.rows, *whole_tiles.shape[3:])

    def of_block(d_taps: Grid, i_and_dy: tuple[Array, Array]) -> tuple[Grid, None]:
        i, dy = i_and_dy
        d_products = _over_both_axes(_spread_gradient, _split(dy))
        return _each(jnp.add, d_taps, _each(_multiply_tiles, _spread_samples(window(i)), d_products)), None

    zeros = [[jnp.zeros((num_in, num_out), x.dtype)] * 4] * 4
    d_taps, _ = jax.lax.scan(of_block, zeros, (jnp.arange(num_blocks), dy_blocks))
    d_kernel = jnp.stack([jnp.stack(row) for row in _over_both_axes(_gather_taps, d_taps)])
    return jnp.stack(jnp.split(d_kernel, k, axis=2))


def _block(shape: Sequence[int], num_in: int, num_out: int, numbers: float) -> _Block:
    """The largest block whose 16 arrays have no more than so many numbers, or keep to `_TAPS_WORTH`."""
    b, t, h, w, _ = shape
    tile_rows, tile_columns = math.ceil(h / 2), math.ceil(w / 2)
    most = max(numbers / 16, _TAPS_WORTH * num_in * num_out) / (num_in + num_out)  # tiles
    rows = largest_divisor(tile_rows, most / tile_columns)
    frames = largest_divisor(t, most / (tile_rows * tile_columns))
    videos = largest_divisor(b, most / (t * tile_rows * tile_columns))
    return _Block(videos, frames, 2 * rows)


def _windows(x: Float[Array, "b t h w c"], k: int, block: _Block) -> tuple[int, Callable[[Array], Array]]:
    """The number of blocks, and what gives the i-th: (videos * frames, rows + 2, w + 2 or 3, k * c).

    Its channels hold the k frames around each; it reaches one pixel farther to all sides, and to whole tiles.
    """
    b, t, h, w, c = x.shape
    grid = (b // block.videos, t // block.frames, (h + h % 2) // block.rows)
    around_rows, no_rows = (1, 1 + h % 2), (0, 0)
    are_cut = grid[2] > 1
    x = jnp.pad(x, ((0, 0), (k // 2, k // 2), around_rows if are_cut else no_rows, (0, 0), (0, 0)))

    def window(i: Array) -> Float[Array, "m rows columns kc"]:
        starts = [number * size for number, size in zip(jnp.unravel_index(i, grid), block, strict=True)]
        sizes = (block.videos, block.frames + k - 1, block.rows + 2 if are_cut else h, w, c)
        frames = jax.lax.dynamic_slice(x, (*starts, 0, 0), sizes)
        around = jnp.concatenate([frames[:, j : j + block.frames] for j in range(k)], axis=-1)
        # Columns are padded here so that XLA writes the block once: fused into all that read it, it is no longer read
        # in vectors, which takes up to twice as long.
        rows, columns = no_rows if are_cut else around_rows, (1, 1 + w % 2)
        return jnp.pad(around.reshape(-1, *around.shape[2:]), ((0, 0), rows, columns, (0, 0)))

    return math.prod(grid), window


# --- Along one axis; the module's docstring has the equations ---------------------------------------------------------


def _spread(d: Sequence[Array]) -> list[Array]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _spread_taps(k: Sequence[Array]) -> list[Array]:
    return [k[0], (k[0] + k[1] + k[2]) / 2, (k[0] - k[1] + k[2]) / 2, k[2]]


def _gather_products(m: Sequence[Array]) -> list[Array]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _spread_gradient(dy: Sequence[Array]) -> list[Array]:
    """The transpose of `_gather_products`."""
    return [dy[0], dy[0] + dy[1], dy[0] - dy[1], -dy[1]]


def _gather_taps(du: Sequence[Array]) -> list[Array]:
    """The transpose of `_spread_taps`."""
    return [du[0] + (du[1] + du[2]) / 2, (du[1] - du[2]) / 2, (du[1] + du[2]) / 2 + du[3]]


# --- Along both axes --------------------------------------------------------------------------------------------------


def _over_both_axes(function: Callable[[Sequence[Array]], list[Array]], grid: Grid) -> Grid:
    """Applies a function of one axis to the columns of a grid, and then to the rows of what that gives."""
    columns = [function(column) for column in zip(*grid, strict=True)]
    return [function(row) for row in zip(*columns, strict=True)]


def _each(function: Callable[[Array, Array], Array], first: Grid, second: Grid) -> Grid:
    return [[function(a, b) for a, b in zip(*rows, strict=True)] for rows in zip(first, second, strict=True)]


def _spread_samples(padded: Float[Array, "m rows+2 columns+2 c"]) -> Grid:
    """4x4 arrays (m, tile rows, tile columns, c)."""

    def samples(array: Array, axis: int) -> list[Array]:
        last = array.shape[axis] - 3
        return [jax.lax.slice_in_dim(array, i, i + last, stride=2, axis=axis) for i in range(4)]

    return [_spread(samples(rows, 2)) for rows in _spread(samples(padded, 1))]


def _split(y: Float[Array, "m rows columns d"]) -> Grid:
    """The 2x2 results of every tile, as arrays (m, tile rows, tile columns, d)."""
    return [[y[:, i::2, j::2] for j in range(2)] for i in range(2)]


def _join(tiles: Grid) -> Float[Array, "m rows columns d"]:
    """The inverse of `_split`."""
    rows = jnp.stack([jnp.stack(row, axis=3) for row in tiles], axis=2)
    m, tile_rows, _, tile_columns, _, d = rows.shape
    return rows.reshape(m, 2 * tile_rows, 2 * tile_columns, d)


def _multiply_tiles(v: Float[Array, "b i j c"], d_product: Float[Array, "b i j d"]) -> Float[Array, "c d"]:
    flat = (array.reshape(-1, array.shape[-1]) for array in (v, d_product))
    return jax.lax.dot_general(*flat, (((0,), (0,)), ((), ())))
