"""EchoCLIP (Christensen et al., Nature Medicine 2024): images and texts of echocardiography in one space.

    model = EchoClip(rng=np.random.default_rng(0))
    model(images, train=False)["image_embedding"]    # normalised float32 (b, 224, 224, 3) -> float32 (b, 512)
    model.encode_text(tokens)                        # int32 (n, up to 77) -> float32 (n, 512)

How well an image and a text agree is the cosine of their embeddings (`echojax.echoclip`).
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from echojax.models.echoclip_image import ConvNeXt
from echojax.models.echoclip_text import TextTransformer
from echojax.models.layers import Groups
from echojax.ops.precision import at_least_float32


class EchoClip(nnx.Module):
    """ConvNeXt image tower and Transformer text tower; with the default arguments EchoCLIP's 151,518,849 parameters.

    `width` and `blocks` are the image tower's, `text_*` the text tower's. `logit_scale` belongs to the loss that
    EchoCLIP was trained with; nothing here reads it, checkpoints hold it.
    """

    def __init__(
        self,
        width: int = 128,
        blocks: Sequence[int] = (3, 3, 27, 3),
        embedding: int = 512,
        text_width: int = 512,
        text_depth: int = 12,
        vocabulary: int = 49408,
        context_length: int = 77,
        *,
        dtype: DTypeLike = jnp.float32,
        rng: np.random.Generator,
    ):
        self.image = ConvNeXt(width, blocks, embedding, dtype=dtype, rng=rng)
        self.text = TextTransformer(text_width, text_depth, vocabulary, context_length, embedding, dtype=dtype, rng=rng)
        self.logit_scale = nnx.Param(jnp.asarray(math.log(1 / 0.07), jnp.float32))

    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, groups: Groups | None = None, key: Array | None = None
    ) -> dict[str, Array]:
        """Returns `image_embedding` (b, embedding), not normalised, in float32 or wider.

        The network is used, not trained: `train`, `groups` and `key` are there because every network takes them.
        """
        return {"image_embedding": at_least_float32(self.image(x))}

    def encode_text(self, tokens: Int[Array, "n l"]) -> Float[Array, "n d"]:
        """Embeddings of tokenised texts, not normalised, in float32 or wider."""
        return at_least_float32(self.text(tokens))
