"""ResNet-50 for dense prediction: dilation replaces the strides of its last two stages; maps keep 1/8 of the size."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from echojax import ops
from echojax.models.layers import BatchNorm, Conv, ConvNorm, Groups
from echojax.ops.precision import at_least_float32

EXPANSION = 4


class Bottleneck(nnx.Module):
    """1x1 to `width`, 3x3 with stride or dilation, 1x1 to 4 `width`, each with batch norm, plus a shortcut."""

    def __init__(
        self, num_in: int, width: int, stride: int, dilation: int, *, dtype: DTypeLike, rng: np.random.Generator
    ):
        num_out = EXPANSION * width
        self.conv1 = Conv(num_in, width, (1, 1), dtype=dtype, rng=rng)
        self.bn1 = BatchNorm(width)
        self.conv2 = Conv(width, width, (3, 3), stride, dilation, dilation, dtype=dtype, rng=rng)
        self.bn2 = BatchNorm(width)
        self.conv3 = Conv(width, num_out, (1, 1), dtype=dtype, rng=rng)
        self.bn3 = BatchNorm(num_out)
        changes = stride != 1 or num_in != num_out
        self.downsample = ConvNorm(num_in, num_out, (1, 1), stride, dtype=dtype, rng=rng) if changes else None

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool, groups: Groups | None) -> Float[Array, "b h2 w2 d"]:
        mode = dict(train=train, groups=groups)
        y = jax.nn.relu(self.bn1(self.conv1(x), **mode))
        y = jax.nn.relu(self.bn2(self.conv2(y), **mode))
        y = self.bn3(self.conv3(y), **mode)
        shortcut = x if self.downsample is None else self.downsample(x, **mode)
        return jax.nn.relu(y + shortcut)


class DilatedResNet(nnx.Module):
    """Images `(b, h, w, c)` -> maps `(b, ceil(h / 8), ceil(w / 8), 32 width)`, not negative.

    `blocks` counts the bottlenecks of the four stages: (3, 4, 6, 3) at width 64 is ResNet-50 (output stride 8).
    """

    def __init__(
        self,
        width: int = 64,
        blocks: Sequence[int] = (3, 4, 6, 3),
        in_channels: int = 3,
        *,
        dtype: DTypeLike = jnp.float32,
        rng: np.random.Generator,
    ):
        self.conv1 = Conv(in_channels, width, (7, 7), 2, 3, dtype=dtype, rng=rng)
        self.bn1 = BatchNorm(width)
        num_in = width
        # The first block of a stage still has the dilation of the stage before.
        strides, first_dilations, dilations = (1, 2, 1, 1), (1, 1, 1, 2), (1, 1, 2, 4)
        for stage in range(4):
            layer = []
            for block in range(blocks[stage]):
                stride, dilation = (strides[stage], first_dilations[stage]) if block == 0 else (1, dilations[stage])
                layer.append(Bottleneck(num_in, width * 2**stage, stride, dilation, dtype=dtype, rng=rng))
                num_in = EXPANSION * width * 2**stage
            setattr(self, f"layer{stage + 1}", nnx.List(layer))
        self.num_out = num_in

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool, groups: Groups | None) -> Float[Array, "b h2 w2 d"]:
        return self.stages(x, train=train, groups=groups)[-1]

    def stages(self, x: Float[Array, "b h w c"], *, train: bool, groups: Groups | None) -> list[Array]:
        """The maps of the stem, at 1/2 of the size, and of the four stages, at 1/4, 1/8, 1/8 and 1/8."""
        maps = [jax.nn.relu(self.bn1(self.conv1(x), train=train, groups=groups))]
        x = ops.max_pool(maps[0], window=3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = block(x, train=train, groups=groups)
            maps.append(x)
        return maps


class ResNetBackbone(DilatedResNet):
    """`DilatedResNet` as a network of its own: ImageNet's weights, from which segmentation starts."""

    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, groups: Groups | None = None, key: Array | None = None
    ) -> dict[str, Array]:
        """Returns `layer4` (b, h', w', 32 width) in float32 or wider. There is no dropout: `key` is not used."""
        return {"layer4": at_least_float32(super().__call__(x, train=train, groups=groups))}
