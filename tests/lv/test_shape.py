"""Axis, discs and volumes of masks, against bodies whose volume is known and phantoms whose truth is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lv_shapes import Body, draw_bodies

from data_prep.phantom.heart import BeatingHeart
from data_prep.phantom.sampling import sample_parameters
from echojax import lv
from echojax.errors import UserError

VOLUMES = [lv.simpson_volume, lv.area_length_volume]
SOFT_BODIES = draw_bodies(24, seed=0)
HARD_BODIES = draw_bodies(120, seed=1)


@pytest.fixture(scope="module")
def hearts():
    return [BeatingHeart(sample_parameters(21, index, 40)) for index in range(30)]


@pytest.mark.parametrize("volume", VOLUMES)
def test_soft_masks_of_ellipsoids_and_bullets_have_their_volume_within_half_a_percent(volume):
    for body in SOFT_BODIES:
        assert volume(body.soft_mask()) == pytest.approx(body.volume, rel=5e-3), body


@pytest.mark.parametrize("volume", VOLUMES)
def test_hard_masks_of_ellipsoids_and_bullets_have_their_volume_within_a_percent(volume):
    """Of single masks the grid takes up to two percent: half a pixel at the base is one."""
    errors = [volume(body.mask()) / body.volume - 1 for body in HARD_BODIES]
    assert abs(np.mean(errors)) < 3e-3
    assert np.sqrt(np.mean(np.square(errors))) < 1e-2
    assert np.abs(errors).max() < 2.5e-2


@pytest.mark.parametrize("volume", VOLUMES)
@pytest.mark.parametrize("is_half", [False, True])
def test_a_large_upright_body_is_within_a_percent_as_a_hard_mask(volume, is_half):
    body = Body(length=80, diameter=44, is_half=is_half)
    assert volume(body.mask()) == pytest.approx(body.volume, rel=1e-2)


def test_the_long_axis_ends_at_apex_and_base():
    for body in SOFT_BODIES:
        axis = lv.long_axis(body.soft_mask())
        assert axis.length == pytest.approx(body.length, rel=5e-3)
        # An ellipsoid has no base: its upper end counts as the apex.
        apex, base = sorted((body.end(-1), body.end(1)), key=lambda end: 0 if body.is_half else end[1])
        np.testing.assert_allclose(axis.apex, apex, atol=0.35)
        np.testing.assert_allclose(axis.base, base, atol=0.35)


@pytest.mark.parametrize("degrees", range(0, 360, 30))
def test_rotation_changes_nothing(degrees):
    body = Body(60, 30, np.radians(degrees), is_half=True)
    upright = Body(60, 30, is_half=True)
    assert lv.simpson_volume(body.soft_mask()) == pytest.approx(lv.simpson_volume(upright.soft_mask()), rel=3e-3)


def test_quarter_turns_and_mirror_images_are_equal_to_rounding():
    mask = Body(57, 31, 0.4, is_half=True).mask()
    volume = lv.simpson_volume(mask)
    for turned in (np.rot90(mask), np.rot90(mask, 2), mask[:, ::-1], mask.T):
        assert lv.simpson_volume(turned) == pytest.approx(volume, rel=1e-9)


def test_a_tilted_mitral_plane_leaves_the_volume_to_its_middle():
    """A cylinder under a half ellipsoid, cut obliquely: the wedge lost on one side is gained on the other."""
    body = Body(80, 30, is_half=True)
    rows, columns = np.mgrid[:112, :112]
    for degrees in (-12, 12):
        plane = 80 + np.tan(np.radians(degrees)) * (columns - body.x)
        tilted = body.mask() & (rows < plane)
        level = body.mask() & (rows < 80)
        assert lv.simpson_volume(tilted) == pytest.approx(lv.simpson_volume(level), rel=1.5e-2)


def test_spacing_gives_millilitres_and_scales_by_the_cube():
    mask = Body(60, 30, 0.7).mask()
    for volume in VOLUMES:
        assert volume(mask, 0.2) == pytest.approx(volume(mask) * 0.2**3, rel=1e-12)
        assert volume(mask, (0.2, 0.2)) == pytest.approx(volume(mask, 0.2), rel=1e-12)
    assert lv.long_axis(mask, 0.2).length == pytest.approx(0.2 * lv.long_axis(mask).length, rel=1e-12)


@pytest.mark.parametrize("volume", VOLUMES)
@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2, np.pi / 2])
def test_pixels_need_not_be_square(volume, angle):
    body = Body(8.0, 4.0, angle, x=7.0, y=9.0)
    spacing = (0.16, 0.11)
    assert volume(body.soft_mask(128, 8, *spacing), spacing) == pytest.approx(body.volume, rel=1e-2)
    axis = lv.long_axis(body.soft_mask(128, 8, *spacing), spacing)
    assert axis.length == pytest.approx(8.0, rel=1e-2)
    ends = np.array([axis.apex, axis.base]) * np.array(spacing)[::-1]
    np.testing.assert_allclose(np.hypot(*(ends[1] - ends[0])), 8.0, rtol=1e-2)


def test_time_is_vectorised():
    masks = np.stack([body.mask() for body in HARD_BODIES[:6]]).reshape(2, 3, 112, 112)
    for volume in VOLUMES:
        together = volume(masks)
        assert together.shape == (2, 3)
        np.testing.assert_allclose(together, [[volume(mask) for mask in row] for row in masks], rtol=1e-9)
    assert lv.long_axis(masks).apex.shape == (2, 3, 2)
    diameters, length = lv.disc_diameters(masks)
    assert diameters.shape == (2, 3, 20) and length.shape == (2, 3)


@pytest.mark.parametrize("volume", VOLUMES)
def test_islands_and_holes_do_not_count(volume):
    body = Body(60, 30, 0.3, is_half=True)
    clean = body.mask()
    dirty = clean.copy()
    dirty[2:12, 2:12] = True
    dirty[52:56, 54:58] = False
    assert volume(dirty) == pytest.approx(volume(clean), rel=1e-12)
    soft = np.where(clean, 0.9, 0.0)
    assert volume(np.where(dirty, soft, 0.0) + 0.8 * (dirty & ~clean)) == pytest.approx(volume(soft), rel=0.03)


@pytest.mark.parametrize("num_discs", [1, 3, 20, 200])
def test_any_number_of_discs_keeps_the_area(num_discs):
    mask = Body(60, 30, 0.3, is_half=True).mask()
    diameters, length = lv.disc_diameters(mask, num_discs=num_discs)
    assert diameters.mean() * length == pytest.approx(mask.sum(), rel=1e-9)
    with pytest.raises(UserError, match="0 discs"):
        lv.simpson_volume(mask, num_discs=0)


def test_lists_are_masks_too():
    assert lv.simpson_volume([[0.0, 1.0], [0.0, 1.0]]) == lv.simpson_volume(np.array([[False, True], [False, True]]))


def test_an_empty_mask_has_no_volume_and_disturbs_no_other():
    masks = np.stack([np.zeros((112, 112), bool), Body(60, 30).mask()])
    for volume in VOLUMES:
        np.testing.assert_array_equal(np.isnan(volume(masks)), [True, False])
        assert np.isnan(volume(masks[0])) and np.isnan(volume(masks[0].astype(np.float32)))
    assert np.isnan(lv.long_axis(masks[0]).apex).all() and np.isnan(lv.disc_chords(masks[0])).all()


@pytest.mark.parametrize("num_pixels", [1, 2, 5])
def test_a_few_pixels_have_a_finite_volume(num_pixels):
    mask = np.zeros((9, 9), bool)
    mask[4, 2 : 2 + num_pixels] = True
    for volume in VOLUMES:
        assert 0 < volume(mask) < 8 * num_pixels**2


def test_what_the_border_cuts_off_is_missing_and_nothing_else():
    whole = Body(60, 30, y=55.5)
    cut = Body(60, 30, y=10.0)  # a third of it lies above the picture
    ratio = lv.simpson_volume(cut.mask()) / lv.simpson_volume(whole.mask())
    u = (0 - 10.0) / 30  # cut at this height of the unit sphere
    kept = 1 - (1 + u) ** 2 * (2 - u) / 4
    assert ratio == pytest.approx(kept, rel=0.02)


@pytest.mark.parametrize("volume", VOLUMES)
def test_volumes_of_soft_masks_are_differentiable(volume):
    """Against central differences, in directions that change every pixel."""
    soft = np.clip(Body(20, 11, 0.4, x=15.0, y=16.0, is_half=True).soft_mask(32), 0.02, 0.98)
    with jax.enable_x64(True):
        volume_and_gradient = jax.jit(jax.value_and_grad(volume))
        mask = jnp.asarray(soft)
        _, gradient = volume_and_gradient(mask)
        assert gradient.dtype == np.float64 and np.isfinite(gradient).all()
        for seed in range(4):
            direction = np.random.default_rng(seed).standard_normal(soft.shape)
            up, down = (volume_and_gradient(mask + step * direction)[0] for step in (1e-6, -1e-6))
            assert float(jnp.sum(gradient * direction)) == pytest.approx(float(up - down) / 2e-6, rel=1e-5)
        # More of the ventricle is more volume.
        assert float(jnp.sum(gradient * (mask > 0.5))) > 0


@pytest.mark.parametrize("volume", VOLUMES)
def test_traced_float32_and_numpy_agree(volume):
    soft = Body(20, 11, 0.4, x=15.0, y=16.0).soft_mask(32).astype(np.float32)
    traced = jax.jit(volume)(jnp.asarray(soft))
    assert traced.dtype == np.float32
    assert float(traced) == pytest.approx(float(volume(soft)), rel=1e-4)


def test_volumes_of_phantoms_are_known_within_a_few_percent(hearts):
    """Phantoms lean, bend and have tilted mitral planes; their truth is the method of discs about their own axis."""
    errors = np.concatenate([lv.simpson_volume(heart.masks()[::4]) / heart.volume_px3[::4] - 1 for heart in hearts])
    assert abs(errors.mean()) < 5e-3
    assert np.sqrt(np.mean(errors**2)) < 1.5e-2
    assert np.abs(errors).max() < 7e-2


def test_lvef_of_phantoms_is_known_within_a_point(hearts):
    errors = []
    for heart in hearts:
        volume = lv.simpson_volume(heart.masks())
        ed, es = heart.volume_px3.argmax(), heart.volume_px3.argmin()
        truth = lv.lvef(heart.volume_px3[ed], heart.volume_px3[es])
        errors.append(lv.lvef(volume[ed], volume[es]) - truth)
    assert np.mean(np.abs(errors)) < 0.7
    assert np.abs(errors).max() < 2


def test_the_axis_of_phantoms_starts_at_their_apex(hearts):
    misses = [np.hypot(*(lv.long_axis(heart.masks()[0]).apex - heart.long_axis()[0, 0])) for heart in hearts]
    assert np.mean(misses) < 1.5


def test_chords_lie_across_the_axis_from_apex_to_base():
    body = Body(60, 30, 0.5, is_half=True)
    chords = lv.disc_chords(body.soft_mask())
    assert chords.shape == (20, 2, 2)
    middle = chords.mean(axis=1)
    axis = body.end(1) - body.end(-1)
    along = (middle - body.end(-1)) @ axis / 60
    np.testing.assert_allclose(along, (np.arange(20) + 0.5) * 3, atol=0.5)
    widths = np.linalg.norm(chords[:, 1] - chords[:, 0], axis=-1)
    np.testing.assert_allclose(widths, 30 * np.sqrt(1 - (1 - along / 60) ** 2), atol=0.6)
    cosines = (chords[:, 1] - chords[:, 0]) @ axis / (widths * 60)
    np.testing.assert_allclose(cosines, 0, atol=1e-3)


@pytest.mark.parametrize(
    ("masks", "spacing", "message"),
    [
        (np.full((4, 4), 3.0), None, r"float64, not floats, or hold values beyond 0 \.\. 1"),
        (np.full((4, 4), np.nan), None, "expected bool, or probabilities"),
        (np.full((4, 4), 200, np.uint8), None, "stored masks with 127"),
        (np.zeros(4, bool), None, r"shape \(4,\); expected \(..., height, width\)"),
        (np.zeros((4, 4), bool), 0.0, "spacing_cm is 0.0"),
        (np.zeros((4, 4), bool), (0.1, np.nan), "spacing_cm is"),
        (np.zeros((4, 4), bool), (0.1, 0.1, 0.1), "spacing_cm is"),
    ],
)
def test_what_is_no_mask_is_refused(masks, spacing, message):
    with pytest.raises(UserError, match=message):
        lv.simpson_volume(masks, spacing)
