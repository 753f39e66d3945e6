"""The student of EchoDFKD: an encoder-decoder of convolutional LSTMs that outlines the left ventricle in a video.

It sees frames one after the other and gives one logit per pixel and frame; no frame depends on a later one:

    model = ConvLSTMNet(num_blocks=3, num_layers=3, rng=np.random.default_rng(0))
    out = model(videos, train=False)          # videos: raw grey levels 0 to 255, float32 (b, t, h, w, 1)
    out["logits"]                             # float32 (b, t, h, w), positive in the left ventricle

A video may also come in pieces, the state of one handed on to the next (`ConvLSTMNet.scan`).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from echojax import ops
from echojax.errors import UserError
from echojax.models.layers import BatchNorm, Conv, Groups

VARIANTS = ("reference", "improved")
# About the standard deviation of an echocardiogram's grey levels: 50 to 51 per channel of EchoNet-Dynamic. Black stays
# zero, as what lies outside of the picture.
GREY_SCALE = 50

# Per layer: hidden state and cell state, (b, h, w, c) each.
State = tuple[ops.LSTMState, ...]


class ConvLSTMLayer(nnx.Module):
    """One recurrent layer and the batch norm of its hidden states, frame by frame.

    `conv` sees input and previous hidden state side by side, in this order, and gives four times `num_hidden`
    channels: input, forget and output gate and candidate, in this order.
    """

    def __init__(self, num_in: int, num_hidden: int, *, dtype: DTypeLike, rng: np.random.Generator):
        self.num_hidden = num_hidden
        self.conv = Conv(num_in + num_hidden, 4 * num_hidden, (3, 3), 1, 1, bias=True, dtype=dtype, rng=rng)
        self.bn = BatchNorm(num_hidden)

    def __call__(
        self, x: Float[Array, "b t h w c"], state: ops.LSTMState, *, train: bool, groups: Groups | None
    ) -> tuple[Float[Array, "b t h w d"], ops.LSTMState]:
        """Returns the normalised hidden states of all frames and the state after the last one."""
        dtype = self.conv.dtype
        kernel, bias = self.conv.kernel[...].astype(dtype), self.conv.bias[...]
        hidden, state = ops.conv_lstm(x.astype(dtype), kernel, bias, state)
        return self.bn(hidden, train=train, groups=groups), state


class Upsample(nnx.Module):
    """Nearest neighbour to twice the size, 3x3 convolution and batch norm, frame by frame.

    A skip connection, where there is one, enters the convolution beside what was upsampled.
    """

    def __init__(self, num_in: int, num_skip: int, num_out: int, *, dtype: DTypeLike, rng: np.random.Generator):
        self.conv = Conv(num_in + num_skip, num_out, (3, 3), 1, 1, bias=True, dtype=dtype, rng=rng)
        self.bn = BatchNorm(num_out)

    def __call__(
        self,
        x: Float[Array, "b t h w c"],
        skip: Float[Array, "b t h2 w2 d"] | None,
        *,
        train: bool,
        groups: Groups | None,
    ) -> Float[Array, "b t h2 w2 e"]:
        x = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
        if skip is not None:
            x = jnp.concatenate([x, skip], axis=-1)
        return self.bn(_per_frame(self.conv, x), train=train, groups=groups)


class ConvLSTMNet(nnx.Module):
    """k blocks of n ConvLSTM layers, halving the maps between blocks, and a decoder back to the input's size.

    Block i has `width` 2^i hidden channels. At width 12, "reference" of (k, n) = (3, 3) has 611,185 parameters; all
    sizes of the paper are k and n of 1 to 4. Weights are drawn by `rng` as PyTorch's default does.

    Variant "reference" is the paper's: raw grey levels go in, the decoder is affine (no activation, no skip). Variant
    "improved" divides grey levels by their standard deviation, gives each step of the decoder the encoder's map of its
    size and an activation (SiLU): up to 3.8 % more parameters where there is a decoder, the same where there is none.
    """

    def __init__(
        self,
        num_blocks: int = 3,
        num_layers: int = 3,
        width: int = 12,
        variant: str = "reference",
        in_channels: int = 1,
        *,
        dtype: DTypeLike = jnp.float32,
        rng: np.random.Generator,
    ):
        if variant not in VARIANTS:
            raise ValueError(f"unknown ConvLSTM student {variant!r}; expected one of {', '.join(VARIANTS)}")
        if min(num_blocks, num_layers) < 1:
            raise ValueError(f"a ConvLSTM student of {num_blocks} blocks and {num_layers} layers; expected at least 1")
        self.is_improved = variant == "improved"
        widths = [width * 2**block for block in range(num_blocks)]
        encoder, num_in = [], in_channels
        for num_hidden in widths:
            inputs = [num_in] + [num_hidden] * (num_layers - 1)
            layers = [ConvLSTMLayer(channels, num_hidden, dtype=dtype, rng=rng) for channels in inputs]
            encoder.append(nnx.List(layers))
            num_in = num_hidden
        self.encoder = nnx.List(encoder)
        self.decoder = nnx.List(
            Upsample(2 * num_out, num_out if self.is_improved else 0, num_out, dtype=dtype, rng=rng)
            for num_out in reversed(widths[:-1])
        )
        self.out = Conv(width, 1, (1, 1), bias=True, dtype=jnp.promote_types(dtype, jnp.float32), rng=rng)

    def __call__(
        self, x: Float[Array, "b t h w c"], *, train: bool, groups: Groups | None = None, key: Array | None = None
    ) -> dict[str, Array]:
        """Returns `logits` (b, t, h, w) in float32 or wider; every video starts from the zero state.

        `groups`: see `BatchNorm`. There is no dropout: `key` is accepted so that all networks are called alike.
        """
        del key
        state = self.initial_state(x.shape[0], x.shape[2], x.shape[3])
        return {"logits": self.scan(x, state, train=train, groups=groups)[0]}

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """The state before the first frame: zeros.

        Raises:
          UserError: for a picture that cannot be halved as often as the network halves it.
        """
        factor = 2 ** (len(self.encoder) - 1)
        if height % factor or width % factor:
            raise UserError(
                f"frames are {height}x{width}; with {len(self.encoder)} blocks the sides must be multiples of {factor}"
            )
        return tuple(
            ops.zero_lstm_state((batch, height // 2**block, width // 2**block, layer.num_hidden), layer.conv.dtype)
            for block, layers in enumerate(self.encoder)
            for layer in layers
        )

    def scan(
        self, x: Float[Array, "b t h w c"], state: State, *, train: bool = False, groups: Groups | None = None
    ) -> tuple[Float[Array, "b t h w"], State]:
        """Returns the logits of these frames, and the state after them with which the frames that follow go on.

        Each layer goes through all frames before the next begins, as batch norm in train mode needs it.
        """
        mode = dict(train=train, groups=groups)
        maps, state = self.encode(x, state, **mode)
        return self.decode(maps, **mode), state

    def encode(
        self, x: Float[Array, "b t h w c"], state: State, *, train: bool, groups: Groups | None = None
    ) -> tuple[list[Float[Array, "b t h2 w2 c"]], State]:
        """Returns the maps of every block, finest first and before pooling, and the state after the last frame."""
        x = x / GREY_SCALE if self.is_improved else x
        before, after, maps = iter(state), [], []
        for block, layers in enumerate(self.encoder):
            x = x if block == 0 else _per_frame(lambda y: ops.max_pool(y, 2, 2, 0), x)
            for layer in layers:
                x, of_layer = layer(x, next(before), train=train, groups=groups)
                after.append(of_layer)
            maps.append(x)
        return maps, tuple(after)

    def decode(
        self, maps: Sequence[Float[Array, "b t h2 w2 c"]], *, train: bool, groups: Groups | None = None
    ) -> Float[Array, "b t h w"]:
        """Returns logits from the maps of all blocks; the reference looks at the coarsest alone."""
        *finer, x = maps
        for step in self.decoder:
            skip = finer.pop()
            x = step(x, skip if self.is_improved else None, train=train, groups=groups)
            x = jax.nn.silu(x) if self.is_improved else x
        return _per_frame(self.out, x)[..., 0]


def _per_frame(function, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h2 w2 d"]:
    """Applies a function of images to every frame."""
    y = function(x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])
