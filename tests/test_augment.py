"""Training pictures varied: what each kind changes, what it leaves alone, and that a key says it all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from echojax import augment
from echojax.augment import AugmentStrength, augment_frames
from echojax.errors import UserError

KINDS = tuple(kind for kind in AugmentStrength._fields if kind != "share")
FULL = AugmentStrength(*(1.0 for _ in KINDS))


@pytest.fixture(scope="module")
def pictures():
    """Eight times the same picture: a grey disc on a darker, textured sector in black; and the disc's mask."""
    y, x = np.mgrid[:112, :112]
    sector = np.abs(x - 56) < 0.8 * (y - 4)
    disc = np.hypot(y - 60, x - 50) < 20
    texture = np.random.default_rng(0).integers(40, 120, (112, 112))
    frame = np.where(disc, 20, texture) * sector
    return np.repeat(frame[None].astype(np.uint8), 8, 0), np.repeat(disc[None].astype(np.float32), 8, 0)


def only(kind: str) -> AugmentStrength:
    return AugmentStrength(**{kind: 1.0})


def test_strength_zero_changes_no_bit(pictures):
    frames, masks = augment_frames(jax.random.key(0), *pictures, AugmentStrength())
    np.testing.assert_array_equal(frames, pictures[0])
    np.testing.assert_array_equal(masks, pictures[1])


def test_a_key_says_it_all_and_every_picture_is_changed_in_its_own_way(pictures):
    first, again, other = (np.asarray(augment_frames(jax.random.key(seed), *pictures, FULL)[0]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.3
    assert all((first[0] != each).mean() > 0.3 for each in first[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_geometry_moves_the_mask(pictures, kind):
    frames, masks = augment_frames(jax.random.key(3), *pictures, only(kind))
    assert frames.dtype == jnp.uint8 and frames.shape == pictures[0].shape
    assert (np.asarray(frames) != pictures[0]).any()
    assert float(masks.min()) >= 0 and float(masks.max()) <= 1
    assert np.array_equal(masks, pictures[1]) == (kind != "geometry")


def test_only_a_share_is_changed_and_the_others_keep_every_bit(pictures):
    many = [np.repeat(array, 8, 0) for array in pictures]
    frames, masks = augment_frames(jax.random.key(4), *many, FULL._replace(share=0.25))
    is_same = (np.asarray(frames) == many[0]).all((1, 2))
    np.testing.assert_array_equal(np.asarray(masks)[is_same], many[1][is_same])
    assert 0.6 < is_same.mean() < 0.9
    assert not (np.asarray(masks)[~is_same] == many[1][~is_same]).all((1, 2)).any()


def test_picture_and_mask_move_together():
    mask = (np.hypot(*(np.mgrid[:112, :112] - 56)) < 18).astype(np.float32)[None]
    frames, masks = augment_frames(jax.random.key(5), np.uint8(200 * mask), mask, only("geometry"))
    np.testing.assert_allclose(np.asarray(frames) / 200, masks, atol=0.5 / 200 + 1e-5)
    assert not np.array_equal(masks, mask)


def test_a_weak_geometry_stays_near(pictures):
    moved = {}
    for strength in (0.1, 1.0):
        _, masks = augment_frames(jax.random.key(5), *pictures, AugmentStrength(geometry=strength))
        y, x = np.mgrid[:112, :112]
        area = np.asarray(masks).sum((1, 2))
        centres = np.stack([(np.asarray(masks) * each).sum((1, 2)) / area for each in (y, x)])
        moved[strength] = np.hypot(*(centres - [[60], [50]])).max()
    assert 0 < moved[0.1] < 3 < moved[1.0] < 30


@pytest.mark.parametrize("kind", ["geometry", "gray", "cuts"])
def test_black_pictures_stay_black(kind):
    black = np.zeros((4, 112, 112), np.uint8)
    frames, _ = augment_frames(jax.random.key(2), black, black.astype(np.float32), only(kind))
    assert not np.asarray(frames).any()


def test_marks_keep_to_the_border(pictures):
    frames, _ = augment_frames(jax.random.key(1), *pictures, only("marks"))
    changed = np.asarray(frames) != pictures[0]
    assert changed.any()
    assert not changed[:, 28:84, 28:84].any()
    assert np.asarray(frames)[changed].min() >= 80


def test_blur_has_the_variance_asked_for_and_keeps_flat_pictures():
    point = jnp.zeros((2, 15, 15)).at[:, 7, 7].set(1.0)
    nothing, blurred = np.asarray(augment.blur(point, jnp.array([0.0, 0.8])))
    np.testing.assert_array_equal(nothing, point[0])
    assert blurred.sum() == pytest.approx(1, abs=1e-6)
    for axis in (0, 1):
        assert (blurred.sum(1 - axis) * np.square(np.arange(15) - 7)).sum() == pytest.approx(0.64, rel=0.02)
    np.testing.assert_allclose(augment.blur(jnp.full((1, 9, 9), 70.0), jnp.array([1.5])), 70, rtol=1e-6)


def test_a_strength_beyond_the_range_is_an_error_that_names_it():
    settings = base.get_config().augment
    assert AugmentStrength.from_config(settings) == AugmentStrength()
    settings.cuts = 1.5
    with pytest.raises(UserError, match=r"augment\.cuts is 1\.5, expected 0"):
        AugmentStrength.from_config(settings)
