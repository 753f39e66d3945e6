"""Agreement between annotators (EchoDFKD's notebook), on made tracings."""

import itertools

import numpy as np
import pytest
from tiny_echonet import make_tracing

from echojax import evaluate
from echojax.errors import UserError

SIZE = 64


def draw_tracings(num: int, seed: int, rows: int = 21) -> list[np.ndarray]:
    """The same ventricle as several annotators would see it."""
    rng = np.random.default_rng(seed)
    return [make_tracing(rng.uniform(10, 14), rows, rng.uniform(-0.2, 0.4), rng.uniform(30, 34)) for _ in range(num)]


def draw_frames(numbers, seed: int = 0) -> list[np.ndarray]:
    return [
        evaluate.tracings_to_masks(draw_tracings(num, seed + index), SIZE, SIZE) for index, num in enumerate(numbers)
    ]


def plain_dice(a, b) -> float:
    total = a.sum() + b.sum()
    return 1.0 if total == 0 else 2 * (a & b).sum() / total


def plain_combinations(masks, first, second) -> list[float]:
    """The notebook's definition, written as plainly as it can be."""
    values = []
    for one in itertools.combinations(range(len(masks)), first):
        rest = [index for index in range(len(masks)) if index not in one]
        for other in itertools.combinations(rest, second):
            means = [masks[list(group)].astype(float).mean(0) >= 0.5 for group in (one, other)]
            values.append(plain_dice(*means))
    return values


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3)])
def test_invariant_12_every_way_to_choose_two_groups_counts_once(first, second):
    frames = draw_frames([1, 2, 3, 3, 4, 5])
    expected = [value for masks in frames for value in plain_combinations(masks, first, second)]
    found = evaluate.annotator_agreement(frames, first, second, num_samples=200)
    assert found.value == pytest.approx(np.mean(expected), rel=1e-12)
    assert found.n == sum(len(masks) >= first + second for masks in frames)
    assert found.low <= found.value <= found.high


def test_invariant_12_numbers_of_combinations():
    """Two frames of three labels: 6 combinations of one against two; four labels: 12."""
    frames = draw_frames([3, 3])
    assert sum(len(evaluate.group_dice(masks, 1, 2)) for masks in frames) == 6
    assert len(evaluate.group_dice(draw_frames([4])[0], 1, 2)) == 12
    assert len(evaluate.group_dice(draw_frames([2])[0], 1, 2)) == 0
    assert len(evaluate.group_dice(draw_frames([7])[0], 3, 2)) == 35 * 6


def test_combinations_weigh_alike_not_frames():
    same = np.ones((2, 4, 4), bool)
    apart = np.zeros((3, 4, 4), bool)
    apart[0, 0, 0] = apart[1, 1, 1] = apart[2, 2, 2] = True
    # Two combinations of Dice 1, six of Dice 0.
    assert evaluate.annotator_agreement([same, apart], 1, 1, num_samples=100).value == pytest.approx(0.25)


def test_half_of_a_group_is_a_majority():
    masks = np.zeros((3, 1, 4), bool)
    masks[0, 0, :2] = masks[1, 0, 1:3] = masks[2, 0, :3] = True
    # The union of the first two equals the third.
    assert evaluate.group_dice(masks[[2, 0, 1]], 1, 2)[0] == 1.0


def test_annotators_who_agree_have_a_dice_of_one():
    frames = [np.repeat(masks[:1], 3, axis=0) for masks in draw_frames([3, 3])]
    assert evaluate.annotator_agreement(frames, num_samples=50) == (1.0, 1.0, 1.0, 2)


def test_frames_with_too_few_annotators_have_no_say():
    found = evaluate.annotator_agreement(draw_frames([1, 2]), 1, 2)
    assert np.isnan(found[:3]).all() and found.n == 0
    assert evaluate.annotator_agreement([], 1, 1).n == 0


def test_invariant_11_incomplete_tracings_give_no_mask_where_the_original_asks_for_21_rows():
    tracings = [*draw_tracings(2, 0), *draw_tracings(1, 1, rows=17), *draw_tracings(1, 2, rows=20)]
    assert len(evaluate.tracings_to_masks(tracings, SIZE, SIZE, num_rows=21)) == 2
    assert len(evaluate.tracings_to_masks(tracings, SIZE, SIZE)) == 4
    assert evaluate.tracings_to_masks([np.zeros((3, 4))], SIZE, SIZE).shape == (0, SIZE, SIZE)


def test_groups_need_members():
    with pytest.raises(UserError, match="groups of 0 and 2"):
        evaluate.group_dice(np.ones((3, 2, 2), bool), 0, 2)
