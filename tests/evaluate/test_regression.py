import math

import numpy as np
import pytest

from echojax import evaluate

# Computed with scikit-learn 1.9.1 (r2_score, mean_absolute_error, mean_squared_error) and scipy.stats.pearsonr.
TARGET = np.array([78.5, 59.1, 53.2, 35.0, 62.4, 21.9, 55.8])
PREDICTION = np.array([70.1, 61.0, 55.5, 41.2, 60.3, 30.0, 50.5])
SKLEARN = {"mae": 4.9, "rmse": 5.555049183272048, "r2": 0.8957075145050888, "pearson": 0.9804652304401832}


def simulated(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    ef = rng.normal(55, 12, n)
    return ef + rng.normal(1, 5, n), ef


def test_values_equal_those_of_scikit_learn():
    assert evaluate.mae(PREDICTION, TARGET) == pytest.approx(SKLEARN["mae"], rel=1e-12)
    assert evaluate.rmse(PREDICTION, TARGET) == pytest.approx(SKLEARN["rmse"], rel=1e-12)
    assert evaluate.r2(PREDICTION, TARGET) == pytest.approx(SKLEARN["r2"], rel=1e-12)
    assert evaluate.pearson(PREDICTION, TARGET) == pytest.approx(SKLEARN["pearson"], rel=1e-12)
    assert evaluate.bias(PREDICTION, TARGET) == pytest.approx((PREDICTION - TARGET).mean(), rel=1e-12)


def test_rmse_and_r2_imply_the_variance_of_the_target():
    prediction, ef = simulated()
    rmse, r2 = evaluate.rmse(prediction, ef), evaluate.r2(prediction, ef)
    assert rmse**2 == pytest.approx((1 - r2) * np.var(ef), rel=1e-12)
    assert evaluate.implied_sd(rmse, r2) == pytest.approx(np.std(ef), rel=1e-12)


def test_published_numbers_imply_the_test_splits_standard_deviation():
    for rmse, r2 in ((5.32, 0.81), (6.90, 0.676), (6.57, 0.711)):
        assert evaluate.implied_sd(rmse, r2) == pytest.approx(12.2, abs=0.1)
    assert math.isnan(evaluate.implied_sd(0.0, 1.0))


def test_the_mean_predictor_has_no_r2_and_worse_ones_a_negative_one():
    _, ef = simulated()
    assert evaluate.r2(np.full_like(ef, ef.mean()), ef) == pytest.approx(0, abs=1e-12)
    assert evaluate.r2(np.full_like(ef, 0.0), ef) < -10


def test_r2_sees_a_bias_that_correlation_does_not():
    _, ef = simulated()
    assert evaluate.pearson(2 * ef + 10, ef) == pytest.approx(1)
    assert evaluate.r2(2 * ef + 10, ef) < 0


@pytest.mark.parametrize("metric", [evaluate.mae, evaluate.rmse, evaluate.r2, evaluate.pearson, evaluate.bias])
def test_leading_axes_are_batches(metric):
    prediction, ef = (values.reshape(4, 100) for values in simulated())
    expected = [metric(p, t) for p, t in zip(prediction, ef, strict=True)]
    np.testing.assert_allclose(metric(prediction, ef), expected, rtol=1e-12)


def test_constant_values_leave_r2_and_correlation_undefined():
    constant, varied = np.full(5, 55.6), np.arange(5.0)
    assert math.isnan(evaluate.r2(varied, constant))
    assert math.isnan(evaluate.pearson(varied, constant))
    assert math.isnan(evaluate.pearson(constant, varied))
    assert evaluate.mae(constant, constant) == 0


def test_float32_predictions_are_reduced_in_double_precision():
    assert evaluate.mae(np.full(1000, 0.1, np.float32), np.zeros(1000, np.float32)).dtype == np.float64


def test_limits_of_agreement_are_bland_and_altmans():
    agreement = evaluate.limits_of_agreement(PREDICTION, TARGET)
    errors = PREDICTION - TARGET
    sd = errors.std(ddof=1)
    assert agreement.bias.value == pytest.approx(errors.mean())
    assert agreement.sd == pytest.approx(sd)
    assert agreement.lower.value == pytest.approx(errors.mean() - 1.96 * sd)
    assert agreement.upper.value == pytest.approx(errors.mean() + 1.96 * sd)
    t_six_degrees = 2.4469118511449692
    assert agreement.bias.high - agreement.bias.value == pytest.approx(t_six_degrees * sd / math.sqrt(7))
    width = t_six_degrees * sd * math.sqrt(1 / 7 + 1.96**2 / 12)
    for limit in (agreement.lower, agreement.upper):
        assert limit.high - limit.value == pytest.approx(width)
        assert limit.value - limit.low == pytest.approx(width)


def test_one_video_has_a_bias_and_no_limits():
    agreement = evaluate.limits_of_agreement(np.array([50.0]), np.array([53.0]))
    assert agreement.bias.value == -3
    assert math.isnan(agreement.bias.low)
    assert math.isnan(agreement.lower.value)
