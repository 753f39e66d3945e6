"""Frames of a video as EchoCLIP wants to see them.

`to_network_size` is open_clip's validation transform up to the normalisation: the shorter side to 224 pixels by
Pillow's bicubic filter, then the middle. It runs on the device, so that frames travel in their own size.
`zoom` is what EchoCLIP's zero-shot ejection fraction does to frames before; `black_out` is EchoDFKD's mask score.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Bool, UInt8

from echojax.errors import UserError

# Masks count above this value of 255 in EchoDFKD's mask score: a logit of 0, which is stored as 127, does not.
MASK_THRESHOLD = 127
# Side in pixels of the square by which a mask is widened.
DILATION_SIZE = 5
# Share of height and width that `zoom` cuts off on every side.
ZOOM_MARGIN = 0.1

# Pillow sums 8-bit levels with weights of 22 bits, in 32-bit integers.
_WEIGHT_BITS = 22
_SUPPORT = 2.0
_SHARPNESS = -0.5


class _Taps(NamedTuple):
    """Per output position: the first input position that it is made from, and the integer weights from there on."""

    first: np.ndarray
    weights: np.ndarray


def to_network_size(frames: UInt8[Array, "b h w c"], size: int = 224) -> UInt8[Array, "b size size c"]:
    """Scales the shorter side to `size` and cuts out the middle, bit for bit as Pillow and torchvision do."""
    height, width = frames.shape[1:3]
    shorter = min(height, width)
    # The longer side is rounded down, as torchvision does.
    frames = resize_bicubic(frames, size * height // shorter, size * width // shorter)
    top, left = (round((side - size) / 2) for side in frames.shape[1:3])
    return frames[:, top : top + size, left : left + size]


def resize_bicubic(frames: UInt8[Array, "b h w c"], height: int, width: int) -> UInt8[Array, "b height width c"]:
    """Pillow's bicubic resize (a = -1/2, widened when it shrinks) of 8-bit images, bit for bit: columns, then rows."""
    return _resample(_resample(frames, 2, width), 1, height)


def zoom(frames: UInt8[np.ndarray, "t h w c"]) -> UInt8[np.ndarray, "t s s c"]:
    """The square in the middle of the frames, less a tenth of its side all around."""
    height, width = frames.shape[1:3]
    side = min(height, width)
    margin = math.floor(ZOOM_MARGIN * side)
    top, left = round((height - side) / 2), round((width - side) / 2)
    rows, columns = (slice(start + margin, start + side - margin) for start in (top, left))
    return frames[:, rows, columns]


def black_out(frames: UInt8[np.ndarray, "t h w c"], masks: Bool[np.ndarray, "t h w"]) -> UInt8[np.ndarray, "t h w c"]:
    """Copies of the frames with the masked pixels set to 0.

    Raises:
      UserError: frames and masks differ in number or size.
    """
    if frames.shape[:3] != masks.shape:
        raise UserError(f"masks are {masks.shape}, frames {frames.shape[:3]}: expected one mask per frame, of its size")
    return np.where(masks[..., None], np.uint8(0), frames)


def dilate(masks: Bool[np.ndarray, "t h w"]) -> Bool[np.ndarray, "t h w"]:
    """Masks widened by a square of 5x5 pixels; nothing comes in from outside of the picture."""
    size = (1, DILATION_SIZE, DILATION_SIZE)
    return scipy.ndimage.maximum_filter(masks, size=size, mode="constant", cval=False)


def _resample(frames: Array, axis: int, size: int) -> Array:
    if frames.shape[axis] == size:
        return frames
    taps = _pillow_taps(frames.shape[axis], size)
    total = jnp.full((), 1 << (_WEIGHT_BITS - 1), jnp.int32)
    for tap in range(taps.weights.shape[1]):
        # Beyond the last position weights are zero.
        positions = np.minimum(taps.first + tap, frames.shape[axis] - 1)
        weights = np.expand_dims(taps.weights[:, tap], tuple(range(1, frames.ndim - axis)))
        total = total + jnp.take(frames, positions, axis=axis).astype(jnp.int32) * weights
    return jnp.clip(jax.lax.shift_right_arithmetic(total, _WEIGHT_BITS), 0, 255).astype(jnp.uint8)


def _pillow_taps(num_in: int, num_out: int) -> _Taps:
    """Weights of the input positions within two pixels (of the coarser grid) of each output position; they sum to 1."""
    scale = num_in / num_out
    stretch = max(scale, 1.0)
    centres = (np.arange(num_out) + 0.5) * scale
    first = np.maximum((centres - _SUPPORT * stretch + 0.5).astype(int), 0)
    last = np.minimum((centres + _SUPPORT * stretch + 0.5).astype(int), num_in)
    positions = first[:, None] + np.arange((last - first).max())
    weights = np.where(positions < last[:, None], _cubic((positions - centres[:, None] + 0.5) / stretch), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    # Rounded half away from zero, as C's cast of a sum with one half does.
    rounded = np.copysign(np.floor(np.abs(weights) * (1 << _WEIGHT_BITS) + 0.5), weights)
    return _Taps(first, rounded.astype(np.int32))


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel."""
    a, x = _SHARPNESS, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < _SUPPORT, far, 0.0))
