"""Overlap of masks: the Dice coefficient per mask, per video and pooled over a data set (CSS section V)."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from echojax.evaluate.resampling import batched


@dataclasses.dataclass(frozen=True, eq=False)
class DiceCounts:
    """What Dice is made of: add counts to pool frames, videos or batches."""

    intersection: Int[np.ndarray, "*b"]  # pixels in both masks, I
    total: Int[np.ndarray, "*b"]  # pixels of one mask plus pixels of the other, union + I

    def __add__(self, other: "DiceCounts") -> "DiceCounts":
        return DiceCounts(self.intersection + other.intersection, self.total + other.total)


def dice_counts(prediction: Bool[np.ndarray, "*b h w"], target: Bool[np.ndarray, "*b h w"]) -> DiceCounts:
    """Counts of pixels per mask.

    Raises:
        ValueError: the masks are not bool (threshold logits at 0, probabilities at 0.5) or differ in shape.
    """
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.dtype != bool or target.dtype != bool:
        raise ValueError(f"masks have dtypes {prediction.dtype} and {target.dtype}; expected bool, e.g. logits > 0")
    if prediction.shape != target.shape:
        raise ValueError(f"masks have shapes {prediction.shape} and {target.shape}; expected the same (..., h, w)")
    pixels = (-2, -1)
    total = np.count_nonzero(prediction, axis=pixels) + np.count_nonzero(target, axis=pixels)
    return DiceCounts(np.asarray(np.count_nonzero(prediction & target, axis=pixels)), np.asarray(total))


def dice_from_counts(counts: DiceCounts) -> Float[np.ndarray, "*b"]:
    """2 I / (U + I) for each count; 1 where both masks are empty."""
    intersection, total = np.asarray(counts.intersection), np.asarray(counts.total)
    return np.where(total == 0, 1.0, 2.0 * intersection / np.maximum(total, 1))


def dice(prediction: Bool[np.ndarray, "*b h w"], target: Bool[np.ndarray, "*b h w"]) -> Float[np.ndarray, "*b"]:
    """Dice coefficient 2 I / (U + I) of each mask, where I and U are the pixels of intersection and union.

    Two empty masks agree: 1.
    """
    return dice_from_counts(dice_counts(prediction, target))


def pooled_dice(prediction: Bool[np.ndarray, "*b h w"], target: Bool[np.ndarray, "*b h w"]) -> float:
    """Dice of all masks together, 2 ΣI / (ΣU + ΣI): large ventricles weigh more than in the mean of `dice`.

    The published numbers of EchoNet-Dynamic and CSS are of this kind.
    """
    counts = dice_counts(prediction, target)
    return float(pooled_dice_from_counts(np.ravel(counts.intersection), np.ravel(counts.total)))


@batched
def pooled_dice_from_counts(
    intersection: Int[np.ndarray, "*b n"], total: Int[np.ndarray, "*b n"]
) -> Float[np.ndarray, "*b"]:
    """`pooled_dice` over n videos from their counts; a statistic for `bootstrap`."""
    return dice_from_counts(DiceCounts(np.sum(intersection, axis=-1), np.sum(total, axis=-1)))
