"""Convolutions with PyTorch's explicit padding, in the form that XLA runs fastest.

`conv` computes what `jax.lax.conv_general_dilated` computes from the same kernel. It first drops the kernel taps that
only ever see padding, turns the stride of an untouched axis into a slice, and then hands what is left to a 2-D
convolution or a matrix product where one suffices: XLA runs the input gradient of a strided 3-D convolution as a
generic loop, a hundred times slower on a CPU. There a 3x3 kernel goes through Winograd's algorithm, one whose taps
mostly see padding is added up tap by tap, and one that sees few positions goes through patches, as do the kernel's
gradients where strides or time are involved. Kernels keep their plain shape, so that parameters and ported weights do
not notice.

    conv(x, kernel, stride=(1, 2, 2), padding=(0, 3, 3))   # x (b, t, h, w, c), kernel (1, 7, 7, c, d)
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from echojax.ops.patches import patch_conv, with_kernel_gradient_by_patches
from echojax.ops.taps import conv_tap_by_tap, share_that_sees
from echojax.ops.winograd import winograd_conv

Ints = Sequence[int]
Pads = Sequence[tuple[int, int]]


def conv(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*taps c d"],
    stride: Ints,
    padding: Ints,
    dilation: Ints | None = None,
) -> Float[Array, "b *out d"]:
    """Cross-correlates images (two axes in `space`) or videos (three) with a kernel.

    out[o] = sum_k x[o * stride + k * dilation - padding] kernel[k] along each axis, x being zero outside. `stride`,
    `padding` (the same on both sides) and `dilation` (default 1) hold one number per axis of `space`.
    """
    sizes, dilation = x.shape[1:-1], tuple(dilation or (1,) * len(stride))
    kernel, pads = _drop_unseeing_taps(sizes, kernel, stride, padding, dilation)
    x, stride, pads = _slice_untouched_axes(x, kernel, stride, pads)
    taps = kernel.shape[:-2]
    if max(taps) == 1 and not any(map(any, pads)):
        return _pointwise(x, kernel)
    if _may_loop(x) and set(dilation) == {1} and _num_positions(x, taps, stride, pads) <= _PATCHES_UP_TO:
        return patch_conv(x, kernel, stride, pads)
    if len(taps) == 3 and taps[0] == 1 and stride[0] == 1 and pads[0] == (0, 0):
        return _per_frame(x, kernel, stride, pads, dilation)
    if len(taps) == 3 and taps[1:] == (1, 1) and stride[1:] == (1, 1) and pads[1:] == ((0, 0), (0, 0)):
        return _per_pixel(x, kernel, stride, pads, dilation)
    if len(taps) == 3 and jax.default_backend() == "cpu":
        return _videos(x, kernel, stride, pads, dilation)
    if len(taps) == 2:
        return _images(x, kernel, stride, pads, dilation)
    return plain_conv(x, kernel, stride, pads, dilation)


def plain_conv(x: Array, kernel: Array, stride: Ints, pads: Pads, dilation: Ints) -> Array:
    """The convolution as XLA offers it; `pads` holds (before, after) per axis."""
    axes = "DHW"[3 - len(stride) :]
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return jax.lax.conv_general_dilated(
        x, kernel, tuple(stride), tuple(pads), rhs_dilation=tuple(dilation), dimension_numbers=layout
    )


def _drop_unseeing_taps(sizes: Ints, kernel: Array, stride: Ints, padding: Ints, dilation: Ints) -> tuple[Array, Pads]:
    """Cuts off the outer taps that see padding at every output position: they add exact zeros.

    On the 14x14 maps of DeepLab's head this leaves one of nine taps at rates 24 and 36.
    """
    pads = []
    for axis, (size, s, p, d) in enumerate(zip(sizes, stride, padding, dilation, strict=True)):
        taps = kernel.shape[axis]
        num_out = (size + 2 * p - d * (taps - 1) - 1) // s + 1
        seeing = [k for k in range(taps) if any(0 <= o * s + k * d - p < size for o in range(num_out))]
        first, last = (seeing[0], seeing[-1]) if seeing else (0, taps - 1)
        if last + 1 - first < taps:
            kernel = jax.lax.slice_in_dim(kernel, first, last + 1, axis=axis)
        # What follows the last position that a tap reads is cut, so that a single tap needs no padding.
        after = (num_out - 1) * s + (last - first) * d + 1 - size - (p - first * d)
        pads.append((p - first * d, after))
    return kernel, tuple(pads)


def _slice_untouched_axes(x: Array, kernel: Array, stride: Ints, pads: Pads) -> tuple[Array, Ints, Pads]:
    """Along an axis where the kernel has one tap, takes every stride-th position first."""
    stride, pads = list(stride), list(pads)
    for axis, (s, (before, after)) in enumerate(zip(stride, pads, strict=True)):
        if kernel.shape[axis] == 1 and before <= 0 and after <= 0 and (s, before, after) != (1, 0, 0):
            x = jax.lax.slice_in_dim(x, -before, x.shape[axis + 1] + after, stride=s, axis=axis + 1)
            stride[axis], pads[axis] = 1, (0, 0)
    return x, tuple(stride), tuple(pads)


def _pointwise(x: Array, kernel: Array) -> Array:
    """A single tap is a matrix product over the channels."""
    y = _matmul(x.reshape(-1, x.shape[-1]), kernel.reshape(kernel.shape[-2:]))
    return y.reshape(*x.shape[:-1], y.shape[-1])


@jax.custom_vjp
def _matmul(x: Float[Array, "n c"], kernel: Float[Array, "c d"]) -> Float[Array, "n d"]:
    """x @ kernel. Its own gradient writes x.T @ dy, where JAX's has XLA transpose dy element by element."""
    return jax.lax.dot_general(x, kernel, (((1,), (0,)), ((), ())))


def _matmul_backward(operands, dy):
    x, kernel = operands
    dx = jax.lax.dot_general(dy, kernel, (((1,), (1,)), ((), ())))
    return dx, jax.lax.dot_general(x, dy, (((0,), (0,)), ((), ())))


_matmul.defvjp(lambda x, kernel: (_matmul(x, kernel), (x, kernel)), _matmul_backward)


def _images(x: Array, kernel: Array, stride: Ints, pads: Pads, dilation: Ints) -> Array:
    """A 2-D convolution in the form that suits its sizes on a CPU; on other devices the plain one."""
    if _may_loop(x) and tuple(stride) == (1, 1):
        if share_that_sees(x.shape[1:3], kernel.shape[:2], pads, dilation) < _TAP_BY_TAP_BELOW:
            return conv_tap_by_tap(x, kernel, tuple(pads), tuple(dilation))
        if _suits_winograd(x, kernel, pads, dilation):
            return _by_phase(x, dilation[0], lambda x: winograd_conv(x[None], kernel[None])[0])
    if max(stride) > 1:
        return _with_own_kernel_gradient(x, kernel, stride, pads, dilation)
    return plain_conv(x, kernel, stride, pads, dilation)


def _videos(x: Array, kernel: Array, stride: Ints, pads: Pads, dilation: Ints) -> Array:
    """A 3-D convolution in the form that suits its sizes on a CPU."""
    is_plain = set(stride) == set(dilation) == {1} and kernel.shape[0] == 3 and pads[0] == (1, 1)
    if is_plain and _may_loop(x) and _suits_winograd(x, kernel, pads[1:], dilation[1:]):
        return winograd_conv(x, kernel)
    return _frames_as_channels(x, kernel, stride, pads, dilation)


def _with_own_kernel_gradient(x: Array, kernel: Array, stride: Ints, pads: Pads, dilation: Ints) -> Array:
    """The plain 2-D convolution, with the gradient of its kernel in the form that suits a CPU."""
    if not _may_loop(x) or set(dilation) != {1} or x.shape[-1] < _PATCH_CHANNELS:
        return plain_conv(x, kernel, stride, pads, dilation)
    convolve = functools.partial(plain_conv, dilation=dilation)
    return with_kernel_gradient_by_patches(x, kernel, tuple(stride), tuple(pads), convolve)


def _num_positions(x: Array, taps: Ints, stride: Ints, pads: Pads) -> int:
    """Of the output."""
    along = zip(x.shape[1:-1], taps, stride, pads, strict=True)
    return x.shape[0] * math.prod((size + sum(of_axis) - n) // s + 1 for size, n, s, of_axis in along)


def _may_loop(x: Array) -> bool:
    """Whether forms that go through the batch in a loop, for CPUs, suit; over several devices they would join it."""
    is_one_cpu = jax.default_backend() == "cpu" and jax.device_count() == 1
    return is_one_cpu and x.dtype in (jnp.float32, jnp.float64)


# Limits where the forms change places, from measurements of single convolutions.
_TAP_BY_TAP_BELOW = 0.4
_WINOGRAD_CHANNELS, _WINOGRAD_TILES = 64, 128
_PATCHES_UP_TO = 128  # positions of the output
_PATCH_CHANNELS = 16  # fewer, those of a network's input, are moved too slowly


def _suits_winograd(x: Array, kernel: Array, pads: Pads, dilation: Ints) -> bool:
    """Whether Winograd's algorithm, after `_by_phase`, computes it in space, and is the faster: channels and tiles."""
    is_computed = kernel.shape[-4:-2] == (3, 3) and {*dilation, *pads[0], *pads[1]} == {dilation[0]}
    num_tiles = math.prod(x.shape[:-3]) * math.prod(math.ceil(size / 2) for size in x.shape[-3:-1])
    return is_computed and min(kernel.shape[-2:]) >= _WINOGRAD_CHANNELS and num_tiles >= _WINOGRAD_TILES


def _by_phase(x: Array, dilation: int, convolve: Callable[[Array], Array]) -> Array:
    """A dilated convolution of size-keeping padding: every n-th row and column are an image to an undilated one."""
    if dilation == 1:
        return convolve(x)
    (b, h, w, c), n = x.shape, dilation
    rows, columns = math.ceil(h / n), math.ceil(w / n)
    padded = jnp.pad(x, ((0, 0), (0, rows * n - h), (0, columns * n - w), (0, 0)))
    phases = padded.reshape(b, rows, n, columns, n, c).transpose(0, 2, 4, 1, 3, 5).reshape(-1, rows, columns, c)
    y = convolve(phases).reshape(b, n, n, rows, columns, -1).transpose(0, 3, 1, 4, 2, 5)
    return y.reshape(b, rows * n, columns * n, -1)[:, :h, :w]


def _per_frame(x: Array, kernel: Array, stride: Ints, pads: Pads, dilation: Ints) -> Array:
    """A (1, k, k) kernel is a 2-D convolution over b * t images."""
    b, t, *space = x.shape
    y = _images(x.reshape(b * t, *space), kernel[0], stride[1:], pads[1:], dilation[1:])
    return y.reshape(b, t, *y.shape[1:])


def _per_pixel(x: Array, kernel: Array, stride: Ints, pads: Pads, dilation: Ints) -> Array:
    """A (k, 1, 1) kernel is a 2-D convolution over images whose two axes are time and pixels."""
    b, t, h, w, c = x.shape
    images, one = x.reshape(b, t, h * w, c), ((0, 0),)
    y = _with_own_kernel_gradient(images, kernel[:, 0], (stride[0], 1), (*pads[:1], *one), (dilation[0], 1))
    return y.reshape(b, y.shape[1], h, w, y.shape[-1])


def _frames_as_channels(x: Array, kernel: Array, stride: Ints, pads: Pads, dilation: Ints) -> Array:
    """A (k, k, k) kernel is a (1, k, k) kernel over videos whose channels hold the k frames that it spans.

    Two to forty times faster on a CPU; takes k times the memory of `x`, so that other devices keep the plain form.
    """
    frames = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (*pads[0], 0), *[(0, 0, 0)] * 3])
    num_taps, (c, d) = kernel.shape[0], kernel.shape[-2:]
    span = frames.shape[1] - (num_taps - 1) * dilation[0]
    starts = [k * dilation[0] for k in range(num_taps)]
    shifted = [jax.lax.slice_in_dim(frames, start, start + span, stride[0], axis=1) for start in starts]
    folded = kernel.transpose(1, 2, 0, 3, 4).reshape(1, *kernel.shape[1:3], num_taps * c, d)
    no_pads = ((0, 0), *pads[1:])
    return _per_frame(jnp.concatenate(shifted, axis=-1), folded, (1, *stride[1:]), no_pads, dilation)
