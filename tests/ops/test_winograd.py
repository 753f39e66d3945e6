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
    convolve = winograd.winograd_conv if x.ndim == 4 else winograd.winograd_conv_over_frames
    return convolve(x, kernel)


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


@pytest.mark.parametrize("num_images", [1, 2, 3])
def test_blocks_change_nothing(num_images, monkeypatch):
    x, kernel = (6, 7, 5, 4), (3, 3, 4, 2)
    num_bytes = num_images * 16 * 4 * 3 * (4 + 2) * 4
    monkeypatch.setattr(winograd, "_BLOCK_BYTES", num_bytes)
    assert winograd._block_size(jnp.ones(x), kernel) == num_images
    assert_equal(x, kernel, tolerance=2e-6, dtype=jnp.float32)


def test_no_block_is_empty_and_all_are_alike(monkeypatch):
    x, kernel = jnp.ones((5, 7, 5, 4)), (3, 3, 4, 2)
    assert winograd._block_size(x, kernel) == 5
    monkeypatch.setattr(winograd, "_BLOCK_BYTES", 4.5 * 16 * 4 * 3 * (4 + 2) * 4)
    assert winograd._block_size(x, kernel) == 1
    monkeypatch.setattr(winograd, "_BLOCK_BYTES", 1)
    assert winograd._block_size(x, kernel) == 1


@pytest.mark.parametrize("name", ["many channels", "video"])
def test_what_the_gradient_keeps_is_the_input(name):
    """The spread samples and frames side by side, both larger, are not kept from the forward for the backward pass."""
    x, kernel = map(jnp.ones, SHAPES[name])
    _, pullback = jax.eval_shape(lambda x, k: jax.vjp(ours, x, k), x, kernel)
    kept = sum(leaf.size for leaf in jax.tree.leaves(pullback))
    assert kept <= x.size + kernel.size
