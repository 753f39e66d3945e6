"""Batch normalisation over groups of consecutive examples, with its gradient written out.

y = (x - mean) / sqrt(var + epsilon) * scale + bias, with mean and biased variance of each channel over the examples
of a group and over space. With groups (20, 20, 40) one pass over 80 images equals three passes over 20, 20 and 40:
that is how the originals compute their ED frames, ES frames and clip.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from echojax.ops.blocks import largest_divisor
from echojax.ops.precision import at_least_float32

Groups = tuple[int, ...]

_MOST_TERMS = 8


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_norm(
    x: Float[Array, "b *space c"],
    scale: Float[Array, "c"],
    bias: Float[Array, "c"],
    groups: Groups,
    epsilon: float = 1e-5,
) -> tuple[Float[Array, "b *space c"], Float[Array, "g c"], Float[Array, "g c"]]:
    """Returns y in the dtype of `x`, and mean and biased variance per group in float32 or wider.

    `groups` are sizes that add up to b. Statistics are taken in float32 or wider and in two passes (the variance from
    deviations). The gradient flows through y only: mean and variance are there to be recorded.
    """
    return _forward(x, scale, bias, groups, epsilon)[0]


def _forward(x, scale, bias, groups, epsilon):
    mean = _group_mean(at_least_float32(x), groups)
    deviation = at_least_float32(x) - _per_example(mean, groups, x.ndim)
    var = _group_mean(jnp.square(deviation), groups)
    factor = jax.lax.rsqrt(var + epsilon)
    y = deviation * _per_example(factor * scale, groups, x.ndim) + bias
    return (y.astype(x.dtype), mean, var), (x, mean, factor, scale)


def _backward(groups, epsilon, residuals, cotangents):
    x, mean, factor, scale = residuals
    dy = at_least_float32(cotangents[0])
    normal = (at_least_float32(x) - _per_example(mean, groups, x.ndim)) * _per_example(factor, groups, x.ndim)
    dy_mean, dy_normal_mean = _group_mean(dy, groups), _group_mean(dy * normal, groups)
    inner = dy - _per_example(dy_mean, groups, x.ndim) - normal * _per_example(dy_normal_mean, groups, x.ndim)
    dx = inner * _per_example(factor * scale, groups, x.ndim)
    counts = np.asarray(groups, dy.dtype)[:, None] * np.prod(x.shape[1:-1], dtype=dy.dtype)
    return dx.astype(x.dtype), jnp.sum(dy_normal_mean * counts, axis=0), jnp.sum(dy_mean * counts, axis=0)


batch_norm.defvjp(_forward, _backward)
batch_norm = jax.jit(batch_norm, static_argnums=(3, 4))


def _group_mean(x: Float[Array, "b *space c"], groups: Groups) -> Float[Array, "g c"]:
    """Mean over space and the examples of each group.

    First over one axis, then as a product with constant weights: XLA would make one loop of both, with strided reads.
    On a CPU the first sums are of a few terms: those of longer ones XLA would write to memory before it adds them up.
    """
    if jax.default_backend() == "cpu":
        few = largest_divisor(x.shape[-2], _MOST_TERMS)
        x = x.reshape(*x.shape[:-2], -1, few, x.shape[-1])
    columns = jnp.sum(x, axis=-2)
    b, *rest, c = columns.shape
    weights = np.repeat(np.eye(len(groups), dtype=x.dtype), groups, axis=1)
    weights /= np.asarray(groups, x.dtype)[:, None] * math.prod(x.shape[1:-1])
    weights = jnp.broadcast_to(weights[:, :, None], (len(groups), b, math.prod(rest))).reshape(len(groups), -1)
    return jnp.matmul(weights, columns.reshape(-1, c), precision=jax.lax.Precision.HIGHEST)


def _per_example(values: Float[Array, "g c"], groups: Groups, ndim: int) -> Float[Array, "b *ones c"]:
    """Each example's group's values, shaped to broadcast over space."""
    if len(groups) > 1:
        values = values[np.repeat(np.arange(len(groups)), groups)]
    return values.reshape(values.shape[0], *(1,) * (ndim - 2), values.shape[-1])
