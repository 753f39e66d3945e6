"""Pictures that differ from a training picture as one scanner, patient and examiner do from another.

    frames, masks = augment_frames(key, frames, masks, AugmentStrength(geometry=1, gray=1, texture=1, cuts=1, marks=1))

Pictures are uint8 grey levels (b, h, w), masks are soft, in [0, 1]. Everything is drawn anew for each picture from one
key, so that a resumed run sees the same pictures. A share of them is changed, the others stay as they are: a network
that sees changed ones alone learns to distrust what it could read off a clear picture. Each kind has a strength from 0
(nothing changes, bit for bit) to 1:

| kind | what changes |
|---|---|
| geometry | turned, zoomed along both axes, sheared and shifted; the mask goes along |
| gray | gain, gamma and offset of the whole picture; slow changes over depth and width, as of time-gain compensation |
| texture | blurred or not; grain that grows with brightness; electronic noise |
| cuts | rays in shadow, veil below the probe, and a sector with black sides, top and bottom |
| marks | short bright lines near the border of the picture, as of text and depth scales |
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, UInt8

from echojax.errors import UserError

Frames = Float[Array, "b h w"]

NUM_MARKS = 4
NUM_SHADOWS = 2
# Bends of the slow changes of brightness along each side of the picture.
SHADING_NODES = 4


class AugmentStrength(NamedTuple):
    """How strongly pictures are changed, 0 to 1 by kind, and which share of them; see the module's table."""

    geometry: float = 0.0
    gray: float = 0.0
    texture: float = 0.0
    cuts: float = 0.0
    marks: float = 0.0
    share: float = 1.0

    @classmethod
    def from_config(cls, settings) -> "AugmentStrength":
        """The strengths that a config's `augment` gives.

        Raises:
          UserError: one lies outside of 0 to 1.
        """
        strength = cls(**{kind: float(settings[kind]) for kind in cls._fields})
        for kind, value in strength._asdict().items():
            if not 0 <= value <= 1:
                raise UserError(f"augment.{kind} is {value}, expected 0 (nothing) to 1 (as much as the house uses)")
        return strength


def augment_frames(
    key: Array, frames: UInt8[Array, "b h w"], masks: Frames, strength: AugmentStrength
) -> tuple[UInt8[Array, "b h w"], Frames]:
    """Changes pictures and, where the geometry does, their masks; see the module's table.

    Args:
      key: of `jax.random`.
      frames: grey levels.
      masks: probabilities.

    Returns:
      Frames and masks of the same shapes.
    """
    keys = jax.random.split(key, 5)
    whole, whole_masks = frames, masks
    frames = frames.astype(jnp.float32)
    if strength.geometry:
        frames, masks = warp(keys[0], frames, masks, strength.geometry)
    if strength.cuts:
        frames = cut(keys[1], frames, strength.cuts)
    if strength.gray:
        frames = change_levels(keys[2], frames, strength.gray)
    if strength.texture:
        frames = change_texture(keys[3], frames, strength.texture)
    if strength.marks:
        frames = draw_marks(keys[4], frames, strength.marks)
    # Stored pictures have whole grey levels, too.
    frames = jnp.rint(frames).astype(jnp.uint8)
    if strength.share == 1:
        return frames, masks
    changed = jax.random.bernoulli(jax.random.fold_in(key, 1), strength.share, (len(frames), 1, 1))
    return jnp.where(changed, frames, whole), jnp.where(changed, masks, whole_masks)


def warp(key: Array, frames: Frames, masks: Frames, strength: float) -> tuple[Frames, Frames]:
    """Turns by up to 15 degrees, zooms by up to 1/4 and 1/8 more along one axis, shears and shifts by up to 1/10.

    Bilinear; what comes from outside of the picture is black and no ventricle.
    """
    batch, height, width = frames.shape
    draws = _uniform(key, 6, batch, strength)[..., None, None]
    angle, zoom, aspect = jnp.pi / 12 * draws[0], 1.25 ** draws[1], 1.125 ** draws[2]
    shear, down, right = 0.1 * draws[3], 0.1 * height * draws[4], 0.1 * width * draws[5]
    y, x = jnp.mgrid[:height, :width].astype(jnp.float32)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    from_y = (cos * y - sin * x) / (zoom * aspect) + (height - 1) / 2 + down
    from_x = (sin * y + cos * x) / (zoom / aspect) + shear * y + (width - 1) / 2 + right

    def sample(image: Array, rows: Array, columns: Array) -> Array:
        return map_coordinates(image, (rows, columns), order=1, mode="constant")

    return jax.vmap(sample)(frames, from_y, from_x), jax.vmap(sample)(masks, from_y, from_x)


def change_levels(key: Array, frames: Frames, strength: float) -> Frames:
    """Gamma of 1/2 to 2, gain of 1/2 to 2, an offset of up to 25 grey levels, and gain that varies slowly by up to 2.

    Black stays black: what lies outside of the sector shows no echo at any gain.
    """
    batch = len(frames)
    keys = jax.random.split(key, 2)
    gamma, gain, offset = _uniform(keys[0], 3, batch, strength)[..., None, None]
    nodes = jax.random.uniform(keys[1], (batch, SHADING_NODES, SHADING_NODES), minval=-strength, maxval=strength)
    shading = jax.image.resize(nodes, frames.shape, "linear")
    level = (frames / 255) ** (2.0**gamma) * 2.0 ** (gain + shading)
    level = level + 0.1 * offset * jnp.clip(frames / 8, 0, 1)
    return 255 * jnp.clip(level, 0, 1)


def change_texture(key: Array, frames: Frames, strength: float) -> Frames:
    """Blurs half of the pictures by up to 1.5 pixels; adds grain (35 % of the level at most) and noise (8 levels)."""
    batch = len(frames)
    keys = jax.random.split(key, 4)
    sigma, grain, noise = jax.random.uniform(keys[0], (3, batch), maxval=strength)
    blurred = jax.random.bernoulli(keys[1], 0.5, (batch,))
    frames = blur(frames, jnp.where(blurred, 1.5 * sigma, 0.0))
    fine, coarse = jax.random.normal(keys[2], (2, *frames.shape))
    # Half of the grain is as coarse as speckle far from the probe.
    coarse = 2 * blur(coarse, jnp.full(batch, 1.0))
    pattern = jnp.where(jax.random.bernoulli(keys[3], 0.5, (batch, 1, 1)), coarse, fine)
    level = frames * (1 + 0.35 * grain[:, None, None] * pattern) + 8 * noise[:, None, None] * fine
    return jnp.clip(level, 0, 255)


def blur(frames: Frames, sigma_px: Float[Array, "b"], radius: int = 3) -> Frames:
    """A Gaussian for each picture, cut off at `radius` pixels; sigma 0 changes nothing. Edges are continued."""
    offsets = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-0.5 * jnp.square(offsets / jnp.maximum(sigma_px, 1e-3)[:, None]))
    weights = weights / weights.sum(1, keepdims=True)
    for axis in (1, 2):
        pads = [(radius, radius) if each == axis else (0, 0) for each in range(3)]
        padded = jnp.pad(frames, pads, mode="edge")
        size = frames.shape[axis]
        frames = sum(
            weights[:, tap, None, None] * jax.lax.slice_in_dim(padded, tap, tap + size, axis=axis)
            for tap in range(2 * radius + 1)
        )
    return frames


def cut(key: Array, frames: Frames, strength: float) -> Frames:
    """Shadows along rays from the probe, a bright veil below it, and black outside of a narrower sector.

    Each in a share of the pictures that grows with `strength`. The mask stays: a ventricle in the shadow is still one.
    """
    batch, height, width = frames.shape
    keys = jax.random.split(key, 4)
    rows, columns = jnp.mgrid[:height, :width].astype(jnp.float32)
    apex = 0.1 * width * jax.random.uniform(keys[0], (2, batch, 1, 1), minval=-1.0)
    down, right = rows + 2 - apex[0], columns - (width - 1) / 2 - apex[1]
    angle, depth = jnp.arctan2(right, jnp.maximum(down, 1.0)), jnp.hypot(down, right) / height
    middle, half_width, darkness, from_depth, chance = jax.random.uniform(keys[1], (5, NUM_SHADOWS, batch, 1, 1))
    present = chance < 0.25 * strength
    profile = jnp.exp(-jnp.square((angle - 1.6 * (middle - 0.5)) / (0.04 + 0.12 * half_width)))
    below = jax.nn.sigmoid(20 * (depth - 0.6 * from_depth))
    shadow = jnp.prod(1 - present * (0.4 + 0.6 * darkness) * profile * below, axis=0)
    size, level, chance = jax.random.uniform(keys[2], (3, batch, 1, 1))
    veil = (chance < 0.3 * strength) * 110 * level * jnp.exp(-depth / (0.08 + 0.2 * size)) * jnp.clip(frames / 4, 0, 1)
    left, right_edge, top, bottom, chance = jax.random.uniform(keys[3], (5, batch, 1, 1))
    inside = (angle > -0.5 - 0.4 * left) & (angle < 0.5 + 0.4 * right_edge)
    inside &= (depth > 0.1 * top) & (depth < 0.85 + 0.5 * bottom)
    inside |= chance > 0.3 * strength
    return jnp.clip((frames * shadow + veil) * inside, 0, 255)


def draw_marks(key: Array, frames: Frames, strength: float) -> Frames:
    """Up to four bright boxes of 1 to 4 by 1 to 16 pixels, none further from the border than a sixth of the picture."""
    batch, height, width = frames.shape
    keys = jax.random.split(key, 2)
    level, tall, wide, along, inward, chance = jax.random.uniform(keys[0], (6, NUM_MARKS, batch, 1, 1))
    side = jax.random.randint(keys[1], (NUM_MARKS, batch, 1, 1), 0, 4)
    tall, wide = 1 + 3 * tall, 1 + 15 * wide
    near = inward / 6
    top = jnp.select([side == 0, side == 1], [near, 1 - near], along) * height
    left = jnp.select([side == 2, side == 3], [near, 1 - near], along) * width
    rows, columns = jnp.mgrid[:height, :width].astype(jnp.float32)
    inside = (jnp.abs(rows - top) <= tall / 2) & (jnp.abs(columns - left) <= wide / 2) & (chance < 0.3 * strength)
    return jnp.maximum(frames, jnp.max(jnp.where(inside, 80 + 175 * level, 0.0), axis=0))


def _uniform(key: Array, count: int, batch: int, bound: float) -> Float[Array, "count b"]:
    return jax.random.uniform(key, (count, batch), minval=-bound, maxval=bound)
