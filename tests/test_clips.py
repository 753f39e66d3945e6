"""Clip starts, padding, crops and splits against the original's numbers and by brute force."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from echojax import clips
from echojax.errors import UserError

MEAN, STD = np.float32([30, 33, 36]), np.float32([48, 50, 52])


def grey_levels(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# --- Starts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_frames, expected", [(28, 2), (63, 2), (64, 2), (65, 3), (176, 114), (1002, 940)])
def test_invariant_3_number_of_starts(num_frames, expected):
    assert clips.num_starts(num_frames, 32, 2) == expected
    np.testing.assert_array_equal(clips.all_starts(num_frames, 32, 2), np.arange(expected))


def test_number_of_starts_of_a_cyclic_clip():
    assert clips.num_starts(200, 40, 3) == 200 - 117


@pytest.mark.parametrize("num_frames", [1, 40, 64, 70, 176])
def test_annotated_starts_are_those_whose_clip_has_the_frame(num_frames):
    for frame in range(num_frames):
        expected = [s for s in clips.all_starts(num_frames, 32, 2) if frame in range(s, s + 64, 2)]
        np.testing.assert_array_equal(clips.annotated_starts(frame, num_frames, 32, 2), expected)


def test_a_frame_beyond_the_end_has_no_clip_of_its_own_and_gets_every_start():
    np.testing.assert_array_equal(clips.annotated_starts(500, 300, 40, 3), np.arange(300 - 117))


@pytest.mark.parametrize(
    "draw, expected",
    [
        (lambda rng: clips.uniform_start(rng, 70, 32, 2), range(8)),
        (lambda rng: clips.uniform_start(rng, 20, 32, 2), range(2)),
        (lambda rng: clips.annotated_start(rng, 9, 70, 32, 2), range(1, 8, 2)),
        (lambda rng: clips.template_start(rng), range(11)),
        (lambda rng: clips.template_start(rng, template=8, chunk=2, offset=3), range(4)),
        (lambda rng: int(clips.crop_offsets(rng, 12)[0]), range(24)),
        (lambda rng: int(clips.crop_offsets(rng, 12)[1]), range(24)),
    ],
)
def test_draws_reach_every_value_equally_and_no_other(draw, expected):
    rng, num_draws = np.random.default_rng(0), 4000
    values, counts = np.unique([draw(rng) for _ in range(num_draws)], return_counts=True)
    np.testing.assert_array_equal(values, expected)
    share = num_draws / len(expected)
    assert np.all(np.abs(counts - share) < 5 * np.sqrt(share))


def test_crop_offsets_are_two_independent_numbers():
    offsets = np.stack([clips.crop_offsets(np.random.default_rng(seed), 12) for seed in range(200)])
    assert offsets.dtype == np.int32
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.3


@pytest.mark.parametrize("num_frames", [1, 2, 30, 63, 64, 65, 100])
def test_clip_slice_reads_the_frames_that_exist_and_no_more(num_frames):
    video = np.arange(num_frames)
    for start in clips.all_starts(num_frames, 32, 2):
        first, stop, step, num_valid = clips.clip_slice(int(start), 32, 2, num_frames)
        expected = [frame for frame in range(start, start + 64, 2) if frame < num_frames]
        np.testing.assert_array_equal(video[first:stop:step], expected)
        assert num_valid == len(expected)
        assert stop == (expected[-1] + 1 if expected else first)


# --- Splits -----------------------------------------------------------------------------------------------------------


def test_invariant_1_split_for_semi_supervision():
    labelled, unlabelled = clips.ssl_split(7465, *clips.default_ssl_counts(7465))
    order = np.concatenate([labelled, unlabelled])
    assert (len(labelled), len(unlabelled), len(set(order))) == (920, 6440, 7360)
    np.testing.assert_array_equal(order[:10], [2425, 3440, 39, 3251, 5590, 2853, 1029, 3788, 5421, 3323])
    np.testing.assert_array_equal(order[919:923], [2830, 2604, 4627, 3954])
    digest = hashlib.sha1(np.sort(labelled).astype("<i8").tobytes()).hexdigest()
    assert digest == "82e48589938f3ce4a7709f372ddb97cd6fcfdfe6"


def test_split_counts_fit_any_number_of_videos():
    assert clips.default_ssl_counts(7465) == (920, 6440)
    assert clips.default_ssl_counts(200) == (25, 173)
    for num_videos in range(1000):
        labelled, unlabelled = clips.ssl_split(num_videos, *clips.default_ssl_counts(num_videos))
        assert not set(labelled) & set(unlabelled)


@pytest.mark.parametrize("counts", [(6, 5), (-1, 5), (3, -1)])
def test_split_of_too_few_videos_names_the_counts(counts):
    with pytest.raises(UserError, match=f"{counts[0]} labelled and {counts[1]} unlabelled .* has 10"):
        clips.ssl_split(10, *counts)


def test_videos_of_the_pixel_statistics():
    chosen = clips.statistics_choice(7460)
    np.testing.assert_array_equal(chosen[:10], [7009, 5191, 6251, 4224, 1785, 4284, 3874, 6703, 2667, 495])
    assert len(set(chosen)) == 128
    assert sorted(clips.statistics_choice(5)) == [0, 1, 2, 3, 4]


# --- On the device ----------------------------------------------------------------------------------------------------


def test_normalise_is_per_channel_and_shows_grey_as_rgb():
    frames = grey_levels(2, 4, 5, 6, 3)
    np.testing.assert_allclose(clips.normalise(frames, MEAN, STD), (frames - MEAN) / STD, rtol=1e-6)
    grey = clips.normalise(frames[..., :1], MEAN, STD)
    np.testing.assert_array_equal(grey, clips.normalise(np.repeat(frames[..., :1], 3, axis=-1), MEAN, STD))


def test_invariant_5_mask_channel():
    np.testing.assert_array_equal(clips.mask_channel(jnp.array([0.0, np.inf, -np.inf])), [0, 1, -1])
    logits = np.linspace(-12, 12, 101, dtype=np.float32)
    np.testing.assert_allclose(clips.mask_channel(jnp.asarray(logits)), np.tanh(logits / 2), atol=1e-6)
    np.testing.assert_allclose(clips.mask_channel(jnp.asarray(logits)), 2 / (1 + np.exp(-logits)) - 1, atol=1e-6)


def test_mask_channel_of_stored_masks_is_that_of_logits_within_half_a_step():
    logits = np.linspace(-12, 12, 101, dtype=np.float32)
    stored = np.round(255 / (1 + np.exp(-logits))).astype(np.uint8)
    channel = clips.mask_channel(jnp.asarray(stored))
    np.testing.assert_allclose(channel, clips.mask_channel(jnp.asarray(logits)), atol=1.001 / 255)
    np.testing.assert_allclose(clips.mask_channel(jnp.uint8([0, 255])), [-1, 1], atol=1e-7)


def test_invariant_4_pad_crop():
    clip = np.random.default_rng(0).normal(size=(3, 2, 30, 28, 2)).astype(np.float32)
    offsets = np.array([[12, 12], [0, 0], [23, 5]], np.int32)
    out = clips.pad_crop(jnp.asarray(clip), offsets, 12, 0.25)
    np.testing.assert_array_equal(out[0], clip[0])
    assert np.all(out[1, :, :12] == 0.25) and np.all(out[1, :, :, :12] == 0.25)
    np.testing.assert_array_equal(out[1, :, 12:, 12:], clip[1, :, :-12, :-12])
    np.testing.assert_array_equal(out[2, :, :-11, 7:], clip[2, :, 11:, :-7])
    assert np.all(out[2, :, -11:] == 0.25) and np.all(out[2, :, :, :7] == 0.25)


def by_hand(frames, num_valid, masks, offset, pad, mask_pad) -> np.ndarray:
    """One clip, prepared frame by frame on a canvas of padding."""
    t, h, w, _ = frames.shape
    canvas = np.zeros((t, h + 2 * pad, w + 2 * pad, 4), np.float32)
    canvas[..., 3] = mask_pad
    picture = canvas[:, pad : pad + h, pad : pad + w]
    picture[..., 3] = -1
    picture[:num_valid, ..., :3] = ((frames - MEAN) / STD)[:num_valid]
    picture[:num_valid, ..., 3] = (2 / (1 + np.exp(-masks)) - 1)[:num_valid]
    row, column = offset
    return canvas[:, row : row + h, column : column + w]


@pytest.mark.parametrize("mask_pad", [-1.0, 0.0])
@pytest.mark.parametrize("num_channels", [1, 3])
def test_prepare_clips_is_what_it_says(mask_pad, num_channels):
    frames = grey_levels(4, 6, 20, 18, num_channels)
    masks = np.random.default_rng(1).normal(size=(4, 6, 20, 18)).astype(np.float32)
    num_valid = np.array([6, 4, 1, 0], np.int32)
    crop = np.array([[5, 5], [0, 9], [9, 0], [7, 3]], np.int32)
    prepare = jax.jit(lambda *arrays: clips.prepare_clips(*arrays, pad=5, mask_pad=mask_pad))
    out = prepare(frames, num_valid, MEAN, STD, masks, crop)
    expected = [by_hand(*clip, 5, mask_pad) for clip in zip(frames, num_valid, masks, crop, strict=True)]
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_invariant_3_frames_beyond_the_video_are_empty_whatever_is_stored_there():
    frames, masks = grey_levels(2, 6, 8, 8, 3), grey_levels(2, 6, 8, 8, seed=1)
    out = clips.prepare_clips(frames, np.array([4, 0], np.int32), MEAN, STD, jnp.asarray(masks))
    for beyond in (out[0, 4:], out[1]):
        assert np.all(beyond[..., :3] == 0)
        assert np.all(beyond[..., 3] == -1)
    assert np.all(np.abs(out[0, :4]).sum(axis=(1, 2, 3)) > 0)


def test_prepare_clips_without_masks_has_the_same_picture():
    frames, masks = grey_levels(2, 3, 9, 9, 3), grey_levels(2, 3, 9, 9, seed=1)
    num_valid, crop = np.array([3, 2], np.int32), np.array([[1, 2], [3, 0]], np.int32)
    picture = clips.prepare_clips(frames, num_valid, MEAN, STD, crop=crop, pad=2)
    assert picture.shape == (2, 3, 9, 9, 3)
    with_mask = clips.prepare_clips(frames, num_valid, MEAN, STD, jnp.asarray(masks), crop, pad=2)
    np.testing.assert_array_equal(with_mask[..., :3], picture)


def test_prepare_clips_rounds_to_the_networks_precision_last():
    frames = grey_levels(1, 2, 8, 8, 3)
    arguments = (frames, np.array([2], np.int32), MEAN, STD)
    half = clips.prepare_clips(*arguments, dtype=jnp.bfloat16)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(half, clips.prepare_clips(*arguments).astype(jnp.bfloat16))
