"""Every form that `ops.conv` may choose equals XLA's plain convolution in value and in both gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from echojax import ops
from echojax.ops import convolution, patches
from echojax.ops.convolution import plain_conv

# What float32 sums of up to a few thousand terms in another order may differ by, relative to the largest value.
TOLERANCE = 2e-6

CASES = {
    # name: (x, taps and channels, stride, padding, dilation)
    "r2plus1d stem": ((2, 3, 20, 18, 3), (1, 7, 7, 3, 5), (1, 2, 2), (0, 3, 3), (1, 1, 1)),
    "spatial": ((2, 3, 9, 8, 4), (1, 3, 3, 4, 6), (1, 1, 1), (0, 1, 1), (1, 1, 1)),
    "spatial stride 2": ((1, 4, 9, 8, 4), (1, 3, 3, 4, 6), (1, 2, 2), (0, 1, 1), (1, 1, 1)),
    "temporal": ((2, 6, 3, 4, 5), (3, 1, 1, 5, 4), (1, 1, 1), (1, 0, 0), (1, 1, 1)),
    "temporal stride 2": ((2, 7, 3, 4, 5), (3, 1, 1, 5, 4), (2, 1, 1), (1, 0, 0), (1, 1, 1)),
    "temporal, narrower result": ((1, 7, 3, 4, 6), (3, 1, 1, 6, 3), (1, 1, 1), (1, 0, 0), (1, 1, 1)),
    "temporal on one frame": ((2, 1, 3, 4, 5), (3, 1, 1, 5, 4), (1, 1, 1), (1, 0, 0), (1, 1, 1)),
    "shortcut": ((2, 5, 6, 7, 3), (1, 1, 1, 3, 8), (2, 2, 2), (0, 0, 0), (1, 1, 1)),
    "r3d stem": ((1, 4, 15, 16, 3), (3, 7, 7, 3, 4), (1, 2, 2), (1, 3, 3), (1, 1, 1)),
    "3x3x3": ((2, 4, 7, 6, 3), (3, 3, 3, 3, 4), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "3x3x3 stride 2": ((1, 7, 8, 9, 3), (3, 3, 3, 3, 4), (2, 2, 2), (1, 1, 1), (1, 1, 1)),
    "3x3x3 dilated": ((1, 7, 8, 9, 3), (3, 3, 3, 3, 4), (1, 2, 1), (2, 3, 1), (2, 3, 1)),
    "image stem": ((2, 23, 22, 3), (7, 7, 3, 4), (2, 2), (3, 3), (1, 1)),
    "image 3x3": ((2, 9, 8, 4), (3, 3, 4, 6), (1, 1), (1, 1), (1, 1)),
    "image shortcut": ((2, 9, 8, 4), (1, 1, 4, 6), (2, 2), (0, 0), (1, 1)),
    "layer4": ((2, 14, 14, 4), (3, 3, 4, 4), (1, 1), (4, 4), (4, 4)),
    "rate 12": ((2, 14, 14, 4), (3, 3, 4, 5), (1, 1), (12, 12), (12, 12)),
    "rate 24": ((2, 14, 14, 4), (3, 3, 4, 5), (1, 1), (24, 24), (24, 24)),
    "rate 36 on a wide map": ((1, 14, 40, 4), (3, 3, 4, 5), (1, 1), (36, 36), (36, 36)),
    "tap by tap on few rows": ((2, 5, 14, 4), (3, 3, 4, 5), (1, 1), (4, 12), (4, 12)),
    "winograd": ((3, 13, 14, 64), (3, 3, 64, 70), (1, 1), (1, 1), (1, 1)),
    "winograd dilated": ((3, 14, 13, 70), (3, 3, 70, 64), (1, 1), (4, 4), (4, 4)),
    "winograd over frames": ((2, 5, 9, 8, 64), (1, 3, 3, 64, 64), (1, 1, 1), (0, 1, 1), (1, 1, 1)),
    "winograd 3x3x3": ((2, 4, 9, 8, 64), (3, 3, 3, 64, 65), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "padding beyond the kernel": ((1, 5, 6, 2), (3, 2, 2, 3), (2, 3), (4, 5), (1, 2)),
}


def value_and_gradients(convolve, x, kernel, cotangent):
    value, pullback = jax.vjp(convolve, x, kernel)
    return value, *pullback(cotangent)


def assert_equals_plain(x_shape, kernel_shape, stride, padding, dilation):
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(shape, np.float32) for shape in (x_shape, kernel_shape))
    pads = [(p, p) for p in padding]

    def plain(x, kernel):
        return plain_conv(x, kernel, stride, pads, dilation)

    def ours(x, kernel):
        return ops.conv(x, kernel, stride, padding, dilation)

    shape = jax.eval_shape(plain, x, kernel).shape
    cotangent = rng.standard_normal(shape, np.float32)
    both = jax.jit(lambda *args: (value_and_gradients(ours, *args), value_and_gradients(plain, *args)))
    for result, expected in zip(*both(x, kernel, cotangent), strict=True):
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_equals_plain_convolution(case, monkeypatch):
    monkeypatch.setattr(convolution, "_PATCHES_UP_TO", 0)  # they have a test of their own
    assert_equals_plain(*case)


UNDILATED = [name for name, (*_, dilation) in CASES.items() if set(dilation) == {1}]


@pytest.mark.parametrize("name", UNDILATED)
def test_patches_equal_plain_convolution(name, monkeypatch):
    monkeypatch.setattr(convolution, "_PATCHES_UP_TO", 10**9)
    assert_equals_plain(*CASES[name])


STRIDED_OR_OVER_TIME = (
    *("spatial stride 2", "temporal", "temporal stride 2", "temporal on one frame", "3x3x3 stride 2", "image stem"),
    "temporal, narrower result",
)


@pytest.mark.parametrize("block_bytes", [1, 4096, 1e9])
@pytest.mark.parametrize("name", STRIDED_OR_OVER_TIME)
def test_kernel_gradient_by_patches(name, block_bytes, monkeypatch):
    monkeypatch.setattr(convolution, "_PATCHES_UP_TO", 0)
    monkeypatch.setattr(convolution, "_PATCH_CHANNELS", 1)
    monkeypatch.setattr(patches, "_BLOCK_BYTES", block_bytes)
    assert_equals_plain(*CASES[name])


@pytest.mark.parametrize("name", ["r3d stem", "3x3x3 stride 2"])
def test_equals_plain_convolution_on_other_backends(name, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert_equals_plain(*CASES[name])


def test_any_stride_padding_and_dilation():
    rng = np.random.default_rng(1)
    for _ in range(6):
        taps, stride, dilation = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(3))
        padding = tuple(int(rng.integers(0, 5)) for _ in range(2))
        sizes = [int(rng.integers(1, 6)) + d * (k - 1) for d, k in zip(dilation, taps, strict=True)]
        assert_equals_plain((1, *sizes, 2), (*taps, 2, 3), stride, padding, dilation)


def test_strided_forms_leave_no_strided_3d_convolution():
    """The point of the rewrites: no convolution over three spatial axes reaches XLA on a CPU."""
    for name, (x, kernel, *numbers) in CASES.items():
        if len(x) == 5:
            trace = jax.make_jaxpr(lambda x, k, numbers=numbers: ops.conv(x, k, *numbers))
            jaxpr = trace(jnp.ones(x), jnp.ones(kernel))
            ranks = [e.invars[0].aval.ndim for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
            assert all(rank == 4 for rank in ranks), name


def primitives(case: str, dtype=jnp.float32) -> list[str]:
    x, kernel, *numbers = CASES[case]
    jaxpr = jax.make_jaxpr(lambda x, k: ops.conv(x, k, *numbers))(jnp.ones(x, dtype), jnp.ones(kernel, dtype))
    return [e.primitive.name for e in jaxpr.eqns]


def test_which_form_is_taken(monkeypatch):
    names = ("winograd", "winograd dilated", "winograd over frames", "winograd 3x3x3")
    plain = ["conv_general_dilated"]
    for name in names:
        assert "conv_general_dilated" not in primitives(name), name
        assert set(plain) <= set(primitives(name, jnp.bfloat16)), name
    for name in ("rate 12", "tap by tap on few rows"):
        assert "conv_general_dilated" not in primitives(name), name
    assert primitives("layer4") == primitives("image 3x3") == plain
    assert "conv_general_dilated" not in primitives("3x3x3 stride 2")
    assert "conv_general_dilated" in primitives("3x3x3 stride 2", jnp.bfloat16)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    assert primitives("winograd") == primitives("rate 12") == plain
    assert "conv_general_dilated" in primitives("3x3x3 stride 2")
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert primitives("winograd") == primitives("rate 12") == plain


def test_taps_that_see_only_padding_get_exactly_zero_gradient():
    x = jnp.asarray(np.random.default_rng(2).standard_normal((2, 14, 14, 3), np.float32))
    gradient = jax.grad(lambda k: jnp.sum(ops.conv(x, k, (1, 1), (24, 24), (24, 24)) ** 2))(jnp.ones((3, 3, 3, 4)))
    centre = np.zeros((3, 3), bool)
    centre[1, 1] = True
    assert not np.any(np.asarray(gradient)[~centre])
    assert np.all(np.asarray(gradient)[centre] != 0)
