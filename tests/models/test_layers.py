"""Layers against PyTorch's arithmetic, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from echojax.errors import UserError
from echojax.models import functional
from echojax.models.layers import BatchNorm, Conv, Linear, dropout

RNG = np.random.default_rng


def trained_norm(features: int) -> tuple[functional.Definition, dict, dict]:
    """A batch norm with uneven parameters and running statistics."""
    definition, params, stats = functional.split(BatchNorm(features))
    rng = RNG(3)
    drawn = [
        {name: rng.uniform(0.5, 1.5, a.shape).astype(np.float32) for name, a in part.items()}
        for part in (params, stats)
    ]
    return definition, *drawn


def run_norm(definition, params, stats, x, groups=None, train=True):
    model = functional.merge(definition, params, stats)
    y = model(x, train=train, groups=groups)
    return y, functional.split(model)[2]


def test_invariant_12_running_statistics_after_one_forward():
    definition, params, stats = trained_norm(3)
    x = RNG(0).normal(2, 3, (4, 5, 6, 3)).astype(np.float32)
    y, new = run_norm(definition, params, stats, x)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"], atol=2e-6)
    np.testing.assert_allclose(new["mean"], 0.9 * stats["mean"] + 0.1 * mean, rtol=1e-6)
    np.testing.assert_allclose(new["var"], 0.9 * stats["var"] + 0.1 * x.var((0, 1, 2), ddof=1), rtol=1e-6)


@pytest.mark.parametrize(("groups", "shape"), [((10, 20), (4, 3, 5)), ((2, 2, 4), (3, 4)), ((3, 2), ())])
def test_invariant_12_groups_compose_in_order(groups, shape):
    """One grouped pass equals successive passes: outputs, running statistics and all gradients."""
    definition, params, stats = trained_norm(4)
    sizes = (sum(groups), *shape, 4) if shape else (sum(groups), 1, 1, 4)
    x, weight = RNG(0).normal(1, 2, sizes).astype(np.float32), RNG(1).normal(0, 1, sizes).astype(np.float32)
    x += np.repeat(np.arange(len(groups)), groups).reshape(-1, *(1,) * (x.ndim - 1))

    def at_once(params, x):
        y, new = run_norm(definition, params, stats, x, groups)
        return jnp.sum(jnp.sin(y) * weight), (y, new)

    def one_by_one(params, x):
        ys, new = [], stats
        for part in jnp.split(x, np.cumsum(groups)[:-1]):
            y, new = run_norm(definition, params, new, part)
            ys.append(y)
        y = jnp.concatenate(ys)
        return jnp.sum(jnp.sin(y) * weight), (y, new)

    results = [jax.jit(jax.grad(f, argnums=(0, 1), has_aux=True))(params, x) for f in (at_once, one_by_one)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), *results)


def test_batch_norm_gradient_equals_autodiff():
    x, weight = (jnp.asarray(RNG(i).normal(1, 2, (3, 4, 5, 2)), jnp.float32) for i in (0, 1))
    definition, params, stats = trained_norm(2)

    def plain(params, x):
        mean = jnp.mean(x, (0, 1, 2))
        var = jnp.mean((x - mean) ** 2, (0, 1, 2))
        return jnp.sum(weight * jnp.sin((x - mean) / jnp.sqrt(var + 1e-5) * params["scale"] + params["bias"]))

    def ours(params, x):
        return jnp.sum(weight * jnp.sin(run_norm(definition, params, stats, x)[0]))

    results = [jax.grad(f, argnums=(0, 1))(params, x) for f in (ours, plain)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), *results)


def test_batch_norm_keeps_statistics_in_float32():
    definition, params, stats = trained_norm(2)
    x = jnp.asarray(RNG(0).normal(100, 1, (8, 16, 16, 2)), jnp.bfloat16)
    y, new = run_norm(definition, params, stats, x)
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(new["var"], 0.9 * stats["var"] + 0.1 * exact.var((0, 1, 2), ddof=1), rtol=1e-4)


def test_batch_norm_in_eval_mode_uses_and_keeps_running_statistics():
    definition, params, stats = trained_norm(3)
    x = RNG(0).normal(0, 1, (2, 4, 4, 3)).astype(np.float32)
    y, new = run_norm(definition, params, stats, x, train=False)
    expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, expected, atol=2e-6)
    assert all(np.array_equal(new[name], stats[name]) for name in stats)


def test_batch_norm_refuses_one_value_per_channel():
    definition, params, stats = trained_norm(3)
    with pytest.raises(UserError, match="batch size of at least 2"):
        run_norm(definition, params, stats, jnp.ones((3, 1, 1, 3)), groups=(2, 1))
    with pytest.raises(ValueError, match="do not add up"):
        run_norm(definition, params, stats, jnp.ones((3, 4, 4, 3)), groups=(2, 2))


def test_initial_values_are_pytorchs():
    conv = Conv(16, 32, (3, 3), bias=True, rng=RNG(0))
    bound = 1 / np.sqrt(16 * 9)
    for values in (conv.kernel[...], conv.bias[...]):
        assert bound * 0.8 < np.abs(values).max() <= bound
        assert abs(float(np.mean(values))) < 0.2 * bound
    assert np.std(conv.kernel[...]) == pytest.approx(bound / np.sqrt(3), rel=0.02)
    fc = Linear(512, 1, bias=55.6, rng=RNG(0))
    assert np.abs(fc.kernel[...]).max() <= 1 / np.sqrt(512)
    assert fc.bias[...].tolist() == [np.float32(55.6)]


def test_initial_values_depend_on_the_seed_alone():
    kernels = [np.asarray(Conv(3, 4, (3, 3), rng=RNG(seed)).kernel[...]) for seed in (5, 5, 6)]
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_conv_computes_in_bfloat16_and_keeps_float32_parameters():
    conv = Conv(3, 4, (3, 3), padding=1, dtype=jnp.bfloat16, rng=RNG(0))
    assert conv(jnp.ones((1, 4, 4, 3))).dtype == jnp.bfloat16
    assert conv.kernel[...].dtype == jnp.float32


def test_dropout_keeps_the_mean_and_needs_a_key():
    x = jnp.ones((100, 100))
    y = dropout(x, 0.5, train=True, key=jax.random.key(0))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert float(y.mean()) == pytest.approx(1, abs=0.05)
    assert dropout(x, 0.5, train=False, key=None) is x
    with pytest.raises(ValueError, match="needs a key"):
        dropout(x, 0.5, train=True, key=None)


def test_modules_hold_no_random_state():
    _, rest = nnx.split(Conv(3, 4, (3, 3), rng=RNG(0)), nnx.Param, ...)[1:]
    assert not jax.tree.leaves(rest)
