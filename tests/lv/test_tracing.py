import dataclasses
import pathlib

import numpy as np
import pytest

from echojax import lv
from echojax.errors import UserError

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"


@dataclasses.dataclass(frozen=True)
class Tracing:
    frame: int
    points: np.ndarray


def rectangle(left: float, top: float, right: float, bottom: float, num_chords: int = 4) -> np.ndarray:
    """A long axis and level chords; row 0 lies far outside on purpose."""
    y = np.linspace(top, bottom, num_chords)
    chords = np.stack([np.full(num_chords, left), y, np.full(num_chords, right), y], axis=1)
    return np.concatenate([[[90.0, 1.0, 99.0, 2.0]], chords]).astype(np.float32)


def contains(x: np.ndarray, y: np.ndarray, column: int, row: int) -> bool:
    """O'Rourke's rule for one pixel, written as plainly as it can be."""
    right = left = 0
    for i in range(len(x)):
        x0, y0, x1, y1 = (int(v) for v in (x[i - 1] - column, y[i - 1] - row, x[i] - column, y[i] - row))
        if (x0, y0) == (0, 0):
            return True
        # Sign of the crossing's column without a division.
        side = (x0 * y1 - x1 * y0) * (1 if y1 > y0 else -1)
        right += ((y0 > 0) != (y1 > 0)) and side > 0
        left += ((y0 < 0) != (y1 < 0)) and side < 0
    return bool(right % 2 or left % 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_masks_equal_the_golden_ones_bit_for_bit(dtype):
    golden = np.load(GOLDENS / "raster.npz")
    masks = np.unpackbits(golden["masks"], axis=-1).astype(bool)
    assert len(masks) == 40
    for tracing, mask in zip(golden["traces"], masks, strict=True):
        ours = lv.mask_from_tracing(tracing.astype(dtype), 112, 112)
        assert ours.dtype == bool
        np.testing.assert_array_equal(ours, mask)


@pytest.mark.parametrize("seed", range(8))
def test_polygons_that_cross_themselves_and_the_image_border_follow_the_rule_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    for num_vertices in (1, 2, 3, 5, 9):
        x, y = rng.integers(-6, 16, (2, num_vertices))
        if seed % 2:  # Every edge twice: coincident edges cancel.
            x, y = np.concatenate([x, x[::-1]]), np.concatenate([y, y[::-1]])
        expected = [[contains(x, y, column, row) for column in range(11)] for row in range(9)]
        np.testing.assert_array_equal(lv.fill_polygon(x, y, 9, 11), expected)


def test_a_rectangle_includes_its_border_and_ignores_the_long_axis():
    mask = lv.mask_from_tracing(rectangle(2, 1, 5, 4), 8, 10)
    expected = np.zeros((8, 10), bool)
    expected[1:5, 2:6] = True
    np.testing.assert_array_equal(mask, expected)
    assert lv.area_px(mask) == 16


def test_halves_are_rounded_to_even():
    assert lv.area_px(lv.mask_from_tracing(rectangle(2.5, 0.5, 5.5, 3.5), 9, 9)) == lv.area_px(
        lv.mask_from_tracing(rectangle(2, 0, 6, 4), 9, 9)
    )


def test_what_lies_outside_the_image_is_cut_off():
    mask = lv.mask_from_tracing(rectangle(-5, -5, 3, 30), 10, 12)
    expected = np.zeros((10, 12), bool)
    expected[:, :4] = True
    np.testing.assert_array_equal(mask, expected)
    assert not lv.mask_from_tracing(rectangle(40, 40, 50, 50), 10, 12).any()


def test_area_counts_each_mask_of_a_batch():
    masks = np.zeros((2, 3, 4, 5), bool)
    masks[1, 2, :2, 0] = True
    np.testing.assert_array_equal(lv.area_px(masks), [[0, 0, 0], [0, 0, 2]])


@pytest.mark.parametrize(
    ("tracing", "message"),
    [
        (rectangle(2, 1, 5, 4)[:3], "3 rows.*at least 3 chords"),
        (np.zeros((0, 4)), "0 rows"),
        (np.zeros((21, 5)), r"shape \(21, 5\)"),
        (np.full((21, 4), np.nan), "not finite"),
        (np.full((21, 4), 1e30), "beyond"),
    ],
)
def test_unusable_tracings_are_errors_that_say_why(tracing, message):
    with pytest.raises(UserError, match=message):
        lv.mask_from_tracing(tracing, 112, 112)


SMALL, MIDDLE, LARGE = rectangle(4, 4, 8, 8), rectangle(4, 4, 10, 10), rectangle(4, 4, 12, 12)


def test_the_larger_area_is_ed_in_either_row_order():
    for tracings in ([Tracing(7, SMALL), Tracing(3, LARGE)], [Tracing(3, LARGE), Tracing(7, SMALL)]):
        phases = lv.ed_es_tracings(tracings, 20, 20)
        assert (phases.ed.frame, phases.es.frame) == (3, 7)


def test_row_order_reads_the_first_as_es_and_the_last_as_ed():
    phases = lv.ed_es_tracings([Tracing(3, LARGE), Tracing(5, MIDDLE), Tracing(7, SMALL)], 20, 20, order="rows")
    assert (phases.es.frame, phases.ed.frame) == (3, 7)


def test_of_three_traced_frames_the_extremes_count():
    phases = lv.ed_es_tracings([Tracing(3, MIDDLE), Tracing(5, LARGE), Tracing(7, SMALL)], 20, 20)
    assert (phases.es.frame, phases.ed.frame) == (7, 5)


def test_of_several_tracings_of_one_frame_the_first_counts():
    tracings = [Tracing(3, MIDDLE), Tracing(3, LARGE), Tracing(7, SMALL), Tracing(7, LARGE)]
    phases = lv.ed_es_tracings(tracings, 20, 20)
    assert phases.ed is tracings[0]
    assert phases.es is tracings[2]


def test_equal_areas_keep_the_row_order():
    tracings = [Tracing(9, SMALL), Tracing(2, SMALL)]
    assert lv.ed_es_tracings(tracings, 20, 20) == lv.ed_es_tracings(tracings, 20, 20, order="rows")


def test_fewer_than_two_traced_frames_have_no_phases():
    assert lv.ed_es_tracings([], 20, 20) is None
    assert lv.ed_es_tracings([Tracing(3, SMALL), Tracing(3, LARGE)], 20, 20) is None


def test_an_unknown_order_is_an_error():
    with pytest.raises(UserError, match=r"'size'.*'area' or 'rows'"):
        lv.ed_es_tracings([Tracing(3, SMALL), Tracing(4, LARGE)], 20, 20, order="size")
