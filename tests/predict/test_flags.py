"""Flags: each doubtful clip raises its own, and a good one none."""

import numpy as np
import pytest
from predict_clips import (
    INSIDE_LEVEL,
    bright_segmentation,
    make_bright_frames,
    make_calibration,
    make_clip,
    make_phantom,
)

from echojax.predict import predict_clip

FPS = 40.0


def kinds(frames, fps=FPS, segmentation=None):
    prediction = predict_clip(make_clip(frames, fps), segmentation or bright_segmentation())
    return {flag.kind for flag in prediction.flags}


def with_masks(masks, index=0):
    """The phantom's clip with other ventricles painted in."""
    return np.where(masks, np.uint8(INSIDE_LEVEL), make_phantom(index).frames[: len(masks)] // 3)


def beating_ellipse(half_height, half_width):
    """Masks of an ellipse whose width beats by a tenth, in the middle of the sector."""
    y, x = np.mgrid[:112, :112]
    widths = half_width * (1 + 0.1 * np.cos(np.arange(72) / 5))[:, None, None]
    return ((y - 60) / half_height) ** 2 + ((x - 56) / widths) ** 2 < 1


def segmentation_of(masks):
    """A network that finds these masks in a clip, whatever it shows; of one view, as others are shifted."""
    return bright_segmentation(segment=lambda frames: np.where(masks, 8.0, -8.0).astype(np.float32))


def test_a_good_clip_has_no_flags():
    clip = make_clip(make_phantom().frames, make_phantom().parameters.fps)
    prediction = predict_clip(clip, segmentation_of(make_phantom().masks), num_views=1)
    assert prediction.flags == ()


def test_no_beat_where_the_ventricle_stands_still():
    masks = np.repeat(make_phantom().masks[:1], 72, axis=0)
    assert "no_beat" in kinds(with_masks(masks))
    prediction = predict_clip(make_clip(with_masks(masks)), bright_segmentation())
    assert prediction.lvef_percent is None and prediction.measurement.disagreement is None


def test_no_interval_for_what_is_no_apical_view():
    calibration = make_calibration()
    masks = make_phantom().masks.copy()
    masks[::2] = False
    clip = make_clip(with_masks(masks))
    prediction = predict_clip(clip, bright_segmentation(calibration=calibration))
    assert "not_apical" in {flag.kind for flag in prediction.flags}
    assert prediction.interval.low is None and "not of the kind" in prediction.interval.reason


@pytest.mark.parametrize(
    ("half_height", "half_width"), [(9, 4), (48, 40), (12, 32)], ids=["tiny", "huge", "across the beam"]
)
def test_not_apical(half_height, half_width):
    # Painted in, so large an ellipse would hide the sector.
    clip = make_clip(make_phantom().frames, make_phantom().parameters.fps)
    segmentation = segmentation_of(beating_ellipse(half_height, half_width))
    flags = predict_clip(clip, segmentation, num_views=1).flags
    assert "not_apical" in {flag.kind for flag in flags}


def test_not_apical_where_much_lies_apart():
    masks = beating_ellipse(24, 12)
    masks[:, 90:108, 40:72] = True
    assert "not_apical" in kinds(with_masks(masks))


def test_too_few_frames_and_too_low_a_rate():
    frames = make_bright_frames()
    assert "too_few_frames" in kinds(frames[:14])
    assert "too_few_frames" in kinds(frames[:24], fps=60)
    assert "too_few_frames" not in kinds(frames)
    assert "low_frame_rate" in kinds(frames[::3], fps=FPS / 3)
    assert "low_frame_rate" not in kinds(frames)


def test_lost_frames():
    masks = make_phantom().masks.copy()
    masks[5:60:8] = False
    assert "lost_frames" in kinds(with_masks(masks))


def test_foreshortening_of_a_round_ventricle():
    assert "foreshortening" in kinds(with_masks(beating_ellipse(19, 18)))
    assert "foreshortening" not in kinds(make_bright_frames())


def test_a_ventricle_on_the_edge_is_cut():
    y, x = np.mgrid[:112, :112]
    width = 22 + 3 * np.cos(np.arange(72) / 5)
    masks = (np.abs(x - 50) < width[:, None, None] / 2) & (y > 70)
    assert "cut_ventricle" in kinds(with_masks(masks))


def test_poor_contrast():
    phantom = make_phantom()
    rng = np.random.default_rng(0)
    inside_sector = phantom.frames.max(0) > 0
    haze = np.where(inside_sector, rng.integers(60, 100, phantom.frames.shape), 0).astype(np.uint8)
    prediction = predict_clip(
        make_clip(haze, phantom.parameters.fps), segmentation_of(make_phantom().masks), num_views=1
    )
    assert "poor_contrast" in {flag.kind for flag in prediction.flags}
