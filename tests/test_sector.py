import dataclasses
import functools

import numpy as np
import pydicom
import pytest
import shared
from scipy import ndimage
from tiny_screen import enlarge, make_speckle, put_on_screen

from data_prep.phantom import render, sample_parameters
from echojax import video
from echojax.errors import UserError
from echojax.fan import Fan, fit_fan
from echojax.reading import Region, read_clip
from echojax.sector import Sector, Window, find_sector, resample, resampled_spacing, restore_masks

UNCUT = {"left": -1e4, "right": 1e4, "bottom": 1e4}
PHASED = Fan(400, 60, 0.0, np.radians(42), 12, 470, **UNCUT)
FANS = {
    "phased": PHASED,
    "tilted": Fan(380, 70, np.radians(8), np.radians(36), 20, 430, **UNCUT),
    "curved": Fan(400, -120, 0.0, np.radians(28), 190, 640, **UNCUT),
    "narrow": Fan(300, 80, 0.0, np.radians(22), 10, 450, **UNCUT),
    "cut": Fan(400, 60, 0.0, np.radians(44), 12, 480, left=170, right=640, bottom=500),
}


def flags_of(sector: Sector) -> set[str]:
    return {flag.kind for flag in sector.flags}


def overlap(one, other) -> float:
    return np.sum(one & other) / np.sum(one | other)


@functools.cache
def phantom(index: int) -> np.ndarray:
    return render(sample_parameters(11, index, 16, variety=0.3)).frames


@functools.cache
def varied_phantom(index: int) -> np.ndarray:
    return render(sample_parameters(23, index, 16, variety=0.5)).frames


@pytest.mark.parametrize("fan", FANS.values(), ids=FANS)
def test_known_fans_are_found(fan):
    screen = put_on_screen(make_speckle(fan, 600, 800), 0, 0)
    sector = find_sector(screen)
    true = fan.mask(600, 800)
    assert overlap(sector.fan.mask(600, 800), true) > 0.96
    assert overlap(sector.mask, true) > 0.95
    # Letters, bars and banner are gone.
    assert not sector.mask[:34].any() and not sector.mask[:, 765:].any()
    assert flags_of(sector) == {"text_outside"}


def test_a_fan_in_a_still_smaller_grid():
    small = PHASED.scaled(0.14)
    moving = small.mask(84, 112).astype(float)
    found = fit_fan(moving)
    assert np.degrees(found.half_angle) == pytest.approx(42, abs=1.5)
    assert (found.apex_x, found.far) == (pytest.approx(small.apex_x, abs=0.7), pytest.approx(small.far, abs=1))
    assert fit_fan(np.zeros((84, 112))) is None


def test_scaling_a_fan_keeps_its_place():
    fan = FANS["cut"]
    assert overlap(fan.mask(600, 800), fan.scaled(2).mask(1200, 1600)[::2, ::2]) > 0.985
    assert fan.scaled(2).scaled(0.5).apex_x == pytest.approx(fan.apex_x)


def test_the_window_lies_as_in_echonet_dynamic():
    window = find_sector(put_on_screen(make_speckle(PHASED, 600, 800), 0, 0)).window
    assert window.height == window.width
    # Apex 8 of 112 pixels below the upper edge, the lower arc just at the lower one, the middle beam in the middle.
    assert (PHASED.apex_y - window.top) / window.height == pytest.approx(8 / 112, abs=0.03)
    assert (PHASED.apex_y + PHASED.far - window.top) / window.height == pytest.approx(1, abs=0.03)
    assert (PHASED.apex_x - window.left) / window.width == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("index, side, top, left", [(0, 480, 60, 150), (3, 336, 200, 90), (2, 420, 120, 300)])
def test_a_crop_pasted_on_a_screen_is_found_to_a_few_pixels(index, side, top, left):
    screen = put_on_screen(enlarge(phantom(index), side), top, left)
    sector = find_sector(screen)
    true = top, left, top + side, left + side
    window = sector.window
    found = window.top, window.left, window.top + window.height, window.left + window.width
    # In pixels of the network's 112.
    assert np.abs(np.subtract(found, true)).max() * 112 / side < 4.5
    small = resample(screen, sector, 112)[..., 0].astype(float)
    assert np.corrcoef(small[3].ravel(), phantom(index)[3].ravel())[0, 1] > 0.85
    assert "text_outside" in flags_of(sector) and "colour_doppler" not in flags_of(sector)


def test_most_of_many_phantoms_on_screens_are_found():
    errors, correlations = [], []
    for index in range(8):
        frames = varied_phantom(index)
        side, top, left = 200 + 5 * index, 40 + 3 * index, 70 + index
        screen = put_on_screen(enlarge(frames, side), top, left, 300, 400, 288)
        sector = find_sector(screen)
        window = sector.window
        found = window.top, window.left, window.top + window.height, window.left + window.width
        errors.append(np.abs(np.subtract(found, (top, left, top + side, left + side))).max() * 112 / side)
        small = video.to_gray(resample(screen[3:4], sector, 112))[0, ..., 0].astype(float)
        correlations.append(np.corrcoef(small.ravel(), frames[3].ravel())[0, 1])
    errors = np.array(errors)
    # In pixels of the network's 112. Where a sector begins in a crop differs by 8 of them, and only its edges are seen.
    assert np.median(errors) < 3 and np.mean(errors < 8) >= 0.85
    assert np.median(correlations) > 0.75


def compress(frames: np.ndarray, name: str, folder) -> np.ndarray:
    """What is left of a recording after Motion JPEG, MPEG-4 or VP9."""
    codec = {"screen.avi": "MJPG", "screen.mp4": "mp4v", "screen.webm": "VP90"}[name]
    video.write_video(folder / name, frames, 30, codec=codec)
    return video.read_video(folder / name)[0]


def test_compressed_recordings_of_screens(tmp_path):
    """Compression makes letters, bars and ECG flicker and smears them; tests of the lossless screens are above."""
    errors, unclear = [], []
    for index in range(9):
        frames = render(sample_parameters(59, index, 16, variety=0.5)).frames
        side, top, left = 190 + 4 * index, 40 + 4 * index, 65 + 9 * index
        screen = put_on_screen(enlarge(frames, side), top, left, 300, 400, 286)
        sector = find_sector(compress(screen, ("screen.avi", "screen.mp4", "screen.webm")[index % 3], tmp_path))
        window = sector.window
        found = window.top, window.left, window.top + window.height, window.left + window.width
        errors.append(np.abs(np.subtract(found, (top, left, top + side, left + side))).max() * 112 / side)
        unclear.append("unclear_sector" in flags_of(sector))
    errors = np.array(errors)
    # In pixels of the network's 112.
    assert np.median(errors) < 5 and np.mean(errors < 12) >= 0.75
    assert np.mean(unclear) < 0.4


@pytest.mark.parametrize("index", range(3))
def test_crops_are_left_as_they_are(index):
    frames = phantom(index)[..., None]
    sector = find_sector(frames)
    assert sector.is_whole_picture and flags_of(sector) <= {"cut_sector"}
    assert resample(frames, sector, 112) is frames
    masks = ndimage.gaussian_filter(frames[..., 0].astype(float), (0, 3, 3)) > 40
    np.testing.assert_array_equal(restore_masks(255 * masks.astype(np.uint8), sector), masks)
    assert resampled_spacing((0.13, 0.13), sector, 112) == (0.13, 0.13)
    doubled = enlarge(frames[..., 0], 224)
    assert find_sector(doubled).window == (0, 0, 224, 224)
    np.testing.assert_array_equal(resample(doubled, find_sector(doubled), 112), video.resize(doubled, 112, 112))


def test_real_crops_are_left_as_they_are():
    paths = sorted((shared.require_shared("real_echo") / "Videos").glob("*.avi"))
    for path in paths:
        frames, _ = video.read_video(path)
        sector = find_sector(frames[:40])
        assert sector.is_whole_picture, path.name
        assert flags_of(sector) == set(), path.name


def test_real_crops_on_a_screen():
    paths = sorted((shared.require_shared("real_echo") / "Videos").glob("*.avi"))
    errors = []
    for path in paths[::3]:
        grey = video.to_gray(video.read_video(path)[0][:24])[..., 0]
        window = find_sector(put_on_screen(enlarge(grey, 400), 130, 170)).window
        found = window.top, window.left, window.top + window.height, window.left + window.width
        errors.append(np.abs(np.subtract(found, (130, 170, 530, 570))).max() * 112 / 400)
    assert np.median(errors) < 4
    assert max(errors) < 12


def test_the_real_echocardiogram_of_pydicom():
    clip = read_clip(pydicom.examples.get_path("ybr_color"))
    sector = find_sector(clip.frames, clip.region)
    assert sector.window == pytest.approx((1, 69, 204, 204), abs=5)
    assert not sector.mask[:, :28].any() and not sector.mask[215:].any()
    assert flags_of(sector) == {"text_outside"}
    assert resample(clip.frames, sector, 112).shape == (30, 112, 112, 3)


def test_an_ecg_through_the_sector_does_not_move_it():
    fan = dataclasses.replace(PHASED, far=500)
    plain = find_sector(put_on_screen(make_speckle(fan, 600, 800), 0, 0, ecg_row=None))
    crossed = find_sector(put_on_screen(make_speckle(fan, 600, 800), 0, 0, ecg_row=530))
    assert np.abs(np.subtract(plain.window, crossed.window)).max() < 16
    assert flags_of(crossed) == {"text_outside"}


def test_what_is_coloured_does_not_count_unless_all_is():
    """A moving coloured band beside the fan, as of an ECG that was smeared; then the same picture tinted as a whole."""
    speckle = make_speckle(PHASED, 600, 800)
    plain = find_sector(speckle)
    band = np.repeat(speckle, 3, axis=-1)
    band[:, 500:590, 20:330] = np.random.default_rng(0).integers(0, 160, (12, 90, 310, 1)) * np.array([0.1, 1, 0.1])
    assert np.abs(np.subtract(find_sector(band).window, plain.window)).max() < 10
    sepia = np.clip(speckle * np.array([1.0, 0.8, 0.5]), 0, 255).astype(np.uint8)
    assert np.abs(np.subtract(find_sector(sepia).window, plain.window)).max() < 10


def test_a_region_leaves_out_what_lies_beside_it():
    left = dataclasses.replace(PHASED, apex_x=200, far=300, half_angle=np.radians(30))
    right = dataclasses.replace(left, apex_x=580, far=420)
    frames = make_speckle(left, 600, 800) + make_speckle(right, 600, 800)
    assert find_sector(frames).fan.apex_x == pytest.approx(580, abs=8)
    assert find_sector(frames, Region(0, 0, 600, 380)).fan.apex_x == pytest.approx(200, abs=8)


def test_resampling_means_over_areas_and_blackens_the_rest():
    frames = np.random.default_rng(0).integers(0, 256, (2, 90, 120, 3), dtype=np.uint8)
    mask = np.zeros((90, 120), bool)
    mask[5:85, 20:100] = True
    sector = Sector(mask, Window(5, 20, 80, 80), None, ())
    found = resample(frames, sector, 40).astype(float)
    expected = frames[:, 5:85, 20:100].reshape(2, 40, 2, 40, 2, 3).mean((2, 4))
    assert np.abs(found - expected).max() <= 0.51
    half = dataclasses.replace(sector, mask=mask & (np.arange(120) < 60))
    np.testing.assert_array_equal(resample(frames, half, 40)[:, :, 20:], 0)
    np.testing.assert_array_equal(resample(frames, half, 40)[:, :, :20], found[:, :, :20])


def test_a_window_beyond_the_picture_is_filled_with_black():
    frames = np.full((2, 60, 100, 1), 200, np.uint8)
    sector = Sector(np.ones((60, 100), bool), Window(-20, 0, 100, 100), None, ())
    found = resample(frames, sector, 50)[0, :, :, 0]
    np.testing.assert_array_equal(found[10:40], 200)
    assert not found[:10].any() and not found[40:].any()
    masks = restore_masks(np.full((2, 50, 50), 255, np.uint8), sector)
    assert masks.shape == (2, 60, 100) and masks.all()


@pytest.mark.parametrize("size", [56, 112, 224])
def test_masks_come_back_to_their_place(size):
    y, x = np.mgrid[:600, :800]
    ventricle = ((y - 260) / 110) ** 2 + ((x - 410) / 60) ** 2 < 1
    sector = find_sector(make_speckle(PHASED, 600, 800))
    soft = resample(np.where(ventricle, 255, 0).astype(np.uint8)[None, ..., None], sector, size)[..., 0]
    restored = restore_masks(soft, sector)[0]
    assert overlap(restored, ventricle) > (0.97 if size >= 112 else 0.94)
    spacing = resampled_spacing((0.03, 0.03), sector, size)
    area_cm2 = np.sum(soft >= 128) * spacing[0] * spacing[1]
    assert area_cm2 == pytest.approx(np.sum(ventricle) * 0.03**2, rel=0.02)


def test_unequal_pixels_become_equal():
    tall = video.resize(make_speckle(PHASED, 600, 800), 600, 600)
    sector = find_sector(tall, spacing_cm=(0.03, 0.04))
    assert sector.window.height / sector.window.width == pytest.approx(4 / 3, rel=0.01)
    height_cm, width_cm = resampled_spacing((0.03, 0.04), sector, 112)
    assert height_cm == pytest.approx(width_cm, rel=0.01)
    assert resampled_spacing(None, sector, 112) is None


def test_a_cut_sector_is_flagged():
    frames = make_speckle(dataclasses.replace(PHASED, apex_x=-40), 600, 800)
    assert "cut_sector" in flags_of(find_sector(frames))
    assert "cut_sector" not in flags_of(find_sector(make_speckle(PHASED, 600, 800)))


def test_a_mostly_black_sector_is_flagged():
    frames = make_speckle(PHASED, 600, 800)
    y, x = np.mgrid[:600, :800]
    radius = np.hypot(y - PHASED.apex_y, x - PHASED.apex_x)
    dark = frames * ((radius < 150) | (radius > 420))[..., None]
    assert "unclear_sector" in flags_of(find_sector(dark))
    assert "unclear_sector" not in flags_of(find_sector(frames))


def test_a_second_picture_beside_the_sector_is_flagged():
    left = dataclasses.replace(PHASED, apex_x=200, far=350, half_angle=np.radians(30))
    right = dataclasses.replace(left, apex_x=590, far=370)
    frames = make_speckle(left, 600, 800) + make_speckle(right, 600, 800)
    assert "unclear_sector" in flags_of(find_sector(frames))
    assert "unclear_sector" not in flags_of(find_sector(frames, Region(0, 0, 600, 395)))


def with_colour(frames, colours):
    coloured = np.repeat(frames, 3, axis=-1)
    for column, colour in zip((330, 420), colours, strict=True):
        coloured[3:, 250:340, column : column + 80] = colour
    return coloured


def test_colour_in_the_sector():
    speckle = make_speckle(PHASED, 600, 800)
    assert "colour_doppler" in flags_of(find_sector(with_colour(speckle, [(220, 30, 10), (10, 40, 220)])))
    assert not flags_of(find_sector(with_colour(speckle, [(90, 90, 90), (200, 200, 200)])))
    sepia = np.clip(speckle * np.array([1.0, 0.8, 0.5]), 0, 255).astype(np.uint8)
    assert flags_of(find_sector(sepia)) == {"tinted"}


def test_a_still_clip_is_flagged():
    frames = np.repeat(make_speckle(PHASED, 600, 800, 1), 10, axis=0)
    frames = ndimage.gaussian_filter(frames, (0, 3, 3, 0))
    sector = find_sector(frames)
    assert overlap(sector.mask, PHASED.mask(600, 800)) > 0.9
    assert flags_of(sector) == {"still"}


@pytest.mark.parametrize("place", [(300, 50, 250, 700), (100, 200, 350, 400), (0, 0, 600, 800)])
def test_what_moves_but_is_no_fan_is_flagged(place):
    top, left, height, width = place
    frames = np.zeros((10, 600, 800, 1), np.uint8)
    frames[:, top : top + height, left : left + width] = np.random.default_rng(0).integers(
        0, 200, (10, height, width, 1)
    )
    sector = find_sector(frames)
    assert "no_fan" in flags_of(sector)
    window = sector.window
    assert window.height == window.width == pytest.approx(max(height, width), abs=12)
    assert overlap(sector.mask, frames.max(0)[..., 0] > 0) > 0.95


@pytest.mark.parametrize(
    "frames",
    [
        put_on_screen(np.zeros((8, 10, 10, 1), np.uint8), 300, 300),
        put_on_screen(np.zeros((8, 10, 10, 1), np.uint8), 300, 300, ecg_row=None),
        np.zeros((8, 112, 112, 1), np.uint8),
    ],
    ids=["text_and_ecg", "text", "black"],
)
def test_no_sector(frames):
    with pytest.raises(UserError, match=r"^echo\.avi: no ultrasound sector found in 8 frames of \d+x\d+: nothing"):
        find_sector(frames, name="echo.avi")
