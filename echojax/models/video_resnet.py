"""Video ResNets of 18 layers, the ejection-fraction networks of CSS: R(2+1)D, MC3 and R3D.

They regress the left ventricle's ejection fraction from a clip:

    model = VideoResNet("r2plus1d_18", rng=np.random.default_rng(0))
    out = model(clips, train=False)           # clips: normalised float32 (b, t, h, w, 3), any t, h and w
    out["ef"]                                 # float32 (b,), percent
    out["pooled"]                             # float32 (b, 512), the mean of layer4 over time and space
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from echojax.models.layers import ConvNorm, Groups, Linear
from echojax.ops.precision import at_least_float32

# Mean EF of EchoNet-Dynamic, in percent, as CSS starts from it.
MEAN_EF_PERCENT = 55.6
VARIANTS = ("r2plus1d_18", "mc3_18", "r3d_18")


def mid_width(num_in: int, num_out: int) -> int:
    """Channels between the two parts of a (2+1)D convolution: as many parameters as the 3x3x3 it stands for."""
    return (num_in * num_out * 27) // (num_in * 9 + 3 * num_out)


class Conv2Plus1D(nnx.Module):
    """A convolution in space, batch norm, ReLU, a convolution in time, batch norm."""

    def __init__(
        self,
        num_in: int,
        num_mid: int,
        num_out: int,
        stride: tuple[int, int],
        taps: int = 3,
        *,
        dtype: DTypeLike,
        rng: np.random.Generator,
    ):
        in_time, in_space = stride
        pad = taps // 2
        self.spatial = ConvNorm(
            num_in, num_mid, (1, taps, taps), (1, in_space, in_space), (0, pad, pad), dtype=dtype, rng=rng
        )
        self.temporal = ConvNorm(num_mid, num_out, (3, 1, 1), (in_time, 1, 1), (1, 0, 0), dtype=dtype, rng=rng)

    def __call__(self, x: Float[Array, "b t h w c"], *, train: bool, groups: Groups | None) -> Array:
        x = jax.nn.relu(self.spatial(x, train=train, groups=groups))
        return self.temporal(x, train=train, groups=groups)


class BasicBlock(nnx.Module):
    """Two convolutions with batch norm and a shortcut; `kind` is "2plus1d", "3d" or "2d" (3x3 in space only)."""

    def __init__(
        self, num_in: int, num_out: int, stride: int, kind: str, *, dtype: DTypeLike, rng: np.random.Generator
    ):
        in_time = 1 if kind == "2d" else stride
        # Both convolutions of a block share the width that its own input and output give.
        mid = mid_width(num_in, num_out)

        def make_conv(channels: int, strides: tuple[int, int]) -> nnx.Module:
            if kind == "2plus1d":
                return Conv2Plus1D(channels, mid, num_out, strides, dtype=dtype, rng=rng)
            taps = 1 if kind == "2d" else 3
            steps, pads = (strides[0], strides[1], strides[1]), (taps // 2, 1, 1)
            return ConvNorm(channels, num_out, (taps, 3, 3), steps, pads, dtype=dtype, rng=rng)

        self.conv1 = make_conv(num_in, (in_time, stride))
        self.conv2 = make_conv(num_out, (1, 1))
        steps = (in_time, stride, stride)
        changes = stride != 1 or num_in != num_out
        self.downsample = ConvNorm(num_in, num_out, (1, 1, 1), steps, dtype=dtype, rng=rng) if changes else None

    def __call__(self, x: Float[Array, "b t h w c"], *, train: bool, groups: Groups | None) -> Array:
        mode = dict(train=train, groups=groups)
        y = jax.nn.relu(self.conv1(x, **mode))
        y = self.conv2(y, **mode)
        shortcut = x if self.downsample is None else self.downsample(x, **mode)
        return jax.nn.relu(y + shortcut)


class VideoResNet(nnx.Module):
    """Stem, four stages of basic blocks, mean over time and space, one linear layer.

    At `width` 64 and `blocks` (2, 2, 2, 2), "r2plus1d_18" with one output has 31,300,638 parameters (3 channels) or
    31,302,843 (4 channels: RGB and the predicted mask). All widths scale with `width`. Weights are drawn by `rng` as
    PyTorch's default does; the bias of the last layer starts at `ef_bias` percent (None: drawn too).
    """

    def __init__(
        self,
        variant: str = "r2plus1d_18",
        in_channels: int = 3,
        width: int = 64,
        blocks: Sequence[int] = (2, 2, 2, 2),
        num_outputs: int = 1,
        *,
        ef_bias: float | None = MEAN_EF_PERCENT,
        dtype: DTypeLike = jnp.float32,
        rng: np.random.Generator,
    ):
        if variant not in VARIANTS:
            raise ValueError(f"unknown video network {variant!r}; expected one of {', '.join(VARIANTS)}")
        if variant == "r2plus1d_18":
            self.stem = Conv2Plus1D(in_channels, width * 45 // 64, width, (1, 2), 7, dtype=dtype, rng=rng)
        else:
            self.stem = ConvNorm(in_channels, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), dtype=dtype, rng=rng)
        kinds = {"r2plus1d_18": ["2plus1d"] * 4, "mc3_18": ["3d", "2d", "2d", "2d"], "r3d_18": ["3d"] * 4}[variant]
        num_in = width
        for stage, kind in enumerate(kinds):
            layer = []
            for block in range(blocks[stage]):
                stride = 2 if stage > 0 and block == 0 else 1
                layer.append(BasicBlock(num_in, width * 2**stage, stride, kind, dtype=dtype, rng=rng))
                num_in = width * 2**stage
            setattr(self, f"layer{stage + 1}", nnx.List(layer))
        self.fc = Linear(num_in, num_outputs, bias=ef_bias, rng=rng)

    def features(
        self, x: Float[Array, "b t h w c"], *, train: bool, groups: Groups | None = None
    ) -> dict[str, Float[Array, "b t2 h2 w2 d"]]:
        """Returns the maps after `stem` and `layer1` to `layer4`."""
        maps = {"stem": jax.nn.relu(self.stem(x, train=train, groups=groups))}
        x = maps["stem"]
        for name in ("layer1", "layer2", "layer3", "layer4"):
            for block in getattr(self, name):
                x = block(x, train=train, groups=groups)
            maps[name] = x
        return maps

    def __call__(
        self, x: Float[Array, "b t h w c"], *, train: bool, groups: Groups | None = None, key: Array | None = None
    ) -> dict[str, Array]:
        """Returns `ef` (b,), or (b, num_outputs) for several outputs, and `pooled` (b, 8 width), in float32 or wider.

        `groups`: see `BatchNorm`. There is no dropout: `key` is accepted so that all networks are called alike.
        """
        layer4 = self.features(x, train=train, groups=groups)["layer4"]
        pooled = jnp.mean(at_least_float32(layer4), axis=(1, 2, 3))
        outputs = self.fc(pooled)
        return {"ef": outputs[:, 0] if outputs.shape[-1] == 1 else outputs, "pooled": pooled}
