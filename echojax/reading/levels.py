"""Numbers of any type to grey levels from 0 to 255."""

import os

import numpy as np

from echojax.reading.clip import ClipError, Flag

_CHUNK_VALUES = 2**24


def to_levels(path: os.PathLike | str, values: np.ndarray) -> tuple[np.ndarray, tuple[Flag, ...]]:
    """Returns uint8 levels, and a flag where the scale had to be guessed.

    uint8 stays as it is; other whole numbers that all lie in 0 to 255 are taken as levels, fractions in 0 to 1 as
    shares of 255, fractions up to 255 as levels. Anything else is stretched so that its smallest value becomes 0 and
    its largest 255.

    Raises:
      ClipError: values that are no numbers, not finite, or only true and false.
    """
    if values.dtype == np.uint8:
        return values, ()
    if values.dtype.kind not in "iuf":
        what = "true and false alone: a mask, not a video" if values.dtype.kind == "b" else f"{values.dtype} values"
        raise ClipError(path, "wrong_type", f"holds {what}; expected whole numbers or fractions")
    low, high = values.min(), values.max()
    # The extremes of an array with one NaN are NaN.
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ClipError(path, "not_finite", "holds NaN or infinite values; expected grey levels from 0 to 255")
    low, high = float(low), float(high)
    if low >= 0 and values.dtype.kind == "f" and high <= 1:
        return _scale(values, 0.0, 255.0), ()
    if low >= 0 and high <= 255:
        return _scale(values, 0.0, 1.0), ()
    text = f"grey levels were stretched from {low:g}..{high:g} to 0..255, for want of a scale in the file"
    factor = 255.0 / (high - low) if high > low else 0.0
    return _scale(values, low, factor), (Flag("levels_stretched", text),)


def _scale(values: np.ndarray, offset: float, factor: float) -> np.ndarray:
    """`(values - offset) * factor`, rounded; in pieces, so that no fractional copy of all of them exists."""
    levels = np.empty(values.shape, np.uint8)
    step = max(1, _CHUNK_VALUES // max(1, values[0].size))
    for start in range(0, len(values), step):
        piece = values[start : start + step].astype(np.float64)
        levels[start : start + step] = np.clip(np.rint((piece - offset) * factor), 0, 255)
    return levels
