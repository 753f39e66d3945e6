"""Correction and split conformal intervals: the line, the quantile, coverage, and what the file must say."""

import json
import math

import numpy as np
import pytest
from predict_clips import make_calibration

from echojax.errors import UserError
from echojax.predict import calibrate, load_calibration
from echojax.predict.interval import FLOOR_POINTS, Correction, Disagreement, conformity_quantile, fit_correction

NONE = Disagreement(beats=0.0, methods=0.0, views=0.0)


def test_quantile_is_the_definition():
    scores = np.arange(1.0, 20.0)[::-1]
    assert conformity_quantile(scores, 0.95) == 19
    assert conformity_quantile(scores, 0.9) == 18
    assert conformity_quantile(scores, 0.5) == 10
    with pytest.raises(UserError, match=r"18 calibration clips .* at least 19"):
        conformity_quantile(scores[:18], 0.95)


def test_scale_grows_with_every_disagreement():
    assert NONE.scale == FLOOR_POINTS
    assert Disagreement(3.0, 4.0, 12.0).scale == math.sqrt(FLOOR_POINTS**2 + 13**2)


def test_coverage_is_the_level_whatever_the_errors():
    """Readings that are biased, with errors that grow with the disagreement and have heavy tails."""
    rng = np.random.default_rng(0)
    beats = rng.exponential(10, 7000)
    known = rng.uniform(20, 70, 7000)
    read = 0.8 * known + 0.1 * rng.standard_t(3, 7000) * np.hypot(FLOOR_POINTS, beats)
    scales = np.array([Disagreement(value, 0.0, 0.0).scale for value in beats])
    calibration = calibrate(read[:4000], known[:4000], scales[:4000], "draws", 1, "hash")
    assert calibration.num_clips == 2666
    errors = known[4000:] - (calibration.correction.intercept_points + calibration.correction.slope * read[4000:])
    assert abs(np.mean(errors)) < 1
    for level, quantile in calibration.quantiles.items():
        covered = np.abs(errors) <= quantile * scales[4000:]
        assert abs(covered.mean() - float(level)) < 0.02
        # Where readings part the interval is wider, so that neither half is let down.
        assert abs(covered[beats[4000:] > np.median(beats)].mean() - float(level)) < 0.06


def test_correction_is_the_line_of_least_squares():
    rng = np.random.default_rng(1)
    read = rng.uniform(10, 70, 50)
    found = fit_correction(read, 3 + 1.1 * read)
    assert (found.intercept_points, found.slope) == pytest.approx((3, 1.1))
    assert found(50.0) == pytest.approx(58) and found(95.0) == 100.0 and math.isnan(found(math.nan))
    assert Correction(-5.0, 1.0)(2.0) == 0.0
    for no_line in (read[:0], np.full(50, 40.0), -read):
        with pytest.raises(UserError, match="does not rise"):
            fit_correction(no_line, read[: len(no_line)])


def test_interval_is_cut_to_what_lvef_can_be(tmp_path):
    calibration = make_calibration(6 / FLOOR_POINTS)
    assert calibration.interval(50.0, NONE, 0.95) == pytest.approx((44.0, 56.0))
    assert calibration.interval(3.0, NONE, 0.9) == pytest.approx((0.0, 9.0))
    assert calibration.interval(97.0, Disagreement(0.0, 40.0, 0.0), 0.8)[1] == 100.0
    with pytest.raises(UserError, match=r"level 0\.7 .* one of 0\.8, 0\.9, 0\.95"):
        calibration.interval(50.0, NONE, 0.7)
    calibration.save(tmp_path / "calibration.json")
    assert load_calibration(tmp_path / "calibration.json") == calibration
    assert json.loads((tmp_path / "calibration.json").read_text())["calibrated_on"] == "40 phantoms"


@pytest.mark.parametrize("text", ["", "[]", '{"level": 1}', '{"correction": {"slope": 1}}'])
def test_a_file_that_is_none_is_named(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"calibration\.json is no calibration"):
        load_calibration(path)


def test_clips_without_lvef_count_as_missed():
    """Of 150 clips fifty fit the line; the hundred others are 7 points off it, but for those without LVEF."""
    is_fitted = np.arange(150) % 3 == 0
    read, known = np.linspace(20, 70, 150), np.linspace(20, 70, 150) + np.where(is_fitted, 0.0, FLOOR_POINTS)
    scales = np.full(150, NONE.scale)
    read[[1, 2, 4]] = np.nan
    assert calibrate(read, known, scales, "draws", 1, "hash").quantiles["0.95"] == pytest.approx(1)
    read[~is_fitted & (np.arange(150) < 16)] = np.nan
    with pytest.raises(UserError, match="without a predicted LVEF"):
        calibrate(read, known, scales, "draws", 1, "hash")
