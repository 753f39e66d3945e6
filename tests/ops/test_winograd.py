"""Winograd's algorithm equals the plain convolution, whole and in blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from echojax.ops import winograd
from echojax.ops.convolution import plain_conv

SHAPES = {
    "even": ((2, 6, 8, 3), (3, 3, 3, 5)),
    "odd": ((3, 7, 5, 4), (3, 3, 4, 2)),
    "one row": ((1, 1, 9, 2), (3, 3, 2, 3)),
    "one pixel": ((2, 1, 1, 3), (3, 3, 3, 3)),
    "many channels": ((1, 10, 10, 64), (3, 3, 64, 48)),
    "video": ((2, 5, 6, 8, 3), (3, 3, 3, 3, 5)),
    "video, odd": ((1, 4, 7, 5, 4), (3, 3, 3, 4, 2)),
    "one frame": ((2, 1, 6, 8, 3), (3, 3, 3, 3, 2)),
    "two frames": ((1, 2, 4, 4, 2), (3, 3, 3, 2, 3)),
    "five frames at a time": ((2, 6, 4, 4, 2), (5, 3, 3, 2, 3)),
    "frames by themselves": ((2, 3, 4, 5, 2), (1, 3, 3, 2, 3)),
}


def plain(x, kernel):
    taps = kernel.shape[:-2]
    return plain_conv(x, kernel, (1,) * len(taps), [(n // 2, n // 2) for n in taps], (1,) * len(taps))


def ours(x, kernel):
    if x.ndim == 4:
        return winograd.winograd_conv(x[None], kernel[None])[0]
    return winograd.winograd_conv(x, kernel)


def value_and_gradients(convolve, x, kernel, dy):
    value, pullback = jax.vjp(convolve, x, kernel)
    return value, *pullback(dy)


def assert_equal(x_shape, kernel_shape, tolerance, dtype):
    rng = np.random.default_rng(0)
    x, kernel, dy = (
        jnp.asarray(rng.standard_normal(shape), dtype)
        for shape in (x_shape, kernel_shape, (*x_shape[:-1], kernel_shape[-1]))
    )
    both = jax.jit(lambda *args: (value_and_gradients(ours, *args), value_and_gradients(plain, *args)))
    for result, expected in zip(*both(x, kernel, dy), strict=True):
        assert result.shape == expected.shape and result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES.keys())
def test_value_and_gradients(shapes):
    assert_equal(*shapes, tolerance=2e-6, dtype=jnp.float32)


@pytest.mark.parametrize("name", ["odd", "video, odd"])
def test_it_is_exact_but_for_rounding(name):
    with jax.enable_x64(True):
        assert_equal(*SHAPES[name], tolerance=1e-14, dtype=jnp.float64)


# By the tiles of 7x5 pixels with 4 channels, 3 frames at a time, and 2 results that a block may hold: what it is of
# videos of 3 frames.
BLOCKS = {
    1: (1, 1, 2),
    4 * 3: (1, 1, 8),
    2 * 4 * 3: (1, 1, 8),
    3 * 4 * 3: (1, 3, 8),
    11 * 4 * 3: (2, 3, 8),
    12 * 4 * 3: (4, 3, 8),
    100 * 4 * 3: (4, 3, 8),
}


@pytest.mark.parametrize("num_tiles, block", BLOCKS.items())
def test_blocks_change_nothing(num_tiles, block, monkeypatch):
    """They are whole videos, frames or rows, as many as fit and all alike, and never none."""
    x, kernel = (4, 3, 7, 5, 4), (3, 3, 3, 4, 2)
    num_numbers = num_tiles * 16 * (3 * 4 + 2)
    monkeypatch.setattr(winograd, "_BLOCK_BYTES", num_numbers * 4)
    monkeypatch.setattr(winograd, "_BLOCK_BYTES_OF_GRADIENT", num_numbers * 4)
    monkeypatch.setattr(winograd, "_TAPS_WORTH", 0)
    assert winograd._block(x, 3 * 4, 2, num_numbers) == block
    assert_equal(x, kernel, tolerance=2e-6, dtype=jnp.float32)


def test_blocks_are_worth_the_taps_that_they_read():
    assert winograd._block((1, 6, 7, 7, 512), 512, 512, 1) == (1, 6, 8)
    assert winograd._block((1, 6, 56, 56, 64), 64, 64, 1) == (1, 1, 4)


@pytest.mark.parametrize("name", ["many channels", "video"])
def test_what_the_gradient_keeps_is_the_input(name):
    """The spread samples and frames side by side, both larger, are not kept from the forward for the backward pass."""
    x, kernel = map(jnp.ones, SHAPES[name])
    _, pullback = jax.eval_shape(lambda x, k: jax.vjp(ours, x, k), x, kernel)
    kept = sum(leaf.size for leaf in jax.tree.leaves(pullback))
    assert kept <= x.size + kernel.size
