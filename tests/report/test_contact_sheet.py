import numpy as np
import pytest

from echojax.errors import UserError
from echojax.report import contact_sheet, style


def test_best_median_and_worst_are_picked_in_order():
    badness = np.random.default_rng(0).permutation(21).astype(float)
    groups = contact_sheet.pick_cases(badness, num_each=3)
    assert {name: badness[positions].tolist() for name, positions in groups.items()} == {
        "best": [0, 1, 2],
        "median": [9, 10, 11],
        "worst": [18, 19, 20],
    }


@pytest.mark.parametrize("num_cases", range(1, 13))
def test_no_case_is_picked_twice(num_cases):
    groups = contact_sheet.pick_cases(np.arange(float(num_cases)))
    picked = np.concatenate(list(groups.values()))
    assert len(set(picked)) == len(picked) == min(num_cases, 9)
    assert groups["best"][0] == 0
    if num_cases > 1:
        assert groups["worst"][-1] == num_cases - 1


def test_cases_without_a_number_are_refused():
    with pytest.raises(UserError, match="finite"):
        contact_sheet.pick_cases(np.array([0.1, np.nan]))
    with pytest.raises(UserError, match="at least one case"):
        contact_sheet.pick_cases(np.array([]))


def test_a_sheet_has_a_row_per_group_and_a_caption_per_case(tmp_path):
    frames = np.full((2, 24, 24), 40, np.uint8)
    mask = np.zeros((2, 24, 24), bool)
    mask[:, 6:18, 8:16] = True
    known = contact_sheet.Case("phantom_7\nDice 0.950", frames, mask, np.roll(mask, 2, 2))
    unknown = contact_sheet.Case("phantom_8", frames, mask.astype(np.float32))
    figure = contact_sheet.plot_contact_sheet({"best": [known, unknown], "worst": [known]}, "By Dice")
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_xlabel() for axes in drawn] == ["phantom_7\nDice 0.950", "phantom_8", "phantom_7\nDice 0.950"]
    assert [drawn[0].get_ylabel(), drawn[2].get_ylabel()] == ["best", "worst"]
    png, svg = style.save_figure(figure, tmp_path / "sheet")
    assert min(png.stat().st_size, svg.stat().st_size) > 5_000
    with pytest.raises(UserError, match="no cases"):
        contact_sheet.plot_contact_sheet({"best": []}, "Nothing")
