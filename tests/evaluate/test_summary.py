import math

import numpy as np
import pytest

from echojax import evaluate


def test_ef_summary_holds_every_metric_over_the_same_videos():
    rng = np.random.default_rng(0)
    ef = rng.normal(50, 12, 80)
    prediction = ef + rng.normal(0, 5, 80)
    summary = evaluate.summarise_ef(prediction, ef, num_samples=200)
    aucs = [f"auc_below_{threshold}" for threshold in (50, 40, 35)]
    assert list(summary) == ["mae", "rmse", "r2", "pearson", "bias", *aucs]
    assert summary["mae"].value == evaluate.mae(prediction, ef)
    assert summary["rmse"].value ** 2 == pytest.approx((1 - summary["r2"].value) * np.var(ef))
    for value, low, high, n in summary.values():
        assert low <= value <= high
        assert n == 80


def test_ef_summary_of_videos_that_are_all_alike_leaves_undefined_what_is():
    summary = evaluate.summarise_ef(np.array([58.0, 62.0]), np.array([60.0, 60.0]), num_samples=50)
    assert summary["mae"].value == 2
    assert math.isnan(summary["r2"].value)
    assert math.isnan(summary["auc_below_50"].value)


def test_dice_summary_resamples_both_frames_of_a_video_together():
    rng = np.random.default_rng(0)
    target = rng.random((12, 2, 8, 8)) < 0.5
    prediction = target ^ (rng.random(target.shape) < rng.random((12, 1, 1, 1)) / 2)
    ed, es = (evaluate.dice_counts(prediction[:, i], target[:, i]) for i in (0, 1))
    summary = evaluate.summarise_dice(ed, es, num_samples=400)
    assert set(summary) == {"dice", "dice_ed", "dice_es", "dice_mean", "dice_ed_mean", "dice_es_mean"}
    assert summary["dice"].value == pytest.approx(evaluate.pooled_dice(prediction, target))
    assert summary["dice_ed"].value == pytest.approx(evaluate.pooled_dice(prediction[:, 0], target[:, 0]))
    assert summary["dice_es_mean"].value == pytest.approx(evaluate.dice(prediction[:, 1], target[:, 1]).mean())
    assert all(interval.n == 12 and interval.low < interval.value < interval.high for interval in summary.values())
