"""Test-time augmentation: the same clip slightly shifted and with another gamma, and its masks brought back.

What a network sees in them is the same heart, so that what it says of them should be the same, too. Shifts are whole
pixels: they are undone exactly.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8


class View(NamedTuple):
    """Shifts down and right in pixels; what grey levels, as shares of 255, are raised to."""

    down_px: int = 0
    right_px: int = 0
    gamma: float = 1.0


# The clip as it is comes first; the others in pairs of opposite changes.
VIEWS = (View(), View(2, -3, 0.85), View(-2, 3, 1.18), View(-3, -2, 1.1), View(3, 2, 0.9))


def segment_view(
    segment: Callable[[np.ndarray], np.ndarray], frames: UInt8[np.ndarray, "t s s c"], view: View
) -> Float[np.ndarray, "t s s"]:
    """Probabilities of the ventricle as a network sees them in a view, in the clip's own place."""
    logits = segment(_brighten(_shift(frames, view.down_px, view.right_px), view.gamma))
    return _shift(to_probabilities(logits), -view.down_px, -view.right_px)


def to_probabilities(logits: Float[np.ndarray, "t s s"]) -> Float[np.ndarray, "t s s"]:
    # Beyond 30 the exponential of float32 says nothing new, and later overflows.
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def _shift(values: np.ndarray, down_px: int, right_px: int) -> np.ndarray:
    """Moves pictures (t, h, w, ...) by whole pixels; what comes in is 0, as outside of the sector."""
    shifted = np.zeros_like(values)
    height, width = values.shape[1:3]
    rows, columns = (slice(max(0, by), size + min(0, by)) for by, size in ((down_px, height), (right_px, width)))
    from_rows, from_columns = (
        slice(max(0, -by), size + min(0, -by)) for by, size in ((down_px, height), (right_px, width))
    )
    shifted[:, rows, columns] = values[:, from_rows, from_columns]
    return shifted


def _brighten(frames: UInt8[np.ndarray, "t s s c"], gamma: float) -> UInt8[np.ndarray, "t s s c"]:
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return table[frames]
