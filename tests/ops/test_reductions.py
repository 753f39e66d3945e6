"""Sums over space equal plain ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from echojax.ops import spatial_sum


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (2, 3, 5, 4, 6), (1, 1, 1, 2)])
def test_spatial_sum_equals_the_plain_one(shape, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    weights = jnp.arange(1.0, 1 + shape[0] * shape[-1]).reshape(shape[0], shape[-1])

    def plain(x):
        return jnp.sum(x, axis=tuple(range(1, x.ndim - 1)))

    np.testing.assert_allclose(spatial_sum(x), plain(x), rtol=0, atol=1e-5)
    ours, theirs = (jax.grad(lambda x, f=f: jnp.sum(weights * f(x)))(x) for f in (spatial_sum, plain))
    np.testing.assert_array_equal(ours, theirs)


def test_other_devices_keep_the_plain_sum(monkeypatch):
    x = jnp.ones((2, 3, 4, 5))
    assert "dot_general" in str(jax.make_jaxpr(spatial_sum)(x))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    # Another function, since JAX remembers what it has traced.
    assert "dot_general" not in str(jax.make_jaxpr(lambda x: spatial_sum(x))(x))
