"""Test-time views: what is done to a clip is undone to its masks."""

import numpy as np
import pytest

from echojax.predict.views import VIEWS, segment_views


def bright(frames):
    return (frames[..., 0].astype(np.float32) - 128) / 4


@pytest.mark.parametrize("num_views", [1, 3, 5])
def test_masks_come_back_to_their_place(num_views):
    frames = np.full((3, 40, 40, 1), 20, np.uint8)
    frames[:, 10:25, 12:30] = 240
    frames[1, 10:14] = 20
    logits, views = segment_views(bright, frames, num_views)
    assert views.shape == (num_views, 3, 40, 40)
    np.testing.assert_array_equal(logits, bright(frames))
    for view in views:
        np.testing.assert_array_equal(view > 0.5, frames[..., 0] > 128)


def test_views_differ_and_cancel():
    assert len(set(VIEWS)) == len(VIEWS)
    assert sum(view.down_px for view in VIEWS) == sum(view.right_px for view in VIEWS) == 0
    _, views = segment_views(bright, np.full((1, 20, 20, 1), 128, np.uint8), len(VIEWS))
    middle = views[:, 0, 10, 10]
    assert middle[0] == 0.5 and middle.min() < 0.4 and middle.max() > 0.6
