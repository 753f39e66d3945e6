"""What can be left out of phantoms: each ingredient is one, and leaving it out changes nothing else."""

import dataclasses
import json

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.phantom import render, sample_parameters, write_dataset
from data_prep.phantom.cycle import build_cycle
from data_prep.phantom.dataset import draw_phantom, read_request
from data_prep.phantom.heart import BeatingHeart, find_beat
from data_prep.phantom.ingredients import INGREDIENTS, check_without
from data_prep.phantom.sampling import imaged_share
from data_prep.phantom.storage import recompress, resample
from echojax.errors import UserError

PARTS = ("ventricle", "chambers", "motion", "sector", "appearance", "artefacts")
# Where the ventricle is and how large follows from these; the rest touches nothing but its own fields.
GEOMETRY = {"foreshortening", "remodelling", "zoom", "placement"}


def changed_fields(one, other):
    pairs = [(part, dataclasses.asdict(getattr(one, part)), dataclasses.asdict(getattr(other, part))) for part in PARTS]
    return {f"{part}.{name}" for part, a, b in pairs for name in a if a[name] != b[name]}


@pytest.fixture(scope="module")
def complete():
    return [sample_parameters(3, index, 40) for index in range(60)]


@pytest.mark.parametrize("name", INGREDIENTS)
def test_each_ingredient_can_be_left_out_alone(name, complete):
    left_out = [sample_parameters(3, index, 40, without=(name,)) for index in range(60)]
    changed = [changed_fields(*pair) for pair in zip(complete, left_out, strict=True)]
    assert any(changed), "leaving it out must change something in some video"
    others = [n for n in INGREDIENTS if n != name]
    if name not in GEOMETRY:
        own = set().union(*changed)
        alone = [sample_parameters(3, index, 40, without=others) for index in range(10)]
        bare = [sample_parameters(3, index, 40, without=tuple(INGREDIENTS)) for index in range(10)]
        # What the ingredient changes among all others is what it changes where it is the only one.
        for pair in zip(alone, bare, strict=True):
            assert changed_fields(*pair) <= own


def test_left_out_ingredients_leave_heart_and_moment_alone(complete):
    for index in (0, 1, 2):
        fogless = sample_parameters(3, index, 40, without=("clouds", "haze", "jpeg", "marks", "fading"))
        one, other = BeatingHeart(complete[index]), BeatingHeart(fogless)
        np.testing.assert_array_equal(one.volume_px3, other.volume_px3)
        np.testing.assert_array_equal(one.masks(), other.masks())


def test_an_unknown_ingredient_names_the_nearest():
    with pytest.raises(UserError, match=r"'shadow'.*did you mean 'shadows'"):
        sample_parameters(0, 0, 40, without=("shadow",))
    with pytest.raises(UserError, match="no such ingredient; there are foreshortening, "):
        check_without(["qqqq"])


def test_command_leaves_out_and_the_request_says_so(tmp_path, capsys):
    flags = [f"--output={tmp_path / 'data'}", "--num_videos=1", "--frames=16", "--workers=1"]
    assert main(["phantom", *flags, "--without=jpeg, haze"]) == 0
    assert json.loads((tmp_path / "data" / "phantoms.json").read_text())["without"] == ["haze", "jpeg"]
    request = read_request(tmp_path / "data")
    assert request.without == ("haze", "jpeg")
    assert draw_phantom(request, 0) == sample_parameters(0, 0, (16, 16), without=("jpeg", "haze"))
    with pytest.raises(UserError, match="another request"):
        write_dataset(tmp_path / "data", 1, 0, num_frames=16, workers=1)
    capsys.readouterr()
    assert main(["phantom", f"--output={tmp_path / 'other'}", "--num_videos=1", "--without=hase"]) == 2
    assert "did you mean 'haze'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_with_everything_left_out_a_phantom_is_plain():
    bare = sample_parameters(3, 4, 40, without=tuple(INGREDIENTS))
    look, faults = bare.appearance, bare.artefacts
    assert (look.num_shadows, look.num_reverberations, faults.num_clouds, faults.num_ladder_echoes) == (0, 0, 0, 0)
    assert (faults.contact_side, faults.num_streaks, faults.source_px, faults.jpeg_quality) == (0, 0, 112, 100)
    phantom = render(bare)
    inside, mask = phantom.frames[phantom.masks], phantom.masks
    assert np.median(inside) < 20 < phantom.frames[~mask].max()


def test_a_foreshortened_plane_shows_less_of_the_same_heart():
    assert imaged_share(50, 15, 0) == pytest.approx(1)
    assert imaged_share(50, 15, 90) == pytest.approx(15 / 50)
    tilted = [p for p in (sample_parameters(8, k, 40) for k in range(60)) if p.ventricle.foreshortening_deg > 0]
    assert 8 <= len(tilted) <= 30
    for parameters in tilted:
        full = sample_parameters(8, parameters.index, 40, without=("foreshortening",)).ventricle
        seen = parameters.ventricle
        assert 0.6 < seen.length_px / full.length_px < 1
        assert seen.half_width_px == full.half_width_px
        base = [np.array([v.apex_x_px, v.apex_y_px]) + v.length_px * direction(v) for v in (seen, full)]
        np.testing.assert_allclose(*base, atol=1e-9)


def direction(ventricle):
    return np.array([np.sin(np.radians(ventricle.axis_deg)), np.cos(np.radians(ventricle.axis_deg))])


def test_early_beats_are_followed_by_a_pause_and_eject_less():
    drawn = sample_parameters(4, 1, 600, without=("arrhythmia",))
    steady = dataclasses.replace(drawn.motion, rr_jitter=0.0)
    irregular = dataclasses.replace(steady, premature_share=0.3, filling_share=0.8)
    regular, early = (build_cycle(dataclasses.replace(drawn, motion=m)) for m in (steady, irregular))
    lengths = [np.diff(np.flatnonzero(np.diff(np.floor(c.beat)) > 0)) for c in (regular, early)]
    assert np.ptp(lengths[0]) <= 1
    assert lengths[1].min() < 0.75 * lengths[0].mean() and lengths[1].max() > 1.15 * lengths[0].mean()
    peaks = [
        [c.contraction[0][np.floor(c.beat) == k].max() for k in np.unique(np.floor(c.beat))[1:-1]]
        for c in (regular, early)
    ]
    assert min(peaks[0]) > 0.97
    assert min(peaks[1]) < 0.85


def test_ef_in_the_file_list_is_that_of_the_traced_beat():
    drawn = sample_parameters(4, 1, 200)
    motion = dataclasses.replace(drawn.motion, premature_share=0.4, filling_share=0.9, rr_jitter=0.2)
    parameters = dataclasses.replace(drawn, motion=motion)
    phantom, heart = render(parameters), BeatingHeart(parameters)
    beat = find_beat(heart.volume_px3, heart.cycle.beat_frames)
    traced = 100 * (1 - heart.volume_px3[beat.es_frame] / heart.volume_px3[beat.ed_frame])
    assert phantom.ef_percent == pytest.approx(traced)


def test_resampling_keeps_level_and_loses_detail():
    rng = np.random.default_rng(0)
    noise = rng.random((2, 112, 112), dtype=np.float32)
    small = resample(noise, 80)
    assert small.dtype == np.float32 and small.shape == noise.shape
    assert small.mean() == pytest.approx(noise.mean(), abs=0.01)
    assert small.std() < 0.8 * noise.std()
    np.testing.assert_allclose(resample(np.full((1, 112, 112), 0.5, np.float32), 97), 0.5, rtol=1e-5)
    np.testing.assert_allclose(resample(noise, 112), noise, atol=1e-6)


def test_recompression_is_that_of_jpeg():
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(112), np.arange(112)).astype(float)
    frames = np.clip(smooth + 20 * rng.standard_normal((3, 112, 112)), 0, 255).astype(np.uint8)
    assert recompress(frames, 100) is frames
    errors = [np.abs(recompress(frames, quality).astype(float) - frames).mean() for quality in (95, 70, 40)]
    assert 0 < errors[0] < errors[1] < errors[2] < 20
    flat = np.full((1, 16, 16), 77, np.uint8)
    assert np.abs(recompress(flat, 50).astype(int) - 77).max() <= 1
    # Blocks do not know of each other.
    edited = frames.copy()
    edited[:, :8, :8] = 0
    np.testing.assert_array_equal(recompress(edited, 60)[:, 8:], recompress(frames, 60)[:, 8:])
