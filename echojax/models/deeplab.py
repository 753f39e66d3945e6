"""DeepLabV3 with ResNet-50, the segmentation network of CSS.

It gives one logit per pixel, and the features of its last stage, which the cyclic loss compares:

    model = DeepLabV3(rng=np.random.default_rng(0))
    out = model(images, train=False)          # images: normalised float32 (b, h, w, 3), any h and w
    out["logits"]                             # float32 (b, h, w), positive in the left ventricle
    out["layer4"]                             # float32 (b, ceil(h / 8), ceil(w / 8), 2048), not negative
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from echojax.models.layers import BatchNorm, Conv, ConvNorm, Groups, dropout
from echojax.models.resnet import EXPANSION, DilatedResNet
from echojax.ops import spatial_sum
from echojax.ops.precision import at_least_float32

RATES = (12, 24, 36)


class AtrousPyramid(nnx.Module):
    """ASPP: a 1x1, three dilated 3x3 and an image-wide mean, concatenated and projected.

    Each has batch norm and ReLU; dropout follows the projection.
    """

    def __init__(self, num_in: int, num_out: int, dropout_rate: float, *, dtype: DTypeLike, rng: np.random.Generator):
        self.dropout_rate = dropout_rate
        dilated = [ConvNorm(num_in, num_out, (3, 3), 1, rate, rate, dtype=dtype, rng=rng) for rate in RATES]
        self.branches = nnx.List([ConvNorm(num_in, num_out, (1, 1), dtype=dtype, rng=rng), *dilated])
        self.pooled = ConvNorm(num_in, num_out, (1, 1), dtype=dtype, rng=rng)
        self.project = ConvNorm(num_out * (2 + len(RATES)), num_out, (1, 1), dtype=dtype, rng=rng)

    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, groups: Groups | None, key: Array | None
    ) -> Float[Array, "b h w d"]:
        mode = dict(train=train, groups=groups)
        maps = [jax.nn.relu(branch(x, **mode)) for branch in self.branches]
        mean = spatial_sum(at_least_float32(x))[:, None, None] / (x.shape[1] * x.shape[2])
        pooled = jax.nn.relu(self.pooled(mean, **mode))
        maps.append(jnp.broadcast_to(pooled, maps[0].shape))
        y = jax.nn.relu(self.project(jnp.concatenate(maps, axis=-1), **mode))
        return dropout(y, self.dropout_rate, train=train, key=key)


class Decoder(nnx.Module):
    """Finer maps for the head's, after DeepLabV3+ (Chen et al., ECCV 2018): stride 8 to 4 to 2.

    Each step enlarges its map, puts the backbone's map of that size beside it, and convolves. DeepLabV3+ stops at 4,
    with pictures several times as large as ours; a ventricle at end-systole may be narrower than 8 pixels.
    """

    def __init__(self, num_in: int, width: int, num_out: int, *, dtype: DTypeLike, rng: np.random.Generator):
        self.project = ConvNorm(EXPANSION * width, num_out, (1, 1), dtype=dtype, rng=rng)
        self.middle = ConvNorm(num_in + num_out, 2 * num_out, (3, 3), 1, 1, dtype=dtype, rng=rng)
        self.fine = ConvNorm(2 * num_out + width, num_out, (3, 3), 1, 1, dtype=dtype, rng=rng)

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        stem: Float[Array, "b h2 w2 d"],
        layer1: Float[Array, "b h4 w4 e"],
        *,
        train: bool,
        groups: Groups | None,
    ) -> Float[Array, "b h2 w2 f"]:
        mode = dict(train=train, groups=groups)
        beside = jax.nn.relu(self.project(layer1, **mode))
        x = jax.nn.relu(self.middle(jnp.concatenate([_resize(x, beside), beside], axis=-1), **mode))
        return jax.nn.relu(self.fine(jnp.concatenate([_resize(x, stem), stem], axis=-1), **mode))


class DeepLabV3(nnx.Module):
    """DeepLabV3 of output stride 8, with one output channel unless `num_outputs` says otherwise.

    At `width` 64 and `blocks` (3, 4, 6, 3) it is the network of CSS: 39,633,729 parameters. All widths scale with
    `width` (2048 features become 32 `width`, the head's 256 become 4 `width`). Weights are drawn by `rng` as
    PyTorch's default does. With `decoder` channels above 0 the head's maps become finer before the last layer, see
    `Decoder`.
    """

    def __init__(
        self,
        width: int = 64,
        blocks: Sequence[int] = (3, 4, 6, 3),
        in_channels: int = 3,
        num_outputs: int = 1,
        decoder: int = 0,
        *,
        dropout_rate: float = 0.5,
        dtype: DTypeLike = jnp.float32,
        rng: np.random.Generator,
    ):
        head = 4 * width
        self.backbone = DilatedResNet(width, blocks, in_channels, dtype=dtype, rng=rng)
        self.aspp = AtrousPyramid(self.backbone.num_out, head, dropout_rate, dtype=dtype, rng=rng)
        self.conv = Conv(head, head, (3, 3), 1, 1, dtype=dtype, rng=rng)
        self.bn = BatchNorm(head)
        self.decoder = Decoder(head, width, decoder, dtype=dtype, rng=rng) if decoder else None
        last = jnp.promote_types(dtype, jnp.float32)
        self.out = Conv(decoder or head, num_outputs, (1, 1), bias=True, dtype=last, rng=rng)

    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, groups: Groups | None = None, key: Array | None = None
    ) -> dict[str, Array]:
        """Returns `logits` (b, h, w) and `layer4` (b, h', w', 32 width), in float32 or wider.

        Several outputs are the last axis of `logits`. `groups`: see `BatchNorm`. `key` draws the dropout of train mode.
        """
        stem, layer1, *_, features = self.backbone.stages(x, train=train, groups=groups)
        y = self.aspp(features, train=train, groups=groups, key=key)
        y = jax.nn.relu(self.bn(self.conv(y), train=train, groups=groups))
        if self.decoder is not None:
            y = self.decoder(y, stem, layer1, train=train, groups=groups)
        logits = self.out(y)
        logits = _resize(logits, x)
        logits = logits[..., 0] if logits.shape[-1] == 1 else logits
        return {"logits": logits, "layer4": at_least_float32(features)}


def _resize(x: Float[Array, "b h w c"], like: Float[Array, "b h2 w2 d"]) -> Float[Array, "b h2 w2 c"]:
    """Bilinear, with half-pixel centres (PyTorch's align_corners=False)."""
    return jax.image.resize(x, (*like.shape[:3], x.shape[-1]), "bilinear", antialias=False)
