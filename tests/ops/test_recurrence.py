"""The fast ConvLSTM equals the plain cell, written as its equations, in value and in every gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from echojax import ops

B, T, H, W, C, D = 2, 5, 6, 7, 3, 4


def plain_conv_lstm(x, kernel, bias, state):
    """The cell of the specification, one frame after the other, differentiated by JAX."""
    hidden, cell = state
    outputs = []
    for t in range(x.shape[1]):
        joined = jnp.concatenate([x[:, t], hidden], axis=-1)
        z = bias + jax.lax.conv_general_dilated(
            joined, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        d = z.shape[-1] // 4
        i, f, o, g = (z[..., part * d : (part + 1) * d] for part in range(4))
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        outputs.append(hidden)
    return jnp.stack(outputs, axis=1), ops.LSTMState(hidden, cell)


def draw(dtype=np.float32):
    """Input, kernel, bias, state, and gradients of hidden states and of the last state."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.standard_normal(shape), dtype)

    def state():
        return ops.LSTMState(normal(B, H, W, D), normal(B, H, W, D))

    arguments = normal(B, T, H, W, C), 0.4 * normal(3, 3, C + D, 4 * D), normal(4 * D), state()
    return arguments, (normal(B, T, H, W, D), state())


def assert_close(ours, expected, tolerance):
    for ours_leaf, leaf in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours_leaf, leaf, rtol=0, atol=tolerance * np.abs(leaf).max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-6), (np.float64, 1e-13)])
def test_equals_the_plain_cell_in_value_and_gradient(dtype, tolerance):
    with jax.enable_x64(dtype == np.float64):
        arguments, cotangents = draw(dtype)
        value, pullback = jax.vjp(jax.jit(ops.conv_lstm), *arguments)
        expected, expected_pullback = jax.vjp(jax.jit(plain_conv_lstm), *arguments)
        assert_close(value, expected, tolerance)
        assert_close(pullback(cotangents), expected_pullback(cotangents), tolerance)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(value))


def loops_and_convolutions(jaxpr, depth=0):
    """Depth in loops of every convolution of a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield depth
        inner = depth + (equation.primitive.name == "scan")
        for sub in jaxprs_in_params(equation.params):
            yield from loops_and_convolutions(sub, inner)


def test_the_gradient_of_the_kernel_is_taken_once_after_the_loop():
    arguments, (d_hidden, _) = draw()

    def loss(*arguments):
        return jnp.sum(ops.conv_lstm(*arguments)[0] * d_hidden)

    program = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1, 2)))(*arguments)
    # Forward and backward loop hold one convolution each, the kernel's gradient is outside.
    assert sorted(loops_and_convolutions(program.jaxpr)) == [0, 1, 1]


def test_a_video_in_pieces_is_the_video_in_one_piece():
    (x, kernel, bias, state), _ = draw()
    run = jax.jit(ops.conv_lstm)
    whole, last = run(x, kernel, bias, state)
    first, between = run(x[:, :2], kernel, bias, state)
    second, end = run(x[:, 2:], kernel, bias, between)
    np.testing.assert_array_equal(jnp.concatenate([first, second], axis=1), whole)
    np.testing.assert_array_equal(end.cell, last.cell)


def test_bfloat16_keeps_the_cell_state_in_float32():
    (x, kernel, bias, _), _ = draw()
    state = ops.zero_lstm_state((B, H, W, D), jnp.bfloat16)
    low = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), bias, state
    hidden, last = jax.jit(ops.conv_lstm)(*low)
    assert (hidden.dtype, last.hidden.dtype, last.cell.dtype) == (jnp.bfloat16, jnp.bfloat16, jnp.float32)
    exact = jax.jit(plain_conv_lstm)(x, kernel, bias, ops.zero_lstm_state((B, H, W, D), jnp.float32))[0]
    assert np.abs(hidden - exact).max() < 0.05
    gradients = jax.jit(jax.grad(lambda *a: jnp.sum(ops.conv_lstm(*a)[0].astype(jnp.float32)), argnums=(0, 1, 2)))(*low)
    assert [gradient.dtype for gradient in gradients] == [jnp.bfloat16, jnp.bfloat16, jnp.float32]
    assert all(np.isfinite(np.asarray(gradient, np.float32)).all() for gradient in gradients)


def test_invariant_4_gates_are_input_forget_output_candidate():
    b, step = 0.7, 0.5 * np.tanh(0.7)
    orders = list(itertools.permutations(range(4)))
    assert orders[0] == (0, 1, 2, 3)
    # Two biases that tell the gates apart, each with its gates in every order; all weights are zero.
    biases = np.array([[0, -20, 20, b], [0, 20, 20, b]], np.float32)[:, orders].reshape(-1, 4)
    x, kernel = jnp.ones((1, 4, 3, 3, 1)), jnp.zeros((3, 3, 2, 4))
    state = ops.zero_lstm_state((1, 3, 3, 1), jnp.float32)
    hidden = np.asarray(jax.jit(jax.vmap(lambda bias: ops.conv_lstm(x, kernel, bias, state)[0]))(biases))
    assert np.ptp(hidden, axis=(3, 4)).max() == 0
    found = hidden[:, 0, :, 1, 1, 0].reshape(2, len(orders), 4)
    expected = np.stack([np.full(4, np.tanh(step)), np.tanh(step * np.arange(1, 5))])
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-7)
    assert found[0, 0, 0] == pytest.approx(0.2933099, abs=1e-7)
    assert found[1, 0, 3] == pytest.approx(0.8362998, abs=1e-7)
    # Every other order of the gates breaks at least one of the two.
    assert np.abs(found[:, 1:] - expected[:, None]).max(axis=(0, 2)).min() > 1e-3
