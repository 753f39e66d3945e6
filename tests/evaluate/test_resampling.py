import math

import numpy as np
import pytest

from echojax import evaluate
from echojax.errors import UserError
from echojax.evaluate import resampling


def simulated(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    ef = rng.normal(55, 12, n)
    return ef + rng.normal(0, 5, n), ef


def plain_samples(statistic, arrays, num_samples, seed):
    """The bootstrap as a textbook writes it: one draw of n videos after the other."""
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(num_samples):
        rows = rng.integers(len(arrays[0]), size=len(arrays[0]))
        samples.append(statistic(*(array[rows] for array in arrays)))
    return samples


@pytest.mark.parametrize("metric", [evaluate.mae, evaluate.r2, evaluate.pearson])
def test_blocks_equal_a_plain_loop(metric, monkeypatch):
    monkeypatch.setattr(resampling, "BLOCK_VALUES", 7 * 60)  # 500 samples are not a whole number of blocks.
    arrays = simulated()
    value, low, high, n = evaluate.bootstrap(metric, *arrays, num_samples=500, seed=11)
    expected = np.quantile(plain_samples(metric, arrays, 500, 11), [0.025, 0.975])
    assert value == metric(*arrays)
    np.testing.assert_allclose([low, high], expected, rtol=1e-12)
    assert n == 60


def test_a_statistic_of_plain_arrays_gives_the_same_interval_as_a_batched_one():
    arrays = simulated()

    def plain(prediction, ef):
        assert prediction.shape == (60,)
        return np.abs(prediction - ef).mean()

    np.testing.assert_allclose(
        evaluate.bootstrap(plain, *arrays, num_samples=300), evaluate.bootstrap(evaluate.mae, *arrays, num_samples=300)
    )


def test_equal_seeds_give_equal_intervals_and_others_do_not():
    arrays = simulated()
    assert evaluate.bootstrap(evaluate.mae, *arrays) == evaluate.bootstrap(evaluate.mae, *arrays)
    assert evaluate.bootstrap(evaluate.mae, *arrays, seed=1) != evaluate.bootstrap(evaluate.mae, *arrays, seed=2)


def test_a_level_of_ninety_five_percent_covers_the_truth_about_that_often():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        _, low, high, _ = evaluate.bootstrap(evaluate.mean, rng.normal(0, 1, 80), num_samples=500, seed=seed)
        covered += low <= 0 <= high
    assert 180 <= covered <= 198


def test_the_interval_of_a_mean_has_the_width_that_theory_gives():
    values = np.random.default_rng(1).normal(0, 3, 900)
    _, low, high, _ = evaluate.bootstrap(evaluate.mean, values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(900), rel=0.03)


def test_legacy_interval_holds_ninety_percent_at_the_originals_indices():
    arrays = simulated()
    samples = sorted(plain_samples(evaluate.mae, arrays, 1000, 0))
    interval = evaluate.bootstrap(evaluate.mae, *arrays, num_samples=1000, method="legacy90")
    np.testing.assert_allclose(interval[1:3], [samples[50], samples[950]], rtol=1e-12)
    wide = evaluate.bootstrap(evaluate.mae, *arrays, num_samples=1000)
    assert wide.low < interval.low < interval.high < wide.high


def test_resamplings_without_a_class_are_left_out():
    score, positive = np.arange(6.0), np.array([False] * 5 + [True])
    value, low, high, n = evaluate.bootstrap(evaluate.auc, score, positive, num_samples=200)
    assert (value, low, high, n) == (1, 1, 1, 6)
    absent = evaluate.bootstrap(evaluate.auc, score, np.zeros(6, bool), num_samples=200)
    assert np.isnan(absent[:3]).all()
    assert absent.n == 6


def test_one_video_has_a_value_and_no_interval():
    value, low, high, n = evaluate.bootstrap(evaluate.mae, np.array([50.0]), np.array([53.0]))
    assert (value, n) == (3, 1)
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ((np.array([]), np.array([])), {}, "no videos"),
        ((np.zeros(3), np.zeros(4)), {}, r"\[3, 4\] videos"),
        ((np.zeros(3), np.array([1, np.nan, np.nan])), {}, "array 2 of 2 has 2 of 3 values.*position 1"),
        ((np.zeros(3), np.zeros(3)), {"method": "bca"}, "'bca'"),
        ((np.zeros(3), np.zeros(3)), {"level": 95}, "level of the interval is 95"),
    ],
)
def test_wrong_use_is_an_error_that_says_what_is_wrong(arrays, options, message):
    with pytest.raises(UserError, match=message):
        evaluate.bootstrap(evaluate.mae, *arrays, **options)


def test_pairing_removes_what_the_pairs_share():
    rng = np.random.default_rng(2)
    shared = rng.normal(0, 10, 300)
    first, second = shared + rng.normal(1, 0.5, 300), shared + rng.normal(0, 0.5, 300)
    value, low, high, n = evaluate.paired_difference(first, second)
    assert value == pytest.approx((first - second).mean())
    assert 0.85 < low < value < high < 1.15
    assert n == 300


def test_three_seeds_get_students_interval():
    value, low, high, n = evaluate.paired_difference(np.array([0.90, 0.92, 0.91]), np.full(3, 0.9), method="t")
    half_width = 4.302652729911275 * 0.01 / math.sqrt(3)
    np.testing.assert_allclose([value, low, high, n], [0.01, 0.01 - half_width, 0.01 + half_width, 3], atol=1e-12)
    assert np.isnan(evaluate.paired_difference([1.0], [2.0], method="t")[1:3]).all()
    with pytest.raises(UserError, match="'z'"):
        evaluate.paired_difference([1.0], [2.0], method="z")


def test_two_models_of_three_seeds_are_paired_by_video_and_by_seed():
    first = np.array([[0.9, 0.8, 0.7, 0.6], [0.8, 0.8, 0.8, 0.8], [0.7, 0.9, 0.8, 0.9]])
    second = first - np.array([[0.1], [0.2], [0.3]])
    differences = evaluate.compare_seeds(first, second, "dice")
    assert set(differences) == {"dice_by_video", "dice_by_seed"}
    np.testing.assert_allclose(differences["dice_by_video"], (0.2, 0.2, 0.2, 4))
    half_width = 4.302652729911275 * 0.1 / math.sqrt(3)  # Student's t of two degrees of freedom
    np.testing.assert_allclose(differences["dice_by_seed"], (0.2, 0.2 - half_width, 0.2 + half_width, 3))
