"""EchoCLIP's scores on made embeddings, against the formulas written out."""

import numpy as np
import pytest

from echojax import echoclip
from echojax.echoclip import prompts, scores
from echojax.errors import UserError


def random_embeddings(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_invariant_20_similarities_are_cosines():
    images, texts = random_embeddings(5, 8), random_embeddings(3, 8, seed=1)
    result = echoclip.similarity(images, texts)
    assert result.shape == (5, 3)
    assert result[4, 2] == pytest.approx(cosine(images[4], texts[2]), abs=1e-12)
    # Length, and with it any temperature, does not matter.
    np.testing.assert_allclose(echoclip.similarity(7 * images, 0.1 * texts), result, atol=1e-12)
    parallel = echoclip.similarity(images, np.concatenate([images, -images]))
    assert parallel.max() == 1 and parallel.min() == -1


def test_mask_score_is_the_papers_sum():
    masked, expanded = random_embeddings(4, 8), random_embeddings(4, 8, seed=1)
    wall, nothing, ventricle = random_embeddings(3, 8, seed=2)
    expected = (
        np.mean([cosine(frame, wall) for frame in masked])
        + np.mean([cosine(frame, nothing) for frame in expanded])
        - np.mean([cosine(frame, ventricle) for frame in expanded])
    )
    assert echoclip.mask_score(masked, expanded, wall, nothing, ventricle) == pytest.approx(expected, abs=1e-12)
    axes = np.eye(3)
    assert echoclip.mask_score(axes[:1], axes[1:2], axes[0], axes[1], -axes[1]) == 3
    assert echoclip.mask_score(axes[:1], axes[1:2], -axes[0], -axes[1], axes[1]) == -3


def test_phase_signal_rises_and_falls_with_the_area():
    t = np.arange(100)
    area = 1000 + 300 * np.cos(2 * np.pi * t / 25)
    # The valve is open while the ventricle grows.
    grows = np.gradient(area)
    signal = echoclip.phase_signal(0.2 + 1e-4 * grows, 0.2 - 1e-4 * grows)
    assert signal.mean() == pytest.approx(0, abs=1e-12)
    assert signal.std() == pytest.approx(1)
    assert np.corrcoef(signal, area)[0, 1] > 0.98
    turned = echoclip.phase_signal(0.2 + 1e-4 * grows, 0.2 - 1e-4 * grows, sign="closed_minus_open")
    np.testing.assert_allclose(turned, -signal, atol=1e-12)


def test_phase_signal_formula():
    valve_open, valve_closed = random_embeddings(2, 30)
    d = valve_open - valve_closed
    for centre, steps in ((True, d - d.mean()), (False, d)):
        sums = np.array([steps[: t + 1].sum() for t in range(30)])
        expected = (sums - sums.mean()) / sums.std()
        np.testing.assert_allclose(echoclip.phase_signal(valve_open, valve_closed, centre=centre), expected, atol=1e-10)


def test_a_prompt_that_always_wins_by_the_same_margin_gives_no_drift():
    signal = echoclip.phase_signal(np.full(50, 0.3), np.full(50, 0.1))
    assert np.array_equal(signal, np.zeros(50))


def test_phase_signal_knows_its_signs():
    with pytest.raises(UserError, match="open_minus_closed, closed_minus_open"):
        echoclip.phase_signal(np.zeros(3), np.zeros(3), sign="minus")


def test_check_phase_refuses_signals_that_run_against_the_area():
    areas = [100 + np.cos(np.arange(40) / 4), 50 + np.cos(np.arange(30) / 3)]
    assert echoclip.check_phase(areas, areas) == pytest.approx(1)
    with pytest.raises(UserError, match=r"2 videos run against .* -1\.00.*choose the other sign"):
        echoclip.check_phase([-area for area in areas], areas)


def test_invariant_20_ef_ranking_keeps_40_of_202_and_takes_the_lower_median():
    asked = prompts.ef_prompts()
    # One frame whose 202 similarities fall with the order: ranks 0 to 39 state 0 to 39.
    falling = -np.arange(202.0)[None]
    assert echoclip.ejection_fraction(falling, asked.ef_percent) == 19
    # Two frames: the other way round states 100 to 61; their mean over both frames is 50 at every rank.
    both = np.concatenate([falling, -falling])
    assert echoclip.ejection_fraction(both, asked.ef_percent) == 50


def test_ef_ranking_averages_over_frames_rank_by_rank():
    rng = np.random.default_rng(0)
    similarities, ef_percent = rng.standard_normal((7, 202)), prompts.ef_prompts().ef_percent
    by_rank = []
    for rank in range(40):
        stated = [ef_percent[sorted(range(202), key=lambda i, row=row: -row[i])[rank]] for row in similarities]
        by_rank.append(np.mean(stated))
    assert echoclip.ejection_fraction(similarities, ef_percent) == pytest.approx(sorted(by_rank)[19])


def test_prompts_of_the_mask_score_are_in_its_order():
    assert echoclip.MASK_PROMPTS == ("WALL", "NOTHING", "LEFT VENTRICLE")
    assert scores.KEPT_RANKS * 202 // 1 == 40
