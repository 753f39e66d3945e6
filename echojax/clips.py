"""Which frames make a clip, and what a network is shown of them: pure functions, no files.

Host side, numpy: which starts a clip of `length` frames, `period` frames apart, may have; how they are drawn; which
stored frames they need; how videos are split for semi-supervision. `rng` is a numpy `Generator`.

Device side, jax: stored grey levels to network input (`prepare_clips`, `prepare_student`), jit-able, batch first.

A video of fewer than length * period frames counts as that long: the frames it lacks come after its end and are the
mean colour in the picture (0 after normalisation) and background in the mask channel (-1).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Int, UInt8

from echojax.errors import UserError

# Of the 7465 training videos of EchoNet-Dynamic, 920 are labelled and 6440 unlabelled in the published run.
_PUBLISHED_VIDEOS, _PUBLISHED_LABELLED, _PUBLISHED_UNLABELLED = 7465, 920, 6440

BACKGROUND = -1.0
"""The mask channel where there is certainly no left ventricle."""


class ClipSlice(NamedTuple):
    """The stored frames of a clip, `frames[start:stop:step]`; the clip's remaining frames lie beyond the video."""

    start: int
    stop: int
    step: int
    num_valid: int


class StudentRecipe(NamedTuple):
    """What EchoDFKD's student is shown of a clip and its target.

    Attributes:
      decimate: every how many-th row and column of frames and targets, without a filter.
      hard: targets are 0 or 1 (the teacher's p >= 1/2) instead of its probabilities.
    """

    decimate: int
    hard: bool


STUDENT_RECIPES = {
    "soft112": StudentRecipe(decimate=1, hard=False),
    "soft56": StudentRecipe(decimate=2, hard=False),
    "hard112": StudentRecipe(decimate=1, hard=True),
}
"""`soft56` is what the original's published script trains with, `hard112` what it had when the paper was written."""


class SslSplit(NamedTuple):
    """Rows of a list of training videos, in the order drawn; rows in neither stay unused."""

    labelled: np.ndarray
    unlabelled: np.ndarray


def num_starts(num_frames: int, length: int, period: int) -> int:
    """How many clips a video holds: T - 62 for 32 frames of period 2, and 2 if the video has fewer than 64 frames."""
    return max(num_frames, length * period) - (length - 1) * period


def all_starts(num_frames: int, length: int, period: int) -> np.ndarray:
    """Every start of a clip, ascending: int64 (num_starts,)."""
    return np.arange(num_starts(num_frames, length, period))


def annotated_starts(frame: int, num_frames: int, length: int, period: int) -> np.ndarray:
    """Starts of the clips that have the traced `frame` among their frames, ascending.

    A frame beyond the end of the video has no such clip; then every start is returned.
    """
    first = max(frame % period, frame - (length - 1) * period)
    stop = min(num_starts(num_frames, length, period), frame + 1)
    starts = np.arange(first, stop, period)
    return starts if len(starts) else all_starts(num_frames, length, period)


def uniform_start(rng: np.random.Generator, num_frames: int, length: int, period: int) -> int:
    """One start, every clip of the video equally likely."""
    return int(rng.integers(num_starts(num_frames, length, period)))


def annotated_start(rng: np.random.Generator, frame: int, num_frames: int, length: int, period: int) -> int:
    """One of `annotated_starts`, all equally likely."""
    return int(rng.choice(annotated_starts(frame, num_frames, length, period)))


def centre_start(num_frames: int, length: int, period: int) -> int:
    """The start of the clip in the middle of the video; of two such clips the earlier."""
    return (num_starts(num_frames, length, period) - 1) // 2


def draw_period(rng: np.random.Generator, num_frames: int, length: int, periods: Sequence[int]) -> int:
    """One of the periods with which the clip fits into the video, all equally likely; the shortest if none fits."""
    fitting = [period for period in periods if length * period <= num_frames] or [min(periods)]
    return int(fitting[rng.integers(len(fitting))])


def template_start(rng: np.random.Generator, template: int = 15, chunk: int = 3, offset: int = 2) -> int:
    """The `start` of `losses.cyclic_loss`: uniform over 0..template-chunk-offset."""
    return int(rng.integers(template - chunk - offset + 1))


def crop_offsets(rng: np.random.Generator, pad: int) -> np.ndarray:
    """Row and column offset of one pad-crop: int32 (2,), each uniform over 0..2*pad-1.

    2*pad is left out as in the original, so that shifts run from -pad to pad-1 pixels.
    """
    return rng.integers(2 * pad, size=2, dtype=np.int32)


def clip_slice(start: int, length: int, period: int, num_frames: int) -> ClipSlice:
    """The stored frames of the clip that begins at `start`, in a video of `num_frames` frames."""
    remaining = max(num_frames - start, 0)
    num_valid = min(length, -(-remaining // period))
    return ClipSlice(start, start + max((num_valid - 1) * period + 1, 0), period, num_valid)


def default_ssl_counts(num_videos: int) -> tuple[int, int]:
    """Labelled and unlabelled counts: 920 and 6440 of 7465 as published, the same shares of any other number."""
    return (
        round(num_videos * _PUBLISHED_LABELLED / _PUBLISHED_VIDEOS),
        round(num_videos * _PUBLISHED_UNLABELLED / _PUBLISHED_VIDEOS),
    )


def ssl_split(num_videos: int, num_labelled: int, num_unlabelled: int) -> SslSplit:
    """The original's split for semi-supervision: rows shuffled by numpy's legacy generator with seed 0.

    Args:
      num_videos: rows of the training split in the source's list, before anything is left out.
      num_labelled: how many of the shuffled rows come first, as labelled.
      num_unlabelled: how many follow, as unlabelled.

    Raises:
      UserError: when there are fewer videos than asked for.
    """
    if min(num_labelled, num_unlabelled) < 0 or num_labelled + num_unlabelled > num_videos:
        raise UserError(
            f"{num_labelled} labelled and {num_unlabelled} unlabelled videos asked for, but the training split has"
            f" {num_videos}; lower num_labelled or num_unlabelled"
        )
    rows = np.arange(num_videos)
    np.random.RandomState(0).shuffle(rows)
    return SslSplit(rows[:num_labelled], rows[num_labelled : num_labelled + num_unlabelled])


def statistics_choice(num_videos: int, num_chosen: int = 128, seed: int = 0) -> np.ndarray:
    """Rows of the videos whose grey levels give mean and standard deviation; all rows where there are fewer."""
    return np.random.RandomState(seed).choice(num_videos, min(num_chosen, num_videos), replace=False)


def normalise(
    frames: UInt8[Array, "*b h w c"], mean: Float[ArrayLike, "3"], std: Float[ArrayLike, "3"]
) -> Float[Array, "*b h w 3"]:
    """Grey levels 0..255 to (x - mean) / std per channel, float32; a single channel is shown as three."""
    return (frames.astype(jnp.float32) - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def mask_channel(masks: UInt8[Array, "*shape"] | Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Predicted masks to 2p - 1 in [-1, 1]: p is m / 255 of a stored uint8 mask, the sigmoid of a float logit."""
    if masks.dtype == jnp.uint8:
        return masks.astype(jnp.float32) * (2 / 255) - 1
    # 2 sigmoid(z) - 1, without the cancellation around z = 0.
    return jnp.tanh(masks.astype(jnp.float32) / 2)


def pad_crop(
    clips: Float[Array, "b t h w c"], offsets: Int[Array, "b 2"], pad: int, fill: float
) -> Float[Array, "b t h w c"]:
    """Cuts each clip's own size out of itself with `pad` pixels of `fill` around it.

    Offsets (row, column) are those of the cut on that canvas, the same for all frames; (pad, pad) changes nothing.
    """
    _, *size = clips.shape
    canvas = jnp.pad(clips, ((0, 0), (0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=fill)
    return jax.vmap(lambda clip, offset: lax.dynamic_slice(clip, (0, offset[0], offset[1], 0), size))(canvas, offsets)


def prepare_clips(
    frames: UInt8[Array, "b t h w c"],
    num_valid: Int[Array, "b"],
    mean: Float[ArrayLike, "3"],
    std: Float[ArrayLike, "3"],
    masks: UInt8[Array, "b t h w"] | Float[Array, "b t h w"] | None = None,
    crop: Int[Array, "b 2"] | None = None,
    pad: int = 12,
    mask_pad: float = BACKGROUND,
    decimate: int = 1,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "b t h2 w2 channels"]:
    """Stored clips to network input: normalised RGB, and the mask as a fourth channel where there is one.

    Args:
      frames: grey levels of one or three channels; what lies beyond `num_valid` is not looked at.
      num_valid: how many frames of each clip exist in its video.
      mean: grey level that becomes 0, per channel.
      std: grey levels that become 1, per channel.
      masks: predicted masks of the same frames, as `mask_channel` takes them.
      crop: offsets for `pad_crop`; None leaves the picture where it is.
      pad: how many pixels around the picture a crop may reach; only with `crop`.
      mask_pad: the mask channel of those pixels; 0 (as probable as not) is the original's.
      decimate: keeps every so many-th row and column, without a filter, once all else is done.
      dtype: of the result; everything before is float32.

    Returns:
      Three channels, or four with masks. Frames beyond `num_valid` are 0 in the picture and -1 in the mask channel.
    """
    exists = (jnp.arange(frames.shape[1])[None] < num_valid[:, None])[..., None, None, None]

    def show(values: Array, beyond_end: float, border: float) -> Array:
        clip = jnp.where(exists, values, beyond_end).astype(dtype)
        clip = clip if crop is None else pad_crop(clip, crop, pad, border)
        return clip[:, :, ::decimate, ::decimate]

    picture = show(normalise(frames, mean, std), beyond_end=0.0, border=0.0)
    if masks is None:
        return picture
    channel = show(mask_channel(masks)[..., None], beyond_end=BACKGROUND, border=mask_pad)
    return jnp.concatenate([picture, channel], axis=-1)


def to_gray(frames: UInt8[ArrayLike, "*b c"]) -> UInt8[ArrayLike, "*b"]:
    """Grey levels of RGB pixels, bit for bit OpenCV's RGB2GRAY; one channel is only squeezed. Numpy or jax arrays.

    The sum 0.299 R + 0.587 G + 0.114 B in fixed point with 15 bits, rounded; R = G = B leaves the level as it is.
    """
    if frames.shape[-1] == 1:
        return frames[..., 0]
    red, green, blue = (frames[..., channel].astype(np.int32) for channel in range(3))
    return ((9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15).astype(np.uint8)


def target_probabilities(
    masks: UInt8[Array, "*shape"] | Float[Array, "*shape"], hard: bool = False
) -> Float[Array, "*shape"]:
    """Stored masks to what a student is to predict: the teacher's probabilities p, or with `hard` 1 where p >= 1/2.

    p is m / 255 of a stored uint8 mask, the sigmoid of a float logit. A mask m = round(255 p) has m >= 128 where
    p >= 1/2, exactly; of one rounded down only p >= 128 / 255 can be told.
    """
    if masks.dtype == jnp.uint8:
        return jnp.where(masks >= 128, 1.0, 0.0) if hard else masks.astype(jnp.float32) / 255
    logits = masks.astype(jnp.float32)
    return jnp.where(logits >= 0, 1.0, 0.0) if hard else jax.nn.sigmoid(logits)


def prepare_student(
    frames: UInt8[Array, "b t h w"],
    targets: UInt8[Array, "b t h w"] | Float[Array, "b t h w"],
    recipe: StudentRecipe,
) -> tuple[Float[Array, "b t h2 w2 1"], Float[Array, "b t h2 w2"]]:
    """Stored clips and masks to EchoDFKD's student: grey levels 0 to 255, not scaled, and targets in [0, 1]."""
    step = recipe.decimate
    frames, targets = frames[..., ::step, ::step], targets[..., ::step, ::step]
    return frames.astype(jnp.float32)[..., None], target_probabilities(targets, recipe.hard)


def student_recipe(name: str) -> StudentRecipe:
    """The recipe of this name.

    Raises:
      UserError: there is none.
    """
    if name not in STUDENT_RECIPES:
        raise UserError(f"student recipe {name!r} is unknown; expected one of {', '.join(STUDENT_RECIPES)}")
    return STUDENT_RECIPES[name]
