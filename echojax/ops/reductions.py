"""Sums over space, in the form that XLA runs fastest."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def spatial_sum(x: Float[Array, "b *space c"]) -> Float[Array, "b c"]:
    """Sum over space for every example and channel.

    On a CPU a product with ones: of a sum XLA makes a loop with strided reads there, in which it computes the summands
    anew, from up to three residual blocks before. Other devices keep the plain sum, which needs no array of them.
    """
    if jax.default_backend() == "cpu":
        return _product_with_ones(x)
    return jnp.sum(x, axis=tuple(range(1, x.ndim - 1)))


@jax.custom_vjp
def _product_with_ones(x: jax.Array) -> jax.Array:
    b, *space, c = x.shape
    ones = jnp.ones((b, math.prod(space)), x.dtype)
    return jnp.einsum("bs,bsc->bc", ones, x.reshape(b, -1, c), precision=jax.lax.Precision.HIGHEST)


def _forward(x: jax.Array):
    return _product_with_ones(x), x[..., :0]  # for its shape


def _backward(empty: jax.Array, gradient: jax.Array):
    b, *space, _ = empty.shape
    # A product with the identity: XLA would compute whatever comes before anew at every place of space.
    gradient = jnp.dot(jnp.eye(b, dtype=gradient.dtype), gradient, precision=jax.lax.Precision.HIGHEST)
    return (jnp.broadcast_to(gradient.reshape(b, *[1] * len(space), -1), (b, *space, gradient.shape[-1])),)


_product_with_ones.defvjp(_forward, _backward)
