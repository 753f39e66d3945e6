"""The convolutional LSTM (Shi et al., NeurIPS 2015, without peepholes), fast in both directions.

    z_t = K * [x_t, h_{t-1}] + b                                * is a convolution that keeps the size
    i_t, f_t, o_t, g_t = sigmoid(z^i), sigmoid(z^f), sigmoid(z^o), tanh(z^g)
    c_t = f_t c_{t-1} + i_t g_t
    h_t = o_t tanh(c_t)

`conv_lstm` is this loop with its gradient written out. Going back through time it carries the gradients of h and c, and
takes that of K once, from all frames together, after the loop. JAX's own would take it anew in every step, where XLA
runs it, on a CPU, as a generic loop that is fifty times slower.

Nothing else is moved out of the loop. In the version of XLA that comes with jax 0.10 a convolution inside a loop is as
fast as one outside, forward and with respect to its input; the kernel's gradient alone is not. To convolve x for all
frames before the loop, and h alone within it, is therefore slower than one convolution of both side by side: it gains
nothing and moves four gates per pixel and frame through memory.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from echojax.ops.convolution import plain_conv
from echojax.ops.precision import at_least_float32
from echojax.ops.reductions import spatial_sum


class LSTMState(NamedTuple):
    """What a layer hands on from frame to frame: h in the dtype of the computation, c in float32 or wider."""

    hidden: Float[Array, "b h w d"]
    cell: Float[Array, "b h w d"]


def zero_lstm_state(shape: Sequence[int], dtype: DTypeLike) -> LSTMState:
    """The state before the first frame, for maps of `shape` (b, h, w, d) computed in `dtype`."""
    return LSTMState(jnp.zeros(shape, dtype), jnp.zeros(shape, jnp.promote_types(dtype, jnp.float32)))


def conv_lstm(
    x: Float[Array, "b t h w c"],
    kernel: Float[Array, "k k c_plus_d 4d"],
    bias: Float[Array, "4d"],
    state: LSTMState,
) -> tuple[Float[Array, "b t h w d"], LSTMState]:
    """Returns the hidden states of all frames, and the state after the last.

    Args:
      x: maps of every frame; their dtype is that of the computation.
      kernel: input channels are those of x, then those of h; output channels are the gates i, f, o, g. Odd number of
        taps, same dtype as `x`.
      bias: float32 or wider.
      state: before the first frame.
    """
    hidden, state = _recur(jnp.moveaxis(x, 1, 0), kernel, bias, state)
    return jnp.moveaxis(hidden, 0, 1), state


@jax.custom_vjp
def _recur(
    x: Float[Array, "t b h w c"], kernel: Float[Array, "k k c_plus_d 4d"], bias: Float[Array, "4d"], state: LSTMState
) -> tuple[Float[Array, "t b h w d"], LSTMState]:
    def step(state, x):
        state = _next_state(_gates(x, kernel, bias, state), state)
        return state, state.hidden

    state, hidden = lax.scan(step, state, x)
    return hidden, state


def _recur_forward(x, kernel, bias, initial):
    """The loop, which also keeps the gates and the cell state of every frame."""

    def step(state, x):
        gates = _gates(x, kernel, bias, state)
        state = _next_state(gates, state)
        return state, (state.hidden, state.cell, gates.astype(x.dtype))

    state, (hidden, cell, gates) = lax.scan(step, initial, x)
    return (hidden, state), (x, kernel, initial, hidden, cell, gates)


def _recur_backward(residuals, cotangents):
    x, kernel, initial, hidden, cell, gates = residuals
    d_hidden, d_final = cotangents
    num_in = x.shape[-1]
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)  # the transpose of a convolution that keeps the size

    def step(carry, frame):
        d_state, cell = carry  # gradient of h_t from later frames and of c_t from c_{t+1}; c_t
        d_hidden, cell_before, gates = frame
        dz, d_cell = _step_backward(d_hidden + d_state.hidden, d_state.cell, cell, cell_before, gates)
        dz = dz.astype(x.dtype)
        d_joined = _convolve(dz, flipped)
        return (LSTMState(d_joined[..., num_in:], d_cell), cell_before), (d_joined[..., :num_in], dz)

    hidden_before, cell_before = (
        jnp.concatenate([first[None], later[:-1]]) for first, later in zip(initial, (hidden, cell), strict=True)
    )
    (d_initial, _), (dx, dz) = lax.scan(step, (d_final, cell[-1]), (d_hidden, cell_before, gates), reverse=True)
    joined, dz = _as_images(_join(x, hidden_before)), _as_images(dz)
    kernel_gradient = jax.linear_transpose(lambda kernel: _convolve(joined, kernel), kernel)
    d_bias = jnp.sum(spatial_sum(at_least_float32(dz)), axis=0)
    return dx, *kernel_gradient(dz), d_bias, d_initial


_recur.defvjp(_recur_forward, _recur_backward)


def _convolve(images: Float[Array, "n h w c"], kernel: Float[Array, "k k c d"]) -> Float[Array, "n h w d"]:
    pads = tuple((taps // 2, taps // 2) for taps in kernel.shape[:2])
    return plain_conv(images, kernel, (1, 1), pads, (1, 1))


def _join(x: Array, hidden: Array) -> Array:
    return jnp.concatenate([x, hidden], axis=-1)


def _as_images(videos: Float[Array, "t b h w c"]) -> Float[Array, "n h w c"]:
    return videos.reshape(-1, *videos.shape[2:])


def _gates(x: Array, kernel: Array, bias: Array, state: LSTMState) -> Float[Array, "b h w 4d"]:
    """i, f, o and g side by side.

    With sigmoid(z) = tanh(z / 2) / 2 + 1 / 2 all four are one function of the whole array: XLA makes vector code of it,
    and does not of a function per slice.
    """
    z = at_least_float32(_convolve(_join(x, state.hidden), kernel)) + bias
    scale, shift = _activation(z)
    return scale * jnp.tanh(scale * z) + shift


def _activation(z: Array) -> tuple[np.ndarray, np.ndarray]:
    """Scale s and shift m per channel of the activations a = s tanh(s z) + m, whose slope is s^2 - (a - m)^2."""
    num_gates = z.shape[-1] // 4 * 3
    is_gate = np.arange(z.shape[-1]) < num_gates
    return np.where(is_gate, 0.5, 1).astype(z.dtype), np.where(is_gate, 0.5, 0).astype(z.dtype)


def _next_state(gates: Array, state: LSTMState) -> LSTMState:
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    cell = f * state.cell + i * g
    return LSTMState((o * jnp.tanh(cell)).astype(state.hidden.dtype), cell)


def _step_backward(
    d_hidden: Array, d_cell: Array, cell: Array, cell_before: Array, gates: Array
) -> tuple[Float[Array, "b h w 4d"], Float[Array, "b h w d"]]:
    """Gradients of z_t and of c_{t-1} from those of h_t and of c_t."""
    gates = at_least_float32(gates)
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    tanh_cell = jnp.tanh(cell)
    d_cell = d_cell + d_hidden * o * (1 - tanh_cell**2)
    d_gates = jnp.concatenate([d_cell * g, d_cell * cell_before, d_hidden * tanh_cell, d_cell * i], axis=-1)
    scale, shift = _activation(gates)
    return d_gates * (scale**2 - (gates - shift) ** 2), d_cell * f
