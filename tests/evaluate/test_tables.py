import csv

import numpy as np
import pytest

from echojax import evaluate


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_read_back_exactly(tmp_path):
    predicted = np.random.default_rng(0).normal(55, 12, 3).astype(np.float32)
    path = tmp_path / "predictions_TEST.csv"
    evaluate.write_predictions(
        path, ["a", 'b,"c"', "ü"], [55.5, np.nan, 30.25], predicted, num_clips=np.array([4, 2, 1])
    )
    rows = read(path)
    assert list(rows[0]) == ["name", "ef", "ef_predicted", "num_clips"]
    assert [row["name"] for row in rows] == ["a", 'b,"c"', "ü"]
    assert [row["ef"] for row in rows] == ["55.5", "", "30.25"]
    assert [row["num_clips"] for row in rows] == ["4", "2", "1"]
    np.testing.assert_array_equal(np.array([row["ef_predicted"] for row in rows], np.float32), predicted)


def test_clips_and_dice_have_the_agreed_columns(tmp_path):
    evaluate.write_clips(tmp_path / "clips.csv", ["a", "a"], np.array([0, 2]), np.array([50.0, 51.5], np.float32))
    assert (tmp_path / "clips.csv").read_text() == "name,start,ef_predicted\na,0,50\na,2,51.5\n"
    evaluate.write_dice(tmp_path / "dice.csv", ["a"], [0.9], [0.95], [0.85])
    assert (tmp_path / "dice.csv").read_text() == "name,overall,ed,es\na,0.9,0.95,0.85\n"


def test_columns_of_unequal_length_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="expected one length"):
        evaluate.write_clips(tmp_path / "clips.csv", ["a", "b"], [0], [50.0])
    assert list(tmp_path.iterdir()) == []
