"""Layers with PyTorch's arithmetic and initial values, channels last.

Modules hold parameters (float32, `nnx.Param`) and running statistics (`nnx.BatchStat`) and nothing else: `train`, the
groups of batch norm and the key of dropout are arguments of the call. Initial values are drawn by a NumPy generator,
because `jax.random` outside of jit compiles once per shape: half a minute for a network on a CPU.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from echojax import ops
from echojax.errors import UserError
from echojax.ops.precision import at_least_float32

Groups = tuple[int, ...]


def uniform(rng: np.random.Generator, shape: Sequence[int], bound: float) -> np.ndarray:
    """float32 values drawn from U(-bound, bound)."""
    return (rng.random(shape, np.float32) * 2 - 1) * np.float32(bound)


class Conv(nnx.Module):
    """Convolution over two or three spatial axes: kernel `(*taps, in, out)`, the same padding on both sides of an axis.

    PyTorch's default initial values: kernel and bias from U(-1/sqrt(n), 1/sqrt(n)), n = in * number of taps. Computes
    in `dtype`.
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        taps: Sequence[int],
        stride: Sequence[int] | int = 1,
        padding: Sequence[int] | int = 0,
        dilation: Sequence[int] | int = 1,
        *,
        bias: bool = False,
        dtype: DTypeLike = jnp.float32,
        rng: np.random.Generator,
    ):
        self.stride, self.padding, self.dilation = (
            (value,) * len(taps) if isinstance(value, int) else tuple(value) for value in (stride, padding, dilation)
        )
        self.dtype = dtype
        bound = 1 / math.sqrt(num_in * math.prod(taps))
        self.kernel = nnx.Param(jnp.asarray(uniform(rng, (*taps, num_in, num_out), bound)))
        self.bias = nnx.Param(jnp.asarray(uniform(rng, (num_out,), bound))) if bias else None

    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *out d"]:
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        y = ops.conv(x, kernel, self.stride, self.padding, self.dilation)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


class BatchNorm(nnx.Module):
    """Batch normalisation as PyTorch does it: epsilon 1e-5, running <- 0.9 running + 0.1 batch, with unbiased variance.

    In train mode each of `groups` (sizes of consecutive examples, default the whole batch) is normalised by its own
    statistics, and the running statistics take in one group after the other: one pass over the groups side by side
    equals successive passes. Under jit over a mesh the statistics are those of the global batch.
    """

    epsilon, decay = 1e-5, 0.9

    def __init__(self, num_features: int):
        self.scale, self.bias = nnx.Param(jnp.ones(num_features)), nnx.Param(jnp.zeros(num_features))
        self.mean, self.var = nnx.BatchStat(jnp.zeros(num_features)), nnx.BatchStat(jnp.ones(num_features))

    def __call__(self, x: Float[Array, "b *space c"], *, train: bool, groups: Groups | None = None) -> Array:
        if not train:
            factor = self.scale[...] * jax.lax.rsqrt(self.var[...] + self.epsilon)
            return ((x - self.mean[...]) * factor + self.bias[...]).astype(x.dtype)
        groups = groups or (x.shape[0],)
        counts = np.asarray(groups) * math.prod(x.shape[1:-1])
        if sum(groups) != x.shape[0]:
            raise ValueError(f"groups {groups} do not add up to the batch of {x.shape[0]}")
        if min(counts) < 2:
            raise UserError(
                f"batch norm in train mode met a group with one value per channel (groups of {groups} examples, "
                f"feature maps {x.shape[1:-1]}); use a batch size of at least 2"
            )
        y, mean, var = ops.batch_norm(x, self.scale[...], self.bias[...], groups, self.epsilon)
        unbiased = var * (counts / (counts - 1)).astype(var.dtype)[:, None]
        # Not `self.mean[...] = `, which would write into the caller's array where that is NumPy's.
        self.mean.set_value(self._record(self.mean[...], mean))
        self.var.set_value(self._record(self.var[...], unbiased))
        return y

    def _record(self, running: Float[Array, "c"], batch: Float[Array, "g c"]) -> Float[Array, "c"]:
        """`running <- decay running + (1 - decay) value` for one group after the other, written out as one sum."""
        num_groups = len(batch)
        weights = (1 - self.decay) * self.decay ** np.arange(num_groups - 1, -1, -1, dtype=batch.dtype)
        return self.decay**num_groups * running + jnp.sum(weights[:, None] * batch, axis=0)


class ConvNorm(nnx.Module):
    """A convolution without bias and its batch norm."""

    def __init__(self, *args, rng: np.random.Generator, **kwargs):
        self.conv = Conv(*args, rng=rng, **kwargs)
        self.bn = BatchNorm(self.conv.kernel.shape[-1])

    def __call__(self, x: Float[Array, "b *space c"], *, train: bool, groups: Groups | None = None) -> Array:
        return self.bn(self.conv(x), train=train, groups=groups)


class Linear(nnx.Module):
    """y = x @ kernel + bias in float32 or wider; both drawn from U(-1/sqrt(in), 1/sqrt(in)), or the bias as given."""

    def __init__(self, num_in: int, num_out: int, *, bias: float | None = None, rng: np.random.Generator):
        bound = 1 / math.sqrt(num_in)
        self.kernel = nnx.Param(jnp.asarray(uniform(rng, (num_in, num_out), bound)))
        initial = uniform(rng, (num_out,), bound) if bias is None else np.full(num_out, bias, np.float32)
        self.bias = nnx.Param(jnp.asarray(initial))

    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b d"]:
        return at_least_float32(x) @ self.kernel[...] + self.bias[...]


def dropout(x: Array, rate: float, *, train: bool, key: Array | None) -> Array:
    """In train mode zeroes each value with probability `rate` and divides the others by `1 - rate`."""
    if not train or rate == 0:
        return x
    if key is None:
        raise ValueError("dropout in train mode needs a key")
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)
