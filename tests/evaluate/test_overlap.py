import numpy as np
import pytest

from echojax import evaluate


def random_masks(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(shape) < 0.4, rng.random(shape) < 0.5


def test_hand_example_of_the_specification():
    prediction, target = np.zeros((10, 20), bool), np.zeros((10, 20), bool)
    prediction[:, :5], target[:, :10] = True, True  # I = 50, U = 100
    np.testing.assert_allclose(evaluate.dice(prediction, target), 2 * 50 / (100 + 50))
    assert evaluate.pooled_dice(prediction, target) == pytest.approx(0.6667, abs=5e-5)


def test_dice_is_per_mask_over_all_leading_axes():
    prediction, target = random_masks(0, (2, 3, 8, 9))
    values = evaluate.dice(prediction, target)
    assert values.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        intersection = sum(p and t for p, t in zip(prediction[i, j].flat, target[i, j].flat, strict=True))
        expected = 2 * intersection / (prediction[i, j].sum() + target[i, j].sum())
        assert values[i, j] == pytest.approx(expected, rel=1e-12)


def test_empty_masks_agree_and_disjoint_masks_do_not():
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    assert evaluate.dice(empty, empty) == 1
    assert evaluate.dice(full, full) == 1
    assert evaluate.dice(full, empty) == 0
    assert evaluate.pooled_dice(np.stack([empty, empty]), np.stack([empty, empty])) == 1


def test_pooled_dice_is_not_the_mean_of_dice():
    prediction, target = np.zeros((2, 10, 10), bool), np.zeros((2, 10, 10), bool)
    prediction[0], target[0] = True, True  # A large ventricle found perfectly ...
    prediction[1, 0, 0], target[1, 9, 9] = True, True  # ... and a tiny one missed.
    np.testing.assert_array_equal(evaluate.dice(prediction, target), [1, 0])
    assert evaluate.pooled_dice(prediction, target) == pytest.approx(200 / 202)


def test_counts_of_two_frames_add_up_to_their_pooled_dice():
    prediction, target = random_masks(1, (5, 2, 6, 6))
    ed = evaluate.dice_counts(prediction[:, 0], target[:, 0])
    es = evaluate.dice_counts(prediction[:, 1], target[:, 1])
    overall = evaluate.dice_from_counts(ed + es)
    expected = [evaluate.pooled_dice(prediction[i], target[i]) for i in range(5)]
    np.testing.assert_allclose(overall, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (np.zeros((4, 4), np.float32), np.zeros((4, 4), bool), "float32.*expected bool"),
        (np.zeros((4, 4), bool), np.zeros((4, 5), bool), "expected the same"),
        (np.zeros((2, 4, 4), bool), np.zeros((4, 4), bool), "expected the same"),
    ],
)
def test_logits_and_unequal_shapes_are_refused(prediction, target, message):
    with pytest.raises(ValueError, match=message):
        evaluate.dice(prediction, target)
