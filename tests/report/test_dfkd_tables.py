from echojax.evaluate import Interval
from echojax.report import dfkd_tables


def interval(value: float, n: int = 8) -> Interval:
    return Interval(value, value - 0.1, value + 0.1, n)


def test_each_group_is_a_line_below_its_heading():
    agreement = {name: interval(2.0) for name in ("mae", "rmse", "r2", "pearson", "bias", "lower_limit", "upper_limit")}
    groups = {
        "dice_at_80": {"dice": interval(0.9), "dice_mean": interval(0.8)},
        "dice_at_half": {"dice": interval(0.7), "dice_mean": interval(0.6)},
        "lvef_echodfkd": agreement,
        "lvef_simpson_beats": agreement,
        "afd_blind_human": {"ed_frames": interval(3.0, n=8), "es_frames": interval(4.0, n=7)},
        "echoclip_intended": {"echoclip_score": interval(0.5), "echoclip_score_over_empty": interval(0.2)},
        "echoclip_phase": {"correlation": interval(0.3)},
    }
    dice, lvef, afd, echoclip = dfkd_tables.evaluation_tables(groups, level=0.9)
    assert dice.columns == ("Masks", "Both", "Both, pooled", "n")
    assert dice.rows == {
        "": [
            ["above 1/2", "0.600 [0.500, 0.700]", "0.700 [0.600, 0.800]", "8"],
            ["above 80/255", "0.800 [0.700, 0.900]", "0.900 [0.800, 1.000]", "8"],
        ]
    }
    assert list(lvef.rows) == ["At the beats found in the masks", "At the traced frames"]
    assert lvef.rows["At the traced frames"][0][0] == "EchoDFKD's areas"
    assert lvef.columns == ("Method", "MAE", "RMSE", "Bias", "R²", "r", "n")
    # ED was found in a video in which ES was not.
    assert afd.rows == {"From the traced frames": [["blind", "3.0 [2.9, 3.1]", "4.0 [3.9, 4.1]", "7–8"]]}
    assert echoclip.rows[""] == [
        ["As intended", "0.500 [0.400, 0.600]", "0.200 [0.100, 0.300]", "", "8"],
        ["Phase signal", "", "", "0.30 [0.20, 0.40]", "8"],
    ]
    assert all("In brackets the 90 % interval over videos." in table.caption for table in (dice, lvef, afd, echoclip))


def test_what_no_group_belongs_to_has_no_table():
    assert dfkd_tables.evaluation_tables({"mae_of_something": {"mae": interval(1.0)}}) == []
    (table,) = dfkd_tables.evaluation_tables({"dice_at_half": {"dice": interval(0.7)}})
    assert table.title == "Dice of traced frames"
