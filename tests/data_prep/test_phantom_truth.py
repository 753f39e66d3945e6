"""What a phantom claims about itself: masks, discs, volumes, LVEF, phases, and speckle that belongs to the tissue."""

import dataclasses

import numpy as np
import pytest
from scipy.interpolate import griddata
from scipy.ndimage import gaussian_filter, map_coordinates

from data_prep.phantom import render, sample_parameters
from data_prep.phantom.heart import BeatingHeart, find_beat
from data_prep.phantom.sampling import EF_RANGE_PERCENT
from echojax.errors import UserError
from echojax.lv import disc_volume, mask_from_tracing

NUM_FRAMES = 40


@pytest.fixture(scope="module")
def phantoms():
    return [render(sample_parameters(seed=11, index=index, num_frames=NUM_FRAMES)) for index in range(8)]


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_shapes_and_types(phantoms):
    for phantom in phantoms:
        assert phantom.frames.shape == (NUM_FRAMES, 112, 112) and phantom.frames.dtype == np.uint8
        assert phantom.masks.shape == (NUM_FRAMES, 112, 112) and phantom.masks.dtype == bool
        assert phantom.long_axis.shape == (NUM_FRAMES, 2, 2)
        assert phantom.chords.shape == (NUM_FRAMES, 20, 2, 2)
        assert phantom.volume_ml.shape == phantom.area_px.shape == (NUM_FRAMES,)


def test_render_repeats_bit_for_bit(phantoms):
    again = render(sample_parameters(seed=11, index=3, num_frames=NUM_FRAMES))
    np.testing.assert_array_equal(again.frames, phantoms[3].frames)
    np.testing.assert_array_equal(again.masks, phantoms[3].masks)
    assert not np.array_equal(phantoms[2].frames, phantoms[3].frames)


def test_volume_is_the_method_of_discs_of_the_tracing(phantoms):
    for phantom in phantoms:
        for frame in (phantom.ed_frame, phantom.es_frame):
            rows = phantom.tracing(frame)
            diameter = np.hypot(rows[1:, 2] - rows[1:, 0], rows[1:, 3] - rows[1:, 1])
            length = np.hypot(rows[0, 2] - rows[0, 0], rows[0, 3] - rows[0, 1])
            volume = disc_volume(diameter, length) * phantom.parameters.cm_per_px**3
            np.testing.assert_allclose(volume, phantom.volume_ml[frame], rtol=1e-6)


def test_traced_polygon_covers_the_mask(phantoms):
    """The polygon ends half a disc before apex and base and has whole-pixel corners: that costs small masks most."""
    values = [
        dice(mask_from_tracing(phantom.tracing(frame), 112, 112), phantom.masks[frame])
        for phantom in phantoms
        for frame in (phantom.ed_frame, phantom.es_frame)
    ]
    assert min(values) > 0.91
    assert np.mean(values) > 0.955


def test_tracings_lie_in_the_picture():
    for index in range(60):
        heart = BeatingHeart(sample_parameters(seed=9, index=index, num_frames=60))
        assert heart.chords().min() > 0 and heart.chords().max() < 112, index


def test_mask_area_follows_volume(phantoms):
    for phantom in phantoms:
        assert np.corrcoef(phantom.area_px, phantom.volume_ml)[0, 1] > 0.98


def test_ef_spans_the_range_and_meets_what_was_asked():
    found = []
    for index in range(120):
        parameters = sample_parameters(seed=5, index=index, num_frames=100)
        heart = BeatingHeart(parameters)
        beat = find_beat(heart.volume_px3, heart.cycle.beat_frames)
        ef = 100 * (1 - heart.volume_px3[beat.es_frame] / heart.volume_px3[beat.ed_frame])
        assert abs(ef - parameters.motion.ef_percent) < 8, parameters.name
        found.append(ef)
    counts, _ = np.histogram(found, bins=np.linspace(*EF_RANGE_PERCENT, 8))
    assert min(counts) >= 6, "every tenth of the EF range must occur"
    assert min(found) < 16 and max(found) > 74


def test_end_systole_lies_within_one_beat_of_end_diastole(phantoms):
    for phantom in phantoms:
        heart = BeatingHeart(phantom.parameters)
        assert 0 < abs(phantom.es_frame - phantom.ed_frame) <= round(heart.cycle.beat_frames)
        assert phantom.volume_ml[phantom.ed_frame] > phantom.volume_ml[phantom.es_frame]


def test_cavity_is_darker_than_its_wall():
    contrast = []
    for index in range(12):
        parameters = sample_parameters(seed=21, index=index, num_frames=16)
        phantom = render(parameters)
        mask = phantom.masks[0]
        near = gaussian_filter(mask.astype(float), 3)
        wall = ~mask & (near > 0.05) & (near < 0.2)  # beyond the dark margin that a tracer leaves
        inner = mask & (near > 0.9)
        contrast.append(phantom.frames[0][wall].mean() - phantom.frames[0][inner].mean())
    assert np.mean(np.array(contrast) > 5) >= 0.75
    assert np.median(contrast) > 25


def test_speckle_moves_with_the_tissue():
    """The wall's texture at end-systole is that of the same tissue at end-diastole, not that of the same pixels."""
    drawn = sample_parameters(seed=2, index=0, num_frames=60)
    off = ("flicker", "persistence", "decorrelation", "sharpness", "lateral_dropout_db", "septal_dropout_db")
    off += ("haze_near_db", "num_shadows", "num_reverberations")
    clear = dataclasses.replace(drawn.appearance, haze_db=-90.0, **dict.fromkeys(off, 0))
    moving = dataclasses.replace(
        drawn.motion, ef_percent=40.0, swing_x_px=3.0, swing_deg=3.0, weak_side=0, rr_jitter=0.0
    )
    parameters = dataclasses.replace(drawn, appearance=clear, motion=moving)
    phantom, heart = render(parameters), BeatingHeart(parameters)
    y, x = np.mgrid[:112, :112].astype(np.float32)
    detail = phantom.frames - gaussian_filter(phantom.frames.astype(float), (0, 3, 3))
    (s_ed, n_ed), (s_es, n_es) = (
        [part[0] for part in heart.rest(*heart.to_heart(x, y, slice(k, k + 1)), slice(k, k + 1))[:2]]
        for k in (phantom.ed_frame, phantom.es_frame)
    )
    ventricle = parameters.ventricle
    border = np.interp(s_es, np.linspace(0, ventricle.length_px, 50), np.full(50, ventricle.half_width_px))
    wall = (s_es > 0.2 * ventricle.length_px) & (s_es < 0.9 * ventricle.length_px)
    wall &= (np.abs(n_es) < border + 6) & ~phantom.masks[phantom.es_frame] & ~phantom.masks[phantom.ed_frame]
    assert wall.sum() > 150
    where = [griddata((s_ed.ravel(), n_ed.ravel()), axis.ravel(), (s_es[wall], n_es[wall])) for axis in (y, x)]
    seen = np.isfinite(where[0])
    assert np.hypot(where[0] - y[wall], where[1] - x[wall])[seen].mean() > 2, "the tissue must have moved"
    now = detail[phantom.es_frame][wall][seen]
    before = map_coordinates(detail[phantom.ed_frame], [axis[seen] for axis in where], order=1)
    here = detail[phantom.ed_frame][wall][seen]
    followed, stayed = np.corrcoef(now, before)[0, 1], np.corrcoef(now, here)[0, 1]
    assert followed > 0.5
    assert followed > stayed + 0.3


def test_heart_rate_and_frame_rate_shape_the_area_curve():
    drawn = sample_parameters(seed=4, index=1, num_frames=150)
    steady = dataclasses.replace(drawn.motion, heart_rate_bpm=60.0, rr_jitter=0.0, depth_jitter=0.0, lateral_delay=0.0)
    heart = BeatingHeart(dataclasses.replace(drawn, fps=50.0, motion=steady))
    volume = heart.volume_px3
    np.testing.assert_allclose(volume[50:], volume[:-50], rtol=1e-6)
    assert heart.cycle.beat_frames == pytest.approx(50)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(num_frames=8), "at least 16"),
        (dict(num_frames=(90, 80)), "ascend"),
        (dict(seed=-1), "seed"),
        (dict(index=-2), "index"),
        (dict(ef_range_percent=(50.0, 20.0)), "ascend"),
        (dict(ef_range_percent=(0.0, 95.0)), "5 to 85"),
    ],
)
def test_a_request_that_cannot_be_met_is_named(change, words):
    with pytest.raises(UserError, match=words):
        sample_parameters(**{"seed": 0, "index": 0, "num_frames": 32} | change)


@pytest.mark.parametrize(
    ("part", "field", "value", "words"),
    [
        ("ventricle", "length_px", 500.0, "ventricle.length_px must lie in"),
        ("motion", "ef_percent", 99.0, "motion.ef_percent must lie in"),
        ("sector", "apex_x_px", float("nan"), "Sector.apex_x_px must be a finite"),
    ],
)
def test_parameters_that_describe_no_heart_are_named(part, field, value, words):
    parameters = sample_parameters(0, 0, 16)
    edited = dataclasses.replace(parameters, **{part: dataclasses.replace(getattr(parameters, part), **{field: value})})
    with pytest.raises(UserError, match=words):
        render(edited)


def test_variety_shrinks_what_differs_between_videos_but_neither_ef_nor_the_start_of_the_beat():
    full, half = ([sample_parameters(5, index, variety=share) for index in range(80)] for share in (1.0, 0.5))
    for part, field in (("ventricle", "length_px"), ("motion", "heart_rate_bpm"), ("appearance", "gain_db")):
        spread = [np.std([getattr(getattr(each, part), field) for each in group]) for group in (full, half)]
        assert 0.35 < spread[1] / spread[0] < 0.65, (part, field, spread)
    assert sum(each.appearance.num_shadows > 0 for each in half) < sum(each.appearance.num_shadows > 0 for each in full)
    assert [each.motion.ef_percent for each in half] == [each.motion.ef_percent for each in full]
    np.testing.assert_array_less(0.25, np.std([each.motion.start_phase for each in half]))


def test_a_range_of_variety_draws_one_per_video():
    for index in range(4):
        drawn = sample_parameters(5, index, variety=(0.2, 0.9))
        assert drawn not in (sample_parameters(5, index, variety=share) for share in (0.2, 0.9))
        assert drawn == sample_parameters(5, index, variety=(0.2, 0.9))
        assert sample_parameters(5, index, variety=(0.4, 0.4)) == sample_parameters(5, index, variety=0.4)
    with pytest.raises(UserError, match="variety must lie in 0 to 1, and a range of it ascend"):
        sample_parameters(5, 0, variety=(0.9, 0.2))


def test_without_variety_only_ef_and_the_start_of_the_beat_differ():
    one, two = (sample_parameters(5, index, num_frames=80, variety=0.0) for index in (0, 1))
    assert one.appearance == two.appearance and one.sector == two.sector
    assert one.motion.ef_percent != two.motion.ef_percent and one.motion.start_phase != two.motion.start_phase
