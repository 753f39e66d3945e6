"""Intervals for any metric: the bootstrap over videos, and paired differences."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float
from scipy import special

from echojax.errors import UserError

# Resampled values held at once, so that a block stays in the processor's cache.
BLOCK_VALUES = 2**18
# Ends of "legacy90", as shares of the sorted values.
LEGACY_ENDS = (0.05, 0.95)

Statistic = TypeVar("Statistic", bound=Callable[..., np.ndarray])


class Interval(NamedTuple):
    """A metric with its interval. Undefined numbers are nan."""

    value: float
    low: float
    high: float
    n: int  # videos (or seeds) it is computed over


def batched(statistic: Statistic) -> Statistic:
    """Marks a statistic that reduces the last axis, so that `bootstrap` may call it on (b, n) arrays: fast."""
    statistic.batched = True
    return statistic


@batched
def mean(values: Float[np.ndarray, "*b n"]) -> Float[np.ndarray, "*b"]:
    """Mean over the last axis; a statistic for `bootstrap`."""
    return np.mean(values, axis=-1)


def bootstrap(
    statistic: Callable[..., np.ndarray],
    *arrays: np.ndarray,
    level: float = 0.95,
    num_samples: int = 10_000,
    seed: int = 0,
    method: str = "percentile",
) -> Interval:
    """Interval of `statistic(*arrays)` under resampling of videos with replacement (percentile bootstrap).

    Args:
        statistic: function of the arrays that returns one number; fast where it is marked with `batched`.
        *arrays: first axis is the video, the same in all. Videos without a known value must have been left out.
        level: share of the resampled values that lie inside the interval.
        num_samples: number of resamplings.
        seed: of the resampling; equal seeds resample equal videos, whatever the statistic.
        method: "percentile", or "legacy90": the 90 % interval of EchoNet-Dynamic and CSS between the sorted values
            number round(0.05 num_samples) and round(0.95 num_samples); `level` then has no say.

    Returns:
        The value on all videos, the interval's ends, and n. Resamplings in which the statistic is undefined (an absent
        class) are left out. One video has no interval: nan.

    Raises:
        UserError: no videos, arrays of different lengths, or values that are not finite.
    """
    if method not in ("percentile", "legacy90"):
        raise UserError(f"interval method is {method!r}; expected 'percentile' or 'legacy90'")
    if not 0 < level < 1:
        raise UserError(f"level of the interval is {level}; expected a share between 0 and 1, e.g. 0.95")
    arrays = _check_arrays(arrays)
    num_videos = len(arrays[0])
    value = float(statistic(*arrays))
    if num_videos == 1:
        return Interval(value, np.nan, np.nan, 1)
    samples = _resample(statistic, arrays, num_samples, seed)
    samples = np.sort(samples[~np.isnan(samples)])
    if len(samples) == 0:
        return Interval(value, np.nan, np.nan, num_videos)
    if method == "legacy90":
        ends = [samples[min(round(share * len(samples)), len(samples) - 1)] for share in LEGACY_ENDS]
    else:
        ends = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(ends[0]), float(ends[1]), num_videos)


def paired_difference(
    first: Float[np.ndarray, "n"],
    second: Float[np.ndarray, "n"],
    method: str = "bootstrap",
    level: float = 0.95,
    num_samples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of `first - second` over pairs that share a video or a seed, with its interval.

    Args:
        first, second: one number per pair, e.g. absolute EF errors of two models per video, or their Dice per seed.
        method: "bootstrap" over the pairs, for many of them; "t" for Student's interval, for a handful of seeds.
    """
    if method not in ("bootstrap", "t"):
        raise UserError(f"method of the paired difference is {method!r}; expected 'bootstrap' or 't'")
    first, second = _check_arrays((first, second))
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    if method == "bootstrap":
        return bootstrap(mean, difference, level=level, num_samples=num_samples, seed=seed)
    return mean_interval(difference, level)


def compare_seeds(
    first: Float[np.ndarray, "seeds n"], second: Float[np.ndarray, "seeds n"], metric: str
) -> dict[str, Interval]:
    """Mean of `first - second` of two models that were trained once per seed and tried on the same n videos.

    Returns:
        `<metric>_by_video`, paired by video (each video's mean over seeds): what other videos would change; and
        `<metric>_by_seed`, paired by seed (Student's t): what other training runs would.
    """
    first, second = np.asarray(first), np.asarray(second)
    return {
        f"{metric}_by_video": paired_difference(first.mean(axis=0), second.mean(axis=0)),
        f"{metric}_by_seed": paired_difference(first.mean(axis=1), second.mean(axis=1), method="t"),
    }


def mean_interval(values: Float[np.ndarray, "n"], level: float = 0.95) -> Interval:
    """Mean with Student's t interval, mean ± t · sd / √n; nan ends for a single value."""
    num_values = len(values)
    mean = float(np.mean(values))
    if num_values == 1:
        return Interval(mean, np.nan, np.nan, 1)
    half_width = float(t_quantile(level, num_values - 1) * np.std(values, ddof=1) / np.sqrt(num_values))
    return Interval(mean, mean - half_width, mean + half_width, num_values)


def t_quantile(level: float, degrees_of_freedom: int) -> float:
    """Half width, in standard errors, of Student's two-sided interval."""
    return float(special.stdtrit(degrees_of_freedom, (1 + level) / 2))


def _resample(
    statistic: Callable[..., np.ndarray], arrays: tuple[np.ndarray, ...], num_samples: int, seed: int
) -> Float[np.ndarray, "num_samples"]:
    rng = np.random.default_rng(seed)
    num_videos = len(arrays[0])
    block = max(1, BLOCK_VALUES // num_videos)
    samples = np.empty(num_samples)
    for start in range(0, num_samples, block):
        stop = min(start + block, num_samples)
        indices = rng.integers(num_videos, size=(stop - start, num_videos))
        if getattr(statistic, "batched", False):
            samples[start:stop] = statistic(*(array[indices] for array in arrays))
        else:
            samples[start:stop] = [statistic(*(array[row] for array in arrays)) for row in indices]
    return samples


def _check_arrays(arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    arrays = tuple(np.asarray(array) for array in arrays)
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) != 1:
        raise UserError(f"arrays hold {lengths} videos; expected one length, in the same order of videos")
    if lengths[0] == 0:
        raise UserError("no videos to evaluate; expected at least one with a known and a predicted value")
    for i, array in enumerate(arrays):
        bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        if len(bad):
            raise UserError(
                f"array {i + 1} of {len(arrays)} has {len(bad)} of {len(array)} values that are not finite (the first "
                f"at position {bad[0]}); leave out videos without a known value, and look at a model that predicts nan"
            )
    return arrays
