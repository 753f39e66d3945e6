import math

import numpy as np
import pytest

from echojax import evaluate


def pairs_won(score: np.ndarray, positive: np.ndarray) -> float:
    """AUC by its definition, over all pairs of a positive and a negative video."""
    difference = score[positive][:, None] - score[~positive][None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


@pytest.mark.parametrize("num_scores", [2, 5, 1000])
def test_auc_counts_pairs_with_ties_as_halves(num_scores):
    rng = np.random.default_rng(num_scores)
    score, positive = rng.integers(0, num_scores, (6, 40)), rng.random((6, 40)) < 0.4
    expected = [pairs_won(s, p) for s, p in zip(score, positive, strict=True)]
    np.testing.assert_allclose(evaluate.auc(score, positive), expected, rtol=1e-12)


@pytest.mark.parametrize("num_scores", [3, 1000])
def test_the_area_under_the_curve_is_the_auc(num_scores):
    rng = np.random.default_rng(num_scores)
    score, positive = rng.integers(0, num_scores, 50), rng.random(50) < 0.3
    curve = evaluate.roc_curve(score, positive)
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(evaluate.auc(score, positive), rel=1e-12)
    assert (curve.false_positive_rate[0], curve.true_positive_rate[0]) == (0, 0)
    assert (curve.false_positive_rate[-1], curve.true_positive_rate[-1]) == (1, 1)


def test_each_point_of_the_curve_is_what_its_cut_gives():
    score = np.array([3.0, 1.0, 2.0, 2.0, 0.0])
    positive = np.array([True, True, False, True, False])
    curve = evaluate.roc_curve(score, positive)
    for false_rate, true_rate, cut in zip(*curve, strict=True):
        assert true_rate == np.mean(score[positive] >= cut)
        assert false_rate == np.mean(score[~positive] >= cut)


def test_an_absent_class_has_no_curve():
    assert evaluate.roc_curve(np.arange(4.0), np.ones(4, bool)) is None
    assert math.isnan(evaluate.auc(np.arange(4.0), np.zeros(4, bool)))


def test_low_predicted_ef_finds_low_ef():
    ef = np.array([20.0, 30.0, 45.0, 60.0])
    assert evaluate.ef_auc(ef + 5, ef, 35, num_samples=50).value == 1
    assert evaluate.ef_auc(-ef, ef, 35, num_samples=50).value == 0
    assert evaluate.EF_THRESHOLDS == (50, 40, 35)
