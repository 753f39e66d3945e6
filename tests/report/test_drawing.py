import numpy as np
import pytest

from echojax.report import drawing


def test_enlarging_keeps_constants_and_straight_slopes():
    np.testing.assert_allclose(drawing.enlarge(np.full((2, 5, 6), 7.0), 3), 7, rtol=1e-6)
    ramp = np.broadcast_to(np.arange(10.0), (4, 10))
    large = drawing.enlarge(ramp, 4)
    assert large.shape == (16, 40)
    # Pixel centres of the large picture, in pixels of the small one; the border repeats, so it bends there.
    expected = (np.arange(40) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(large[:, 8:-8], np.broadcast_to(expected[8:-8], (16, 24)), atol=1e-5)


def test_frames_keep_their_colours_and_grey_becomes_three_equal_channels():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (2, 6, 7, 3), np.uint8)
    large = drawing.enlarge_to_rgb(rgb, 2)
    assert (large.shape, large.dtype) == ((2, 12, 14, 3), np.uint8)
    assert drawing.enlarge_to_rgb(rgb, 1).tolist() == rgb.tolist()
    grey = drawing.enlarge_to_rgb(rgb[..., 0], 2)
    np.testing.assert_array_equal(grey, np.repeat(large[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(drawing.enlarge_to_rgb(rgb[..., :1], 2), grey)


@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_a_contour_runs_along_the_border_and_nowhere_else(dtype):
    rows, columns = np.mgrid[:40, :40]
    disc = (np.hypot(rows - 19.5, columns - 19.5) < 12).astype(dtype)
    opacity = drawing.contour_opacity(disc[None], 3)[0]
    rows, columns = np.mgrid[:120, :120]
    radius = np.hypot(rows - 59.5, columns - 59.5)
    assert opacity[np.abs(radius - 36) > 5].max() == 0
    on_border = [opacity[np.abs(radius - 36) < 3][sector].max() for sector in _sectors(rows, columns, radius)]
    assert min(on_border) == 1
    assert np.mean((opacity > 0) & (opacity < 1)) > 0  # Smoothed edges.


def _sectors(rows, columns, radius):
    angles = np.arctan2(rows - 59.5, columns - 59.5)[np.abs(radius - 36) < 3]
    return [np.abs(angles - middle) < 0.15 for middle in np.linspace(-2.9, 2.9, 24)]


def test_empty_and_full_masks_have_no_contour():
    assert drawing.contour_opacity(np.zeros((1, 8, 8), bool), 3).max() == 0
    assert drawing.contour_opacity(np.ones((1, 8, 8), bool), 3).max() == 0


def test_paint_mixes_in_proportion_and_touches_nothing_else():
    picture = np.full((2, 2, 3), 100, np.uint8)
    drawing.paint(picture, np.array([[0, 0.5], [1, 0]]), (200, 0, 100))
    np.testing.assert_array_equal(picture[0], [[100, 100, 100], [150, 50, 100]])
    np.testing.assert_array_equal(picture[1], [[200, 0, 100], [100, 100, 100]])


def test_text_has_ink_equal_widths_and_is_cut_at_the_border():
    for character in "0gM%":
        assert 0.02 < drawing.text_opacity(character).mean() < 0.6
    assert drawing.text_opacity("iiii").shape == drawing.text_opacity("MMMM").shape
    picture = np.zeros((10, 20, 3), np.uint8)
    drawing.paste_text(picture, "much too long", 4, 2, (255, 255, 255))
    assert picture.any()
    assert not picture[:, :4].any()
    with pytest.raises(ValueError, match="text is empty"):
        drawing.text_opacity("")
