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
