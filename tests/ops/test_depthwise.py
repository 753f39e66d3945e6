"""The sum of shifted images equals XLA's grouped convolution in value and in both gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from echojax import ops


def grouped(x, kernel):
    radius = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        ((radius, radius), (radius, radius)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(convolve, x, kernel, cotangent):
    value, pullback = jax.vjp(convolve, x, kernel)
    return value, *pullback(cotangent)


@pytest.mark.parametrize(("height", "width", "size"), [(9, 8, 7), (3, 5, 7), (6, 7, 3), (4, 4, 1)])
def test_value_and_gradients(height, width, size):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, height, width, 6), np.float32))
    kernel = jnp.asarray(rng.standard_normal((size, size, 1, 6), np.float32))
    cotangent = jnp.asarray(rng.standard_normal(x.shape, np.float32))
    results = value_and_gradients(ops.depthwise_conv, x, kernel, cotangent)
    expected = value_and_gradients(grouped, x, kernel, cotangent)
    for result, wanted in zip(results, expected, strict=True):
        assert result.shape == wanted.shape
        np.testing.assert_allclose(result, wanted, rtol=0, atol=5e-6 * np.abs(wanted).max())
