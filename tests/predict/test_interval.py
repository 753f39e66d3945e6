"""Split conformal intervals: the quantile's definition, coverage, and what the file must say."""

import json
import math

import numpy as np
import pytest

from echojax.errors import UserError
from echojax.predict import calibrate, load_calibration
from echojax.predict.interval import FLOOR_POINTS, Disagreement, conformity_quantile

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
    """Errors that grow with the disagreement and have heavy tails."""
    rng = np.random.default_rng(0)
    beats = rng.exponential(10, 6000)
    errors = rng.standard_t(3, 6000) * np.hypot(FLOOR_POINTS, beats)
    scales = np.array([Disagreement(value, 0.0, 0.0).scale for value in beats])
    calibration = calibrate(np.abs(errors[:3000]) / scales[:3000], "draws", 1, "hash")
    for level, quantile in calibration.quantiles.items():
        covered = np.abs(errors[3000:]) <= quantile * scales[3000:]
        assert abs(covered.mean() - float(level)) < 0.02
        # Where readings part the interval is wider, so that neither half is let down.
        assert abs(covered[beats[3000:] > np.median(beats)].mean() - float(level)) < 0.06


def test_interval_is_cut_to_what_lvef_can_be(tmp_path):
    calibration = calibrate(np.full(50, 6 / FLOOR_POINTS), "50 draws", 3, "hash")
    assert calibration.interval(50.0, NONE, 0.95) == pytest.approx((44.0, 56.0))
    assert calibration.interval(3.0, NONE, 0.9) == pytest.approx((0.0, 9.0))
    assert calibration.interval(97.0, Disagreement(0.0, 40.0, 0.0), 0.8)[1] == 100.0
    with pytest.raises(UserError, match=r"level 0\.7 .* one of 0\.8, 0\.9, 0\.95"):
        calibration.interval(50.0, NONE, 0.7)
    calibration.save(tmp_path / "calibration.json")
    assert load_calibration(tmp_path / "calibration.json") == calibration
    assert json.loads((tmp_path / "calibration.json").read_text())["calibrated_on"] == "50 draws"


@pytest.mark.parametrize("text", ["", "[]", '{"level": 1}'])
def test_a_file_that_is_none_is_named(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"calibration\.json is no calibration"):
        load_calibration(path)


def test_clips_without_lvef_count_as_missed():
    scores = np.concatenate([np.ones(97), np.full(3, np.inf)])
    assert calibrate(scores, "draws", 1, "hash").quantiles["0.95"] == 1
    with pytest.raises(UserError, match="without a predicted LVEF"):
        calibrate(np.concatenate([np.ones(90), np.full(10, np.inf)]), "draws", 1, "hash")
