"""Metrics with intervals over videos, and the files that hold them. NumPy and SciPy only.

>>> from echojax import evaluate
>>> value, low, high, n = evaluate.bootstrap(evaluate.mae, ef_predicted, ef)
>>> evaluate.update_metrics("runs/kd/metrics.json", "student", evaluate.summarise_ef(ef_predicted, ef), data="real")
"""

from echojax.evaluate.overlap import (
    DiceCounts,
    dice,
    dice_counts,
    dice_from_counts,
    pooled_dice,
    pooled_dice_from_counts,
)
from echojax.evaluate.regression import Agreement, bias, implied_sd, limits_of_agreement, mae, pearson, r2, rmse
from echojax.evaluate.resampling import Interval, batched, bootstrap, mean, mean_interval, paired_difference
from echojax.evaluate.results import load_metrics, metric_entry, update_metrics
from echojax.evaluate.roc import EF_THRESHOLDS, RocCurve, auc, ef_auc, roc_curve
from echojax.evaluate.summary import summarise_dice, summarise_ef
from echojax.evaluate.tables import write_clips, write_csv, write_dice, write_predictions

__all__ = [
    "EF_THRESHOLDS",
    "Agreement",
    "DiceCounts",
    "Interval",
    "RocCurve",
    "auc",
    "batched",
    "bias",
    "bootstrap",
    "dice",
    "dice_counts",
    "dice_from_counts",
    "ef_auc",
    "implied_sd",
    "limits_of_agreement",
    "load_metrics",
    "mae",
    "mean",
    "mean_interval",
    "metric_entry",
    "paired_difference",
    "pearson",
    "pooled_dice",
    "pooled_dice_from_counts",
    "r2",
    "rmse",
    "roc_curve",
    "summarise_dice",
    "summarise_ef",
    "update_metrics",
    "write_clips",
    "write_csv",
    "write_dice",
    "write_predictions",
]
