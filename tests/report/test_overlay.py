import os

import matplotlib.image
import numpy as np
import pytest

from echojax import video
from echojax.errors import UserError
from echojax.report import area_panel, drawing, overlay

AMBER, BLUE = (drawing.parse_color(color) for color in (area_panel.PREDICTED_COLOR, area_panel.TRUE_COLOR))


def beating(num_frames: int = 8, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Dark grey frames and the mask of a disc whose radius swings."""
    rows, columns = np.mgrid[:size, :size]
    radius = 8 + 3 * np.cos(2 * np.pi * np.arange(num_frames) / num_frames)
    masks = np.hypot(rows - 15, columns - 15) < radius[:, None, None]
    return np.full((num_frames, size, size), 30, np.uint8), masks


def count(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int(np.all(picture == color, axis=-1).sum())


def picture_part(painted: np.ndarray, size: int) -> np.ndarray:
    return painted[:, overlay.TITLE_HEIGHT_PX : overlay.TITLE_HEIGHT_PX + size]


def test_every_frame_shows_title_picture_and_curve():
    frames, masks = beating()
    painted = overlay.overlay_frames(frames, masks, fps=50, title="phantom", zoom=4)
    assert painted.dtype == np.uint8
    assert painted.shape == (8, overlay.TITLE_HEIGHT_PX + 128 + area_panel.HEIGHT_PX, 128, 3)
    assert painted[0, : overlay.TITLE_HEIGHT_PX].max() > 200
    for picture in picture_part(painted, 128):
        assert count(picture, AMBER) > 50
        assert count(picture, BLUE) == 0


def test_known_contours_appear_on_the_frames_that_have_them():
    frames, masks = beating()
    painted = picture_part(overlay.overlay_frames(frames, np.roll(masks, 4, 2), {5: masks[5]}, fps=50, zoom=4), 128)
    assert [count(picture, BLUE) > 20 for picture in painted] == [frame == 5 for frame in range(8)]
    everywhere = picture_part(overlay.overlay_frames(frames, np.roll(masks, 4, 2), masks, fps=50, zoom=4), 128)
    assert min(count(picture, BLUE) for picture in everywhere) > 20


def test_the_marker_walks_along_the_curve():
    _, masks = beating()
    panel = area_panel.draw_panel(masks, {}, fps=50, width=200)
    assert (np.diff(panel.columns) > 0).all()
    areas = masks.sum(axis=(1, 2))
    assert panel.rows[areas.argmax()] == panel.rows.min()  # Larger is higher, and rows count from the top.
    assert panel.rows[areas.argmin()] == panel.rows.max()
    for frame in range(8):
        marked = area_panel.panel_at(panel, frame)
        assert marked[panel.rows[frame], panel.columns[frame]].tolist() == [255, 255, 255]
        changed = np.any(marked != panel.picture, axis=-1).any(axis=0)
        assert np.abs(np.flatnonzero(changed) - panel.columns[frame]).max() <= 4


def test_odd_sizes_are_padded_to_even_ones():
    frames, masks = beating(size=31)
    painted = overlay.overlay_frames(frames, masks, fps=50, zoom=3)
    assert painted.shape[1] % 2 == 0
    assert painted.shape[2] == 94


def test_probabilities_and_empty_masks_are_drawn():
    frames, masks = beating()
    overlay.overlay_frames(frames[..., None], masks.astype(np.float32) * 0.9, fps=50)
    painted = overlay.overlay_frames(frames[:1], np.zeros((1, 32, 32), bool), fps=50, zoom=4)
    assert count(picture_part(painted, 128)[0], AMBER) == 0


def test_the_video_plays_at_the_true_speed_with_every_known_frame(tmp_path):
    frames, masks = beating(num_frames=10)
    path = tmp_path / "videos" / "case.mp4"
    poster = overlay.write_overlay(path, frames, masks, {3: masks[3]}, fps=50, title="case", zoom=3)
    painted, fps = video.read_video(path)
    assert (len(painted), fps) == (5, 25)
    still = np.rint(matplotlib.image.imread(poster)[..., :3] * 255)
    assert still.shape == painted[0].shape
    assert np.abs(painted[0] - still).mean() < 4
    assert sorted(os.listdir(path.parent)) == ["case.mp4", "case.png"]


def test_thinning_prefers_known_frames():
    assert overlay._thinned(7, 2, {3, 4}).tolist() == [0, 3, 4, 6]
    assert overlay._thinned(5, 3, set()).tolist() == [0, 3]
    assert overlay._thinned(3, 1, {1}).tolist() == [0, 1, 2]


def test_masks_that_do_not_fit_are_errors_that_say_what_would():
    frames, masks = beating()
    wrong = [
        ({"predicted": masks[:5]}, r"shape \(5, 32, 32\); expected one mask per frame"),
        ({"true": masks[:5]}, r"known masks have shape \(5, 32, 32\)"),
        ({"true": {8: masks[0]}}, "known mask of frame 8"),
        ({"true": {1: masks[0, :5]}}, r"known mask of frame 1 has shape \(5, 32\)"),
        ({"frames": frames.astype(np.float32)}, "float32.*expected uint8"),
        ({"frames": frames[:0]}, "expected uint8"),
        ({"fps": 0.0}, "fps is 0.0"),
        ({"fps": float("nan")}, "fps is nan"),
    ]
    for change, message in wrong:
        with pytest.raises(UserError, match=message):
            overlay.overlay_frames(**{"frames": frames, "predicted": masks, "fps": 50, **change})
    with pytest.raises(UserError, match=r"'\.avi'; expected one of \.mp4, \.webm"):
        overlay.write_overlay("case.avi", frames, masks, fps=50)
