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

A kernel that also spans k frames of a video is a 3x3 kernel for each of k places in time. Every frame is spread once
and multiplied by all of them, side by side as output channels: its shares in the results of the k frames around it.

The saving is lost where the 16 arrays travel through memory. A few images at a time therefore go through a loop, so
few that their arrays stay in the processor's cache.

In float32 results differ from the plain convolution's by the rounding of a few more sums: about 1e-6 of the largest.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Arrays by row and column: of samples, taps, products or results.
Grid = Sequence[Sequence[Array]]

_BLOCK_BYTES = 16e6  # of spread samples and products, on which an iteration of the loop works


@jax.custom_vjp
def winograd_conv(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b h w d"]:
    """Cross-correlates images with a 3x3 kernel at stride 1; outside of the image x is zero. For `jax.grad` only."""
    return _convolve(x, kernel)


def _backward(operands, dy):
    x, kernel = operands
    return _convolve(dy, kernel[::-1, ::-1], of_taps=1), _kernel_gradient(x, dy)


winograd_conv.defvjp(lambda x, kernel: (winograd_conv(x, kernel), (x, kernel)), _backward)


@jax.custom_vjp
def winograd_conv_over_frames(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "k 3 3 c d"]
) -> Float[Array, "b t h w d"]:
    """The same for videos and a kernel that spans k (odd) of their frames; beyond the first and the last x is zero."""
    return _sum_shares(_convolve(_as_images(x), _side_by_side(kernel, axis=3)), x.shape[:2], len(kernel))


def _backward_over_frames(operands, dy):
    x, kernel = operands
    k = len(kernel)
    shares = _convolve(_as_images(dy), _side_by_side(kernel[::-1, ::-1, ::-1], axis=2), of_taps=1)
    # The transpose of `_sum_shares`.
    d_shares = jnp.concatenate([_shift(dy, k // 2 - i) for i in range(k)], axis=-1)
    d_kernel = _kernel_gradient(_as_images(x), _as_images(d_shares))
    return _sum_shares(shares, x.shape[:2], k), jnp.stack(jnp.split(d_kernel, k, axis=-1))


winograd_conv_over_frames.defvjp(
    lambda x, kernel: (winograd_conv_over_frames(x, kernel), (x, kernel)), _backward_over_frames
)


def _as_images(videos: Float[Array, "b t h w e"]) -> Float[Array, "n h w e"]:
    return videos.reshape(-1, *videos.shape[2:])


def _side_by_side(kernels: Sequence[Array], axis: int) -> Float[Array, "3 3 c d"]:
    """The kernels of all places in time, each (3, 3, ., .), along one of their axes of channels."""
    return jnp.concatenate(list(kernels), axis=axis)


def _sum_shares(shares: Float[Array, "n h w kd"], of_videos: tuple[int, int], k: int) -> Float[Array, "b t h w d"]:
    """Adds up what every frame receives from the k around it; `of_videos` is (b, t)."""
    given = shares.reshape(*of_videos, *shares.shape[1:3], k, -1)
    return sum(_shift(given[..., i, :], i - k // 2) for i in range(k))


def _shift(videos: Float[Array, "b t h w d"], by: int) -> Float[Array, "b t h w d"]:
    """The frame `by` places later at every place, and zeros where there is none."""
    return jax.lax.pad(videos, jnp.zeros((), videos.dtype), [(0, 0, 0), (-by, by, 0), *[(0, 0, 0)] * 3])


# --- Block by block ---------------------------------------------------------------------------------------------------


def _convolve(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"], of_taps: int = 0) -> Float[Array, "b h w d"]:
    """The convolution; with `of_taps` 1 the kernel is (3, 3, d, c): it is its axis 1 of channels that is summed over.

    It is left to the products to transpose taps: to write them so would read the kernel column by column.
    """
    taps = _over_both_axes(_spread_taps, kernel)
    multiply = functools.partial(jax.lax.dot_general, dimension_numbers=(((3,), (of_taps,)), ((), ())))

    def of_block(x: Float[Array, "m h w c"]) -> Float[Array, "m h w d"]:
        products = _each(multiply, _spread_samples(x), taps)
        return _join(_over_both_axes(_gather_products, products), x.shape[:3])

    size = _block_size(x, kernel.shape)
    return jax.lax.map(of_block, _in_blocks(x, size)).reshape(*x.shape[:3], -1)


def _kernel_gradient(x: Float[Array, "b h w c"], dy: Float[Array, "b h w d"]) -> Float[Array, "3 3 c d"]:
    """The gradient with respect to the kernel of the convolution that x went through."""
    shape = (3, 3, x.shape[-1], dy.shape[-1])

    def of_block(d_taps: Grid, block: tuple[Array, Array]) -> tuple[Grid, None]:
        x, dy = block
        d_products = _over_both_axes(_spread_gradient, _split(dy))
        return _each(jnp.add, d_taps, _each(_multiply_tiles, _spread_samples(x), d_products)), None

    zeros = [[jnp.zeros(shape[2:], x.dtype)] * 4] * 4
    size = _block_size(x, shape)
    d_taps, _ = jax.lax.scan(of_block, zeros, (_in_blocks(x, size), _in_blocks(dy, size)))
    return jnp.stack([jnp.stack(row) for row in _over_both_axes(_gather_taps, d_taps)])


def _block_size(x: Float[Array, "b h w c"], kernel_shape: Sequence[int]) -> int:
    """How many images at a time: as many as keep to `_BLOCK_BYTES`, or to twice the spread taps', and divide all."""
    b, h, w, _ = x.shape
    num_in, num_out = kernel_shape[2:]
    of_component = math.ceil(h / 2) * math.ceil(w / 2) * (num_in + num_out)
    # Every iteration reads all taps: large kernels want larger blocks.
    most = max(_BLOCK_BYTES / (16 * x.dtype.itemsize), 2 * num_in * num_out) // of_component
    return max(size for size in range(1, b + 1) if b % size == 0 and size <= max(most, 1))


def _in_blocks(images: Float[Array, "b h w e"], size: int) -> Float[Array, "n m h w e"]:
    return images.reshape(-1, size, *images.shape[1:])


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


def _spread_samples(x: Float[Array, "b h w c"]) -> Grid:
    """4x4 arrays (b, tile rows, tile columns, c)."""
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1 + h % 2), (1, 1 + w % 2), (0, 0)))

    def samples(array: Array, axis: int) -> list[Array]:
        last = array.shape[axis] - 3
        return [jax.lax.slice_in_dim(array, i, i + last, stride=2, axis=axis) for i in range(4)]

    return [_spread(samples(rows, 2)) for rows in _spread(samples(padded, 1))]


def _split(y: Float[Array, "b h w d"]) -> Grid:
    """The 2x2 results of every tile, as arrays (b, tile rows, tile columns, d)."""
    _, h, w, _ = y.shape
    padded = jnp.pad(y, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    return [[padded[:, i::2, j::2] for j in range(2)] for i in range(2)]


def _join(tiles: Grid, shape: Sequence[int]) -> Float[Array, "b h w d"]:
    """The inverse of `_split`; `shape` is (b, h, w)."""
    rows = jnp.stack([jnp.stack(row, axis=3) for row in tiles], axis=2)
    b, tile_rows, _, tile_columns, _, d = rows.shape
    return rows.reshape(b, 2 * tile_rows, 2 * tile_columns, d)[:, : shape[1], : shape[2]]


def _multiply_tiles(v: Float[Array, "b i j c"], d_product: Float[Array, "b i j d"]) -> Float[Array, "c d"]:
    flat = (array.reshape(-1, array.shape[-1]) for array in (v, d_product))
    return jax.lax.dot_general(*flat, (((0,), (0,)), ((), ())))
