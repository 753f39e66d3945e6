"""How well predicted LVEF agrees with the known one.

The metrics take (..., n) and reduce over n videos. Their unit is that of LVEF, percentage points, where they have one.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from echojax.evaluate.resampling import Interval, batched, mean_interval, t_quantile

Videos = Float[np.ndarray, "*b n"]
Values = Float[np.ndarray, "*b"]

# Share of a normal distribution within the limits of agreement, and its quantile.
AGREEMENT_SHARE = 0.95
AGREEMENT_SDS = 1.96


class Agreement(NamedTuple):
    """Bland-Altman statistics of prediction - target, each with its own interval."""

    bias: Interval
    lower: Interval
    upper: Interval
    sd: float


@batched
def mae(prediction: Videos, target: Videos) -> Values:
    """Mean absolute error."""
    return np.mean(np.abs(_errors(prediction, target)), axis=-1)


@batched
def rmse(prediction: Videos, target: Videos) -> Values:
    """Root of the mean squared error."""
    return np.sqrt(np.mean(_errors(prediction, target) ** 2, axis=-1))


@batched
def r2(prediction: Videos, target: Videos) -> Values:
    """Coefficient of determination 1 - Σ(p - t)² / Σ(t - mean t)² as scikit-learn's `r2_score`.

    nan for a constant target. It is not the square of `pearson`: bias and scale count, and it may be negative.
    """
    target = np.asarray(target, np.float64)
    residual = np.sum(_errors(prediction, target) ** 2, axis=-1)
    spread = np.sum((target - np.mean(target, axis=-1, keepdims=True)) ** 2, axis=-1)
    return 1 - _divide(residual, spread, defined=~_is_constant(target))


@batched
def pearson(prediction: Videos, target: Videos) -> Values:
    """Pearson's correlation r; nan where either side is constant."""
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    prediction_deviation = prediction - np.mean(prediction, axis=-1, keepdims=True)
    target_deviation = target - np.mean(target, axis=-1, keepdims=True)
    covariance = np.sum(prediction_deviation * target_deviation, axis=-1)
    scale = np.sqrt(np.sum(prediction_deviation**2, axis=-1) * np.sum(target_deviation**2, axis=-1))
    return _divide(covariance, scale, defined=~(_is_constant(prediction) | _is_constant(target)))


@batched
def bias(prediction: Videos, target: Videos) -> Values:
    """Mean of prediction - target: positive where the prediction is too high."""
    return np.mean(_errors(prediction, target), axis=-1)


@batched
def lower_limit(prediction: Videos, target: Videos) -> Values:
    """Bland and Altman's lower limit of agreement, bias - 1.96 sd of prediction - target; nan for a single video."""
    return bias(prediction, target) - AGREEMENT_SDS * _error_sd(prediction, target)


@batched
def upper_limit(prediction: Videos, target: Videos) -> Values:
    """Bland and Altman's upper limit of agreement, bias + 1.96 sd of prediction - target; nan for a single video."""
    return bias(prediction, target) + AGREEMENT_SDS * _error_sd(prediction, target)


def limits_of_agreement(
    prediction: Float[np.ndarray, "n"], target: Float[np.ndarray, "n"], level: float = 0.95
) -> Agreement:
    """Bland and Altman's bias and limits bias ± 1.96 sd, between which 95 % of differences are expected.

    Their intervals are Bland and Altman's (1999): t quantiles with standard errors sd / √n for the bias and
    sd · √(1/n + 1.96² / (2 (n - 1))) for the limits. One video has a bias and nothing else (nan).
    """
    errors = _errors(prediction, target)
    num_videos = len(errors)
    mean = mean_interval(errors, level)
    if num_videos == 1:
        unknown = Interval(np.nan, np.nan, np.nan, 1)
        return Agreement(mean, unknown, unknown, np.nan)
    sd = float(np.std(errors, ddof=1))
    standard_error = sd * np.sqrt(1 / num_videos + AGREEMENT_SDS**2 / (2 * (num_videos - 1)))
    half_width = t_quantile(level, num_videos - 1) * float(standard_error)
    lower, upper = (
        Interval(limit, limit - half_width, limit + half_width, num_videos)
        for limit in (mean.value - AGREEMENT_SDS * sd, mean.value + AGREEMENT_SDS * sd)
    )
    return Agreement(mean, lower, upper, sd)


def implied_sd(rmse_percent: float, r2_value: float) -> float:
    """Standard deviation of the true EF that a claimed pair of RMSE and R2 implies: RMSE / √(1 - R2).

    About 12.2 on EchoNet-Dynamic's test split: another number there means that the pair is not of that split. nan where
    R2 is not below 1.
    """
    if not r2_value < 1:
        return float("nan")
    return float(rmse_percent / np.sqrt(1 - r2_value))


def _errors(prediction: Videos, target: Videos) -> Videos:
    return np.asarray(prediction, np.float64) - np.asarray(target, np.float64)


def _error_sd(prediction: Videos, target: Videos) -> Values:
    errors = _errors(prediction, target)
    if errors.shape[-1] == 1:
        return np.full(errors.shape[:-1], np.nan)
    return np.std(errors, axis=-1, ddof=1)


def _is_constant(values: Videos) -> np.ndarray:
    return np.max(values, axis=-1) == np.min(values, axis=-1)


def _divide(numerator: Values, denominator: Values, defined: np.ndarray) -> Values:
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=defined)
