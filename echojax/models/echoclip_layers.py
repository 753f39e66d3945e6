"""Layers that both towers of EchoCLIP share, with PyTorch's arithmetic, channels last."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from echojax.ops.precision import at_least_float32


def normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> nnx.Param:
    """A float32 parameter drawn from N(0, std²)."""
    return nnx.Param(jnp.asarray(rng.standard_normal(shape, np.float32) * np.float32(std)))


class LayerNorm(nnx.Module):
    """(x - mean) / sqrt(var + epsilon) * scale + bias over the channels, computed in float32 or wider."""

    def __init__(self, num_features: int, epsilon: float):
        self.epsilon = epsilon
        self.scale, self.bias = nnx.Param(jnp.ones(num_features)), nnx.Param(jnp.zeros(num_features))

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        wide = at_least_float32(x)
        deviation = wide - jnp.mean(wide, axis=-1, keepdims=True)
        var = jnp.mean(jnp.square(deviation), axis=-1, keepdims=True)
        normal_ = deviation * jax.lax.rsqrt(var + self.epsilon)
        return (normal_ * self.scale[...] + self.bias[...]).astype(x.dtype)


class Dense(nnx.Module):
    """y = x @ kernel + bias in `dtype`; kernel `(in, out)` from N(0, std²), bias zero or none."""

    def __init__(
        self, num_in: int, num_out: int, *, std: float, bias: bool = True, dtype: DTypeLike, rng: np.random.Generator
    ):
        self.dtype = dtype
        self.kernel = normal(rng, (num_in, num_out), std)
        self.bias = nnx.Param(jnp.zeros(num_out)) if bias else None

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        y = x.astype(self.dtype) @ self.kernel[...].astype(self.dtype)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x Φ(x), Φ being the normal distribution function itself and not its tanh approximation."""
    return jax.nn.gelu(x, approximate=False)
