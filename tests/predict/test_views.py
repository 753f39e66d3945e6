"""Test-time views: what is done to a clip is undone to its masks."""

import numpy as np
import pytest

from echojax.predict.views import VIEWS, segment_view, to_probabilities


def bright(frames):
    return (frames[..., 0].astype(np.float32) - 128) / 4


@pytest.mark.parametrize("view", VIEWS)
def test_masks_come_back_to_their_place(view):
    frames = np.full((3, 40, 40, 1), 20, np.uint8)
    frames[:, 10:25, 12:30] = 240
    frames[1, 10:14] = 20
    np.testing.assert_array_equal(segment_view(bright, frames, view) > 0.5, frames[..., 0] > 128)


def test_the_first_view_is_the_clip_as_it_is():
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 1), np.uint8)
    np.testing.assert_array_equal(segment_view(bright, frames, VIEWS[0]), to_probabilities(bright(frames)))


def test_views_differ_and_cancel():
    assert len(set(VIEWS)) == len(VIEWS)
    assert sum(view.down_px for view in VIEWS) == sum(view.right_px for view in VIEWS) == 0
    frames = np.full((1, 20, 20, 1), 128, np.uint8)
    middle = [segment_view(bright, frames, view)[0, 10, 10] for view in VIEWS]
    assert middle[0] == 0.5 and min(middle) < 0.4 and max(middle) > 0.6
