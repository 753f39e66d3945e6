import numpy as np
import pytest

from echojax import lv
from echojax.errors import UserError


def picture(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


def test_the_largest_piece_stays_and_its_holes_are_filled():
    dirty = picture("##....", "......", ".####.", ".#..#.", ".####.", "......")
    clean = picture("......", "......", ".####.", ".####.", ".####.", "......")
    np.testing.assert_array_equal(lv.clean_masks(dirty), clean)


def test_a_bay_that_opens_to_the_outside_or_to_the_border_is_no_hole():
    for mask in (picture("####", "#..#", "#.##"), picture("##.", "#..", "###")):
        np.testing.assert_array_equal(lv.clean_masks(mask), mask)


def test_corners_do_not_join_and_of_equal_pieces_the_first_stays():
    np.testing.assert_array_equal(lv.clean_masks(picture("#.", ".#")), picture("#.", ".."))


def test_each_frame_is_cleaned_by_itself_and_the_input_is_kept():
    masks = np.zeros((2, 3, 5, 5), bool)
    masks[0, 1, 0, 0] = masks[1, 2, 2:4, 2:4] = masks[1, 2, 0, 0] = True
    before = masks.copy()
    cleaned = lv.clean_masks(masks)
    np.testing.assert_array_equal(masks, before)
    assert cleaned[0, 1].sum() == 1 and cleaned[1, 2].sum() == 4 and cleaned.sum() == 5


def test_soft_masks_keep_their_border_and_lose_haze_and_islands():
    soft = np.full((15, 15), 0.05, np.float32)
    soft[5:10, 5:10] = 0.9
    soft[7, 7] = 0.2
    soft[4, 5:10] = 0.4
    soft[0, 0] = 0.8
    cleaned = lv.clean_masks(soft)
    assert cleaned.dtype == np.float32
    assert cleaned[7, 7] == 1 and cleaned[6, 6] == np.float32(0.9) and cleaned[4, 6] == np.float32(0.4)
    assert cleaned[0, 0] == 0 and cleaned[14, 14] == 0 and cleaned[2, 7] == np.float32(0.05)


def test_an_island_beside_a_soft_border_is_not_part_of_it():
    soft = np.zeros((9, 9))
    soft[2:7, 2:6] = soft[4, 7] = 1
    assert lv.clean_masks(soft)[4, 7] == 0


def test_empty_masks_stay_empty():
    assert not lv.clean_masks(np.zeros((2, 4, 4), bool)).any()
    assert not lv.clean_masks(np.full((4, 4), 0.4)).any()


@pytest.mark.parametrize("masks", [np.full((2, 2), -3.0), np.full((2, 2), np.nan), np.ones((2, 2), np.uint8)])
def test_logits_and_grey_levels_are_refused(masks):
    with pytest.raises(UserError, match="compare logits with 0"):
        lv.clean_masks(masks)
