"""NumPy and NIfTI files, and their numbers as grey levels."""

import numpy as np
import pytest
from tiny_dicom import make_grey, make_rgb
from tiny_nifti import write_nifti

from echojax.reading import read_clip

GREY, RGB = make_grey(), make_rgb()


def flags_of(clip) -> set[str]:
    return {flag.kind for flag in clip.flags}


def save(path, values):
    np.save(path, values)
    return path


@pytest.mark.parametrize("values", [GREY, GREY[..., None], RGB, np.asfortranarray(RGB)], ids=["thw", "1", "3", "F"])
def test_npy(tmp_path, values):
    clip = read_clip(save(tmp_path / "clip.npy", values))
    np.testing.assert_array_equal(clip.frames, values if values.ndim == 4 else values[..., None])
    assert (clip.name, clip.kind, clip.fps, clip.fps_source) == ("clip", "NumPy", 30.0, "assumed")
    assert flags_of(clip) == {"fps_assumed", "spacing_unknown"}
    assert clip.frames.flags.c_contiguous


@pytest.mark.parametrize(
    "values",
    [GREY.astype("i4"), GREY.astype(">i2"), GREY.astype("f4"), GREY / 255.0, (GREY / 255).astype("f2")],
    ids=["int32", "big_endian", "levels", "shares", "half"],
)
def test_numbers_that_are_levels(tmp_path, values):
    clip = read_clip(save(tmp_path / "clip.npy", values))
    np.testing.assert_allclose(clip.frames[..., 0], GREY, atol=0.2)
    assert "levels_stretched" not in flags_of(clip)


@pytest.mark.parametrize("values", [GREY.astype("i2") - 100, GREY.astype("u2") * 100, GREY / 100.0 - 3])
def test_other_numbers_are_stretched(tmp_path, values):
    clip = read_clip(save(tmp_path / "clip.npy", values))
    expected = (GREY - float(GREY.min())) / np.ptp(GREY) * 255
    np.testing.assert_allclose(clip.frames[..., 0], expected, atol=0.51)
    assert "levels_stretched" in flags_of(clip)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("byte_order", "<>")
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti(tmp_path, version, byte_order, name):
    path = write_nifti(tmp_path / name, GREY.astype("i2"), version=version, byte_order=byte_order)
    clip = read_clip(path)
    np.testing.assert_array_equal(clip.frames, GREY[..., None])
    assert (clip.name, clip.kind, clip.fps_source, clip.spacing_source) == ("a", "NIfTI", "assumed", "NIfTI header")
    np.testing.assert_allclose(clip.spacing_cm, (0.09, 0.08), rtol=1e-6)
    assert flags_of(clip) == {"fps_assumed"}


def test_nifti_with_a_time_axis(tmp_path):
    clip = read_clip(write_nifti(tmp_path / "a.nii", GREY[:, None], pixdim=(1, 0.9, 0.9, 1, 20.0), units=2 | 16))
    np.testing.assert_array_equal(clip.frames, GREY[..., None])
    assert (clip.fps, clip.fps_source) == (50.0, "file")


def test_nifti_in_colour(tmp_path):
    dim = (4, 64, 48, 1, 5)
    rgb24 = read_clip(write_nifti(tmp_path / "a.nii", RGB, datatype=128, dim=dim))
    np.testing.assert_array_equal(rgb24.frames, RGB)
    rgba = np.concatenate([RGB, np.full_like(RGB[..., :1], 255)], axis=-1)
    np.testing.assert_array_equal(read_clip(write_nifti(tmp_path / "b.nii", rgba, datatype=2304, dim=dim)).frames, RGB)
    vectors = write_nifti(tmp_path / "c.nii", np.moveaxis(RGB, -1, 0)[:, :, None])
    np.testing.assert_array_equal(read_clip(vectors).frames, RGB)


def test_nifti_slope(tmp_path):
    clip = read_clip(write_nifti(tmp_path / "a.nii", (GREY.astype("i2") - 10) * 2, slope=0.5, intercept=10))
    np.testing.assert_array_equal(clip.frames, GREY[..., None])


@pytest.mark.parametrize(
    "pixdim, units, spacing_cm, flag",
    [
        ((1, 0.8, 0.9), 0, (0.09, 0.08), "spacing_unit_guessed"),
        ((1, 800.0, 900.0), 3, (0.09, 0.08), None),
        ((1, 0.0008, 0.0009), 1, (0.09, 0.08), None),
        ((1, -0.8, 0.9), 2, (0.09, 0.08), None),
        ((1, 1.0, 1.0), 2, None, "spacing_unknown"),
        ((1, float("nan"), 0.9), 2, None, "spacing_unknown"),
        ((1, 0.0, 0.0), 2, None, "spacing_unknown"),
        ((1, 50.0, 60.0), 2, None, "spacing_implausible"),
    ],
)
def test_nifti_spacing(tmp_path, pixdim, units, spacing_cm, flag):
    clip = read_clip(write_nifti(tmp_path / "a.nii", GREY, pixdim=pixdim, units=units))
    assert clip.spacing_cm == (None if spacing_cm is None else pytest.approx(spacing_cm, rel=1e-6))
    assert flags_of(clip) - {"fps_assumed"} == ({flag} if flag else set())
