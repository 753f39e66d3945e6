"""Finding reduced function: receiver operating characteristic of predicted LVEF against thresholds of the known one."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from echojax.evaluate.resampling import Interval, batched, bootstrap

# Percent. Below 50: reduced; 40: heart failure with reduced EF; 35: an implanted defibrillator is considered.
EF_THRESHOLDS = (50, 40, 35)


class RocCurve(NamedTuple):
    """Points of the curve from (0, 0) to (1, 1); `cut` is the score at or above which a video counts as positive."""

    false_positive_rate: Float[np.ndarray, "k"]
    true_positive_rate: Float[np.ndarray, "k"]
    cut: Float[np.ndarray, "k"]


def roc_curve(score: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"]) -> RocCurve | None:
    """The curve over every distinct score, higher meaning more likely positive; None where a class is absent."""
    score, positive = np.asarray(score, np.float64), np.asarray(positive, bool)
    num_positive = np.count_nonzero(positive)
    num_negative = len(positive) - num_positive
    if num_positive == 0 or num_negative == 0:
        return None
    order = np.argsort(-score, kind="stable")
    score, positive = score[order], positive[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    true_positives = np.cumsum(positive)[last_of_ties]
    false_positives = last_of_ties + 1 - true_positives
    return RocCurve(
        np.append(0.0, false_positives / num_negative),
        np.append(0.0, true_positives / num_positive),
        np.append(np.inf, score[last_of_ties]),
    )


@batched
def auc(score: Float[np.ndarray, "*b n"], positive: Bool[np.ndarray, "*b n"]) -> Float[np.ndarray, "*b"]:
    """Area under the ROC curve: the chance that a positive video scores above a negative one, ties counting half.

    nan where a class is absent.
    """
    order = np.argsort(score, axis=-1)
    score = np.take_along_axis(np.asarray(score, np.float64), order, axis=-1)
    positive = np.take_along_axis(np.asarray(positive, bool), order, axis=-1)
    negatives = np.cumsum(~positive, axis=-1)
    num_negative = negatives[..., -1]
    num_positive = positive.shape[-1] - num_negative
    # Negatives below and up to each score. Both counts grow along the order, so a running maximum carries the count at
    # the first of tied scores forward, and a running minimum that at the last of them back.
    is_first = np.concatenate([np.ones_like(positive[..., :1]), np.diff(score, axis=-1) > 0], axis=-1)
    is_last = np.concatenate([is_first[..., 1:], np.ones_like(positive[..., :1])], axis=-1)
    below = np.maximum.accumulate(np.where(is_first, negatives - ~positive, 0), axis=-1)
    up_to = np.where(is_last, negatives, num_negative[..., None])
    up_to = np.minimum.accumulate(up_to[..., ::-1], axis=-1)[..., ::-1]
    wins = np.sum(np.where(positive, below + up_to, 0), axis=-1) / 2
    pairs = num_positive * num_negative
    return np.divide(wins, pairs, out=np.full(np.shape(wins), np.nan), where=pairs > 0)


def ef_auc(
    ef_predicted: Float[np.ndarray, "n"], ef: Float[np.ndarray, "n"], threshold_percent: float, **options
) -> Interval:
    """Area under the curve of predicted EF for finding known EF < threshold; `options` are those of `bootstrap`."""
    return bootstrap(auc, -np.asarray(ef_predicted, np.float64), np.asarray(ef) < threshold_percent, **options)
