"""The saturating curve of quality over size."""

import numpy as np
import pytest

from echojax import evaluate
from echojax.errors import UserError

SIZES = np.array([5_701, 16_141, 39_577, 91_633, 174_721, 611_185, 3_361_657])


def published_loss(num_weights):
    """The curve printed in EchoDFKD's figure: ln(1 - Dice) = 1.22e6 (ln W) ^ -6.167 - 2.5."""
    return np.exp(1.22e6 * np.log(num_weights) ** -6.167 - 2.5)


def test_the_published_curve_is_of_this_form_and_recovered():
    fit = evaluate.fit_saturation(SIZES, published_loss(SIZES))
    assert fit.floor == pytest.approx(-2.5, abs=0.02)
    assert fit.power == pytest.approx(6.167, rel=0.05)
    np.testing.assert_allclose(fit.loss(SIZES), published_loss(SIZES), rtol=5e-3)
    assert fit.limit == pytest.approx(1 - np.exp(-2.5), abs=2e-3)
    # As printed: ln(1 - Dice) of the smallest and the largest student.
    np.testing.assert_allclose(np.log(fit.loss(SIZES[[0, -1]])), [-0.49, -2.43], atol=0.03)


def test_size_that_does_not_help_gives_a_flat_line():
    for loss in (np.full(7, 0.1), np.linspace(0.1, 0.2, 7)):
        fit = evaluate.fit_saturation(SIZES, loss)
        assert fit.scale == 0
        np.testing.assert_allclose(fit.loss(SIZES), np.exp(np.log(loss).mean()))


def test_fits_are_batched():
    losses = published_loss(SIZES) * np.random.default_rng(0).uniform(0.95, 1.05, (5, 7))
    together = evaluate.fit_saturation(SIZES, losses)
    assert together.loss(np.array([1e4, 1e5])).shape == (5, 2)
    for index, loss in enumerate(losses):
        np.testing.assert_allclose(together.loss(SIZES)[index], evaluate.fit_saturation(SIZES, loss).loss(SIZES))


def test_the_interval_is_over_videos_and_narrows_with_their_number():
    rng = np.random.default_rng(1)
    widths = []
    for num_videos in (20, 320):
        video = rng.normal(0, 0.05, num_videos)
        dice = 1 - published_loss(SIZES)[:, None] + video
        band = evaluate.bootstrap_saturation(SIZES, dice, num_samples=200)
        low, high = band.loss_interval(SIZES)
        assert (low < band.fit.loss(SIZES)).all() and (band.fit.loss(SIZES) < high).all()
        assert band.limit_interval()[0] < band.fit.limit < band.limit_interval()[1]
        widths.append(np.mean(high - low))
    assert widths[1] < 0.5 * widths[0]


@pytest.mark.parametrize(
    ("sizes", "dice", "message"),
    [
        ([10, 20, 30], np.full((3, 4), 0.8), "3 sizes of network; expected at least 4"),
        ([10, 20, 20, 30], np.full((4, 4), 0.8), "3 sizes"),
        ([10, 20, 30, 40], np.full((3, 4), 0.8), r"shape \(3, 4\) for 4 networks"),
        ([10, 20, 30, 40], np.full((4, 0), 0.8), r"shape \(4, 0\)"),
        ([10, 20, 30, 40], np.full((4, 2), np.nan), "finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(sizes, dice, message):
    with pytest.raises(UserError, match=message):
        evaluate.bootstrap_saturation(np.array(sizes), dice)
