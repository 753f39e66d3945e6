"""What is done to frames before EchoCLIP sees them."""

import jax
import numpy as np
import pytest
from PIL import Image

from echojax import video
from echojax.echoclip import MASK_THRESHOLD, images
from echojax.errors import UserError
from echojax.records import encode_logits


def random_frames(*shape):
    """Grey levels with as many black and white pixels as others, so that sums leave 0 to 255."""
    return np.random.default_rng(0).integers(-255, 511, shape).clip(0, 255).astype(np.uint8)


def pillow_resize(frames, height, width):
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height), Image.BICUBIC)) for frame in frames])


@pytest.mark.parametrize(
    ("height", "width", "to"),
    [(112, 112, (224, 224)), (90, 90, (224, 224)), (300, 200, (336, 224)), (13, 7, (224, 100)), (50, 51, (50, 53))],
)
def test_resize_equals_pillow_bit_for_bit(height, width, to):
    frames = random_frames(2, height, width, 3)
    resized = jax.jit(lambda x: images.resize_bicubic(x, *to))(frames)
    assert resized.dtype == np.uint8
    assert np.array_equal(resized, pillow_resize(frames, *to))


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"), [(60, 81, (0, 32), (6, 38)), (91, 60, (8, 40), (0, 32))]
)
def test_the_shorter_side_is_scaled_and_the_middle_cut_out(height, width, rows, columns):
    frames = random_frames(1, height, width, 3)
    scaled = pillow_resize(frames, 32 * height // min(height, width), 32 * width // min(height, width))
    result = images.to_network_size(frames, 32)
    assert np.array_equal(result, scaled[:, slice(*rows), slice(*columns)])


def test_frames_of_the_right_size_stay_as_they_are():
    frames = random_frames(2, 32, 32, 1)
    assert np.array_equal(images.to_network_size(frames, 32), frames)


def test_zoom_cuts_a_tenth_off_every_side():
    frames = random_frames(2, 112, 112, 1)
    assert np.array_equal(images.zoom(frames), frames[:, 11:101, 11:101])
    # Of a wide picture, the middle first.
    wide = random_frames(1, 20, 40, 3)
    assert np.array_equal(images.zoom(wide), wide[:, 2:18, 12:28])


def test_black_out_leaves_the_video_untouched():
    frames = random_frames(2, 6, 6, 3) | 1
    before = frames.copy()
    masks = np.zeros((2, 6, 6), bool)
    masks[1, 2:4, 3] = True
    result = images.black_out(frames, masks)
    assert np.array_equal(frames, before)
    assert not result[1, 2:4, 3].any()
    assert np.array_equal(np.all(result == 0, axis=-1), masks)
    with pytest.raises(UserError, match=r"masks are \(2, 6, 5\), frames \(2, 6, 6\)"):
        images.black_out(frames, masks[..., :5])


def test_dilation_is_a_square_of_five_pixels_per_frame():
    masks = np.zeros((3, 9, 9), bool)
    masks[1, 4, 1] = True
    widened = images.dilate(masks)
    expected = np.zeros_like(masks)
    expected[1, 2:7, 0:4] = True
    assert np.array_equal(widened, expected)
    assert not images.dilate(np.zeros((2, 9, 9), bool)).any()


def test_invariant_10_a_logit_of_zero_is_no_foreground_for_echoclip():
    logits = np.array([-6, -2.3, -2.1, -0.77, -0.76, -0.01, 0, 0.008, 5, 16, 17], np.float32)
    stored = encode_logits(logits, "floor")
    assert stored.tolist() == [0, 23, 27, 80, 81, 126, 127, 128, 253, 254, 255]
    assert (stored > MASK_THRESHOLD).tolist() == [False] * 7 + [True] * 4


@pytest.mark.parametrize("method", ["area", "linear", "cubic"])
def test_video_resize(method):
    for channels in (1, 3):
        frames = np.full((2, 10, 12, channels), 77, np.uint8)
        resized = video.resize(frames, 5, 6, method)
        assert resized.shape == (2, 5, 6, channels)
        assert (resized == 77).all()
    gradient = np.tile(np.arange(0, 240, 20, dtype=np.uint8)[None, None, :, None], (1, 4, 1, 1))
    # Centres of pixel pairs.
    np.testing.assert_allclose(video.resize(gradient, 2, 6, method)[0, 0, 1:-1, 0], [50, 90, 130, 170], atol=1)


def test_video_resize_knows_its_methods():
    with pytest.raises(ValueError, match="expected one of area, linear, cubic"):
        video.resize(np.zeros((1, 4, 4, 1), np.uint8), 2, 2, "lanczos")
