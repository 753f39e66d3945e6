"""LVEF from human tracings of real hearts, against the LVEF that the hospital recorded."""

import csv
from collections import defaultdict

import numpy as np
import pytest
from shared import require_shared

from echojax import lv


@pytest.mark.parametrize("volume", [lv.simpson_volume, lv.area_length_volume])
def test_volumes_of_human_tracings_give_the_recorded_lvef(volume):
    folder = require_shared("real_echo")
    tracings = defaultdict(lambda: defaultdict(list))
    with open(folder / "VolumeTracings.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows = tracings[row["FileName"].removesuffix(".avi")][row["Frame"]]
            rows.append([float(row[column]) for column in ("X1", "Y1", "X2", "Y2")])
    with open(folder / "FileList.csv", newline="", encoding="utf-8") as file:
        known = {row["FileName"]: float(row["EF"]) for row in csv.DictReader(file)}
    errors = []
    for name, frames in tracings.items():
        volumes = [volume(lv.mask_from_tracing(np.array(rows), 112, 112)) for rows in frames.values()]
        errors.append(lv.lvef(max(volumes), min(volumes)) - known[name])
    assert len(errors) >= 4
    assert np.abs(errors).max() < 4 and np.mean(np.abs(errors)) < 2.5
