"""The metrics that a stage reports, each with its interval over videos."""

import numpy as np
from jaxtyping import Float

from echojax.evaluate import regression, roc
from echojax.evaluate.overlap import DiceCounts, dice_from_counts, pooled_dice_from_counts
from echojax.evaluate.resampling import Interval, bootstrap, mean

EF_METRICS = {
    "mae": regression.mae,
    "rmse": regression.rmse,
    "r2": regression.r2,
    "pearson": regression.pearson,
    "bias": regression.bias,
}


AGREEMENT_METRICS = {
    **EF_METRICS,
    "lower_limit": regression.lower_limit,
    "upper_limit": regression.upper_limit,
}


def summarise_agreement(lvef: Float[np.ndarray, "n"], known: Float[np.ndarray, "n"], **options) -> dict[str, Interval]:
    """MAE, RMSE, R2, Pearson's r, bias and the 95 % limits of agreement of LVEF, each with its bootstrap interval.

    Args:
        lvef, known: percent. Videos in which either is not finite are left out: `n` says how many remain.
        options: those of `bootstrap`.

    Returns:
        {"mae", "rmse", "r2", "pearson", "bias", "lower_limit", "upper_limit"}; nan where undefined.
    """
    lvef, known = np.asarray(lvef, np.float64), np.asarray(known, np.float64)
    both = np.isfinite(lvef) & np.isfinite(known)
    if not both.any():
        return dict.fromkeys(AGREEMENT_METRICS, Interval(np.nan, np.nan, np.nan, 0))
    return {name: bootstrap(metric, lvef[both], known[both], **options) for name, metric in AGREEMENT_METRICS.items()}


def summarise_ef(ef_predicted: Float[np.ndarray, "n"], ef: Float[np.ndarray, "n"], **options) -> dict[str, Interval]:
    """MAE, RMSE, R2, Pearson's r, bias and the AUC for EF < 50, 40 and 35 of n videos.

    Args:
        ef_predicted, ef: percent. Videos of unknown EF must have been left out.
        options: those of `bootstrap`.

    Returns:
        {"mae", "rmse", "r2", "pearson", "bias", "auc_below_50", "auc_below_40", "auc_below_35"}; nan where undefined.
    """
    summary = {name: bootstrap(metric, ef_predicted, ef, **options) for name, metric in EF_METRICS.items()}
    for threshold in roc.EF_THRESHOLDS:
        summary[f"auc_below_{threshold}"] = roc.ef_auc(ef_predicted, ef, threshold, **options)
    return summary


def summarise_dice(ed: DiceCounts, es: DiceCounts, **options) -> dict[str, Interval]:
    """Dice pooled over n videos, and the mean of their own Dice, for ED, ES and both frames together.

    Args:
        ed, es: counts of each video's traced frames, shape (n,), in the same order of videos.
        options: those of `bootstrap`. Both frames of a video are resampled together.

    Returns:
        {"dice", "dice_ed", "dice_es"} pooled, {"dice_mean", "dice_ed_mean", "dice_es_mean"} averaged over videos.
    """
    summary = {}
    for suffix, counts in (("", ed + es), ("_ed", ed), ("_es", es)):
        columns = (counts.intersection, counts.total)
        summary[f"dice{suffix}"] = bootstrap(pooled_dice_from_counts, *columns, **options)
        summary[f"dice{suffix}_mean"] = bootstrap(mean, dice_from_counts(counts), **options)
    return summary
