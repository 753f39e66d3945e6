"""Metrics with intervals over videos, and the files that hold them. NumPy and SciPy only.

>>> from echojax import evaluate
>>> value, low, high, n = evaluate.bootstrap(evaluate.mae, ef_predicted, ef)
>>> evaluate.update_metrics("runs/kd/metrics.json", "student", evaluate.summarise_ef(ef_predicted, ef), data="real")
"""

from echojax.evaluate.annotators import annotator_agreement, group_dice, tracings_to_masks
from echojax.evaluate.dfkd import (
    MaskedVideo,
    VideoScores,
    evaluate_videos,
    score_columns,
    score_video,
    summarise_afd,
    summarise_videos,
)
from echojax.evaluate.frame_distance import FrameDistance, afd, picked_frame, teacher_frame
from echojax.evaluate.overlap import (
    DiceCounts,
    dice,
    dice_counts,
    dice_from_counts,
    pooled_dice,
    pooled_dice_from_counts,
)
from echojax.evaluate.regression import (
    Agreement,
    bias,
    implied_sd,
    limits_of_agreement,
    lower_limit,
    mae,
    pearson,
    r2,
    rmse,
    upper_limit,
)
from echojax.evaluate.resampling import (
    Interval,
    batched,
    bootstrap,
    compare_seeds,
    mean,
    mean_interval,
    paired_difference,
)
from echojax.evaluate.results import load_metrics, metric_entry, update_metrics
from echojax.evaluate.roc import EF_THRESHOLDS, RocCurve, auc, ef_auc, roc_curve
from echojax.evaluate.saturation import MIN_SIZES, Saturation, SaturationBand, bootstrap_saturation, fit_saturation
from echojax.evaluate.summary import summarise_agreement, summarise_dice, summarise_ef
from echojax.evaluate.tables import write_clips, write_csv, write_dice, write_predictions

__all__ = [
    "EF_THRESHOLDS",
    "MIN_SIZES",
    "Agreement",
    "DiceCounts",
    "FrameDistance",
    "Interval",
    "MaskedVideo",
    "RocCurve",
    "Saturation",
    "SaturationBand",
    "VideoScores",
    "afd",
    "annotator_agreement",
    "auc",
    "batched",
    "bias",
    "bootstrap",
    "bootstrap_saturation",
    "compare_seeds",
    "dice",
    "dice_counts",
    "dice_from_counts",
    "ef_auc",
    "evaluate_videos",
    "fit_saturation",
    "group_dice",
    "implied_sd",
    "limits_of_agreement",
    "load_metrics",
    "lower_limit",
    "mae",
    "mean",
    "mean_interval",
    "metric_entry",
    "paired_difference",
    "pearson",
    "picked_frame",
    "pooled_dice",
    "pooled_dice_from_counts",
    "r2",
    "rmse",
    "roc_curve",
    "score_columns",
    "score_video",
    "summarise_afd",
    "summarise_agreement",
    "summarise_dice",
    "summarise_ef",
    "summarise_videos",
    "teacher_frame",
    "tracings_to_masks",
    "update_metrics",
    "upper_limit",
    "write_clips",
    "write_csv",
    "write_dice",
    "write_predictions",
]
