"""The precision of sums and statistics."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """float16 and bfloat16 as float32; float32 and float64 as they are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
