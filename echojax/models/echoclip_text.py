"""EchoCLIP's text tower: the causal Transformer of CLIP (Radford et al., ICML 2021), with exact GELU.

tower = TextTransformer(rng=np.random.default_rng(0))
tower(tokens)          # int32 (n, up to 77), from `echojax.echoclip.tokenize` -> (n, 512)
"""

import einops
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from echojax.models.echoclip_layers import Dense, LayerNorm, gelu, normal
from echojax.ops.precision import at_least_float32

EPSILON = 1e-5
HEAD_WIDTH = 64
EXPANSION = 4


class CausalAttention(nnx.Module):
    """softmax(q k^T / sqrt(head width)) v over each position and those before it, in heads of 64 channels.

    `qkv` gives queries, keys and values side by side, as PyTorch packs them.
    """

    def __init__(self, width: int, std: float, *, dtype: DTypeLike, rng: np.random.Generator):
        if width % HEAD_WIDTH:
            raise ValueError(f"the text tower's width is {width}, expected a multiple of {HEAD_WIDTH}")
        self.num_heads = width // HEAD_WIDTH
        self.qkv = Dense(width, 3 * width, std=width**-0.5, dtype=dtype, rng=rng)
        self.out = Dense(width, width, std=std, dtype=dtype, rng=rng)

    def __call__(self, x: Float[Array, "n l c"]) -> Float[Array, "n l c"]:
        q, k, v = einops.rearrange(self.qkv(x), "n l (three h c) -> three n h l c", three=3, h=self.num_heads)
        weights = at_least_float32(q @ jnp.swapaxes(k, -1, -2)) * q.shape[-1] ** -0.5
        causal = np.tri(x.shape[-2], dtype=bool)
        weights = jax.nn.softmax(jnp.where(causal, weights, -jnp.inf), axis=-1).astype(v.dtype)
        return self.out(einops.rearrange(weights @ v, "n h l c -> n l (h c)"))


class TransformerBlock(nnx.Module):
    """x + attention(norm1(x)), then x + fc2(gelu(fc1(norm2(x))))."""

    def __init__(self, width: int, depth: int, *, dtype: DTypeLike, rng: np.random.Generator):
        residual_std = width**-0.5 * (2 * depth) ** -0.5
        self.norm1 = LayerNorm(width, EPSILON)
        self.attention = CausalAttention(width, residual_std, dtype=dtype, rng=rng)
        self.norm2 = LayerNorm(width, EPSILON)
        self.fc1 = Dense(width, EXPANSION * width, std=(2 * width) ** -0.5, dtype=dtype, rng=rng)
        self.fc2 = Dense(EXPANSION * width, width, std=residual_std, dtype=dtype, rng=rng)

    def __call__(self, x: Float[Array, "n l c"]) -> Float[Array, "n l c"]:
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(gelu(self.fc1(self.norm2(x))))


class TextTransformer(nnx.Module):
    """Token ids `(n, l)` -> embeddings `(n, embedding)`, not normalised: the feature at the end-of-text token.

    That token has the largest id. Attention is causal, so what comes after it changes nothing: l may be anything from
    the longest text to `context_length`.
    """

    def __init__(
        self,
        width: int = 512,
        depth: int = 12,
        vocabulary: int = 49408,
        context_length: int = 77,
        embedding: int = 512,
        *,
        dtype: DTypeLike = jnp.float32,
        rng: np.random.Generator,
    ):
        self.dtype = dtype
        self.token_embedding = normal(rng, (vocabulary, width), 0.02)
        self.positional_embedding = normal(rng, (context_length, width), 0.01)
        self.blocks = nnx.List([TransformerBlock(width, depth, dtype=dtype, rng=rng) for _ in range(depth)])
        self.norm = LayerNorm(width, EPSILON)
        self.projection = normal(rng, (width, embedding), width**-0.5)

    def __call__(self, tokens: Int[Array, "n l"]) -> Float[Array, "n d"]:
        positions = self.positional_embedding[: tokens.shape[-1]]
        x = (self.token_embedding[tokens] + positions).astype(self.dtype)
        for block in self.blocks:
            x = block(x)
        end_of_text = jnp.argmax(tokens, axis=-1)
        features = self.norm(x)[jnp.arange(len(tokens)), end_of_text]
        return features @ self.projection[...].astype(self.dtype)
