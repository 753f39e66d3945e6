"""EchoCLIP's image tower: ConvNeXt (Liu et al., CVPR 2022) as timm builds it, with a linear projection.

tower = ConvNeXt(rng=np.random.default_rng(0))
tower(images)          # normalised float32 (b, 224, 224, 3) -> (b, 512)
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from echojax import ops
from echojax.models.echoclip_layers import Dense, LayerNorm, gelu, normal
from echojax.models.layers import Conv

EPSILON = 1e-6
INITIAL_STD = 0.02
# Layer scale of untrained blocks: each starts out close to the identity.
INITIAL_GAMMA = 1e-6
KERNEL_SIZE = 7
EXPANSION = 4


class DepthwiseConv(nnx.Module):
    """7x7 convolution of every channel by itself, zero-padded to the same size."""

    def __init__(self, num_features: int, *, dtype: DTypeLike, rng: np.random.Generator):
        self.dtype = dtype
        self.kernel = normal(rng, (KERNEL_SIZE, KERNEL_SIZE, 1, num_features), INITIAL_STD)
        self.bias = nnx.Param(jnp.zeros(num_features))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = ops.depthwise_conv(x.astype(self.dtype), self.kernel[...].astype(self.dtype))
        return y + self.bias[...].astype(self.dtype)


class ConvNextBlock(nnx.Module):
    """x + gamma * fc2(gelu(fc1(norm(conv(x))))); the linear layers widen the channels fourfold in between."""

    def __init__(self, num_features: int, *, dtype: DTypeLike, rng: np.random.Generator):
        options = dict(std=INITIAL_STD, dtype=dtype, rng=rng)
        self.conv = DepthwiseConv(num_features, dtype=dtype, rng=rng)
        self.norm = LayerNorm(num_features, EPSILON)
        self.fc1 = Dense(num_features, EXPANSION * num_features, **options)
        self.fc2 = Dense(EXPANSION * num_features, num_features, **options)
        self.gamma = nnx.Param(jnp.full(num_features, INITIAL_GAMMA))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = self.fc2(gelu(self.fc1(self.norm(self.conv(x)))))
        return x + y * self.gamma[...].astype(y.dtype)


class ConvNextStage(nnx.Module):
    """Blocks of one width; before them, except in the first stage, a norm and a 2x2 convolution of stride 2."""

    def __init__(self, num_in: int, num_out: int, depth: int, *, dtype: DTypeLike, rng: np.random.Generator):
        halves = num_in != num_out
        self.norm = LayerNorm(num_in, EPSILON) if halves else None
        self.conv = Conv(num_in, num_out, (2, 2), 2, bias=True, dtype=dtype, rng=rng) if halves else None
        self.blocks = nnx.List([ConvNextBlock(num_out, dtype=dtype, rng=rng) for _ in range(depth)])

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        if self.conv is not None:
            x = self.conv(self.norm(x))
        for block in self.blocks:
            x = block(x)
        return x


class ConvNeXt(nnx.Module):
    """Images `(b, h, w, 3)`, sides multiples of 32 -> embeddings `(b, embedding)`, not normalised.

    `blocks` of `width` 1, 2, 4 and 8 times; (3, 3, 27, 3) at width 128 is ConvNeXt-Base. Maps are averaged before the
    last norm.
    """

    def __init__(
        self,
        width: int = 128,
        blocks: Sequence[int] = (3, 3, 27, 3),
        embedding: int = 512,
        *,
        dtype: DTypeLike = jnp.float32,
        rng: np.random.Generator,
    ):
        self.conv = Conv(3, width, (4, 4), 4, bias=True, dtype=dtype, rng=rng)
        self.norm = LayerNorm(width, EPSILON)
        widths = [width * 2**stage for stage in range(len(blocks))]
        self.stages = nnx.List(
            [
                ConvNextStage(num_in, num_out, depth, dtype=dtype, rng=rng)
                for num_in, num_out, depth in zip([width, *widths], widths, blocks, strict=False)
            ]
        )
        self.head_norm = LayerNorm(widths[-1], EPSILON)
        self.projection = Dense(widths[-1], embedding, std=INITIAL_STD, bias=False, dtype=dtype, rng=rng)

    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        x = self.norm(self.conv(images))
        for stage in self.stages:
            x = stage(x)
        return self.projection(self.head_norm(jnp.mean(x, axis=(1, 2))))
