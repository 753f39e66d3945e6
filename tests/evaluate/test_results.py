import json
import math
import os

import pytest

from echojax import evaluate
from echojax.errors import UserError
from echojax.evaluate import Interval

DICE = Interval(0.91, 0.89, 0.93, 40)
MAE = Interval(4.1, 3.9, 4.3, 1276)


def test_metrics_have_the_agreed_form(tmp_path):
    path = tmp_path / "metrics.json"
    evaluate.update_metrics(path, "css", {"dice": DICE}, data="phantom", split="test")
    assert json.loads(path.read_text()) == {
        "css": {
            "dice": {
                "value": 0.91,
                "interval": [0.89, 0.93],
                "n": 40,
                "level": 0.95,
                "data": "phantom",
                "split": "TEST",
            }
        }
    }


def test_an_update_keeps_other_groups_and_metrics_and_replaces_its_own(tmp_path):
    path = tmp_path / "run" / "metrics.json"
    evaluate.update_metrics(path, "css", {"dice": DICE, "dice_ed": DICE}, data="real")
    evaluate.update_metrics(path, "student", {"mae": MAE}, data="real", level=0.9)
    evaluate.update_metrics(path, "css", {"dice": MAE}, data="real")
    assert evaluate.load_metrics(path) == {"css": {"dice": MAE, "dice_ed": DICE}, "student": {"mae": MAE}}
    assert json.loads(path.read_text())["student"]["mae"]["level"] == 0.9
    assert os.listdir(path.parent) == ["metrics.json"]


def test_undefined_numbers_are_null_and_read_back_as_nan(tmp_path):
    path = tmp_path / "metrics.json"
    evaluate.update_metrics(path, "student", {"r2": Interval(math.nan, math.nan, math.nan, 1)}, data="phantom")
    assert json.loads(path.read_text())["student"]["r2"]["interval"] == [None, None]
    assert math.isnan(evaluate.load_metrics(path)["student"]["r2"].value)


def test_no_file_means_no_metrics(tmp_path):
    assert evaluate.load_metrics(tmp_path / "metrics.json") == {}


@pytest.mark.parametrize("text", ['{"css": {"dice": 1}}', '{"css": {"dice": {"value": 1}}}', '{"css": 3}', "[1]", "{"])
def test_a_file_of_another_form_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json.*evaluate again"):
        evaluate.load_metrics(path)


def test_where_the_data_come_from_must_be_said(tmp_path):
    with pytest.raises(UserError, match=r"'clinic'.*phantom, real"):
        evaluate.update_metrics(tmp_path / "metrics.json", "css", {"dice": DICE}, data="clinic")
