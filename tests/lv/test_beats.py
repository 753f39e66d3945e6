"""Curves over time: bad frames, smoothing, beats with ED and ES, LVEF per beat and pooled."""

import numpy as np
import pytest
from lv_shapes import Body

from data_prep.phantom.heart import BeatingHeart
from data_prep.phantom.sampling import sample_parameters
from echojax import lv
from echojax.errors import UserError
from echojax.lv.beats import join_short_beats

FPS = 50.0


def heart_curve(periods, swings, mean: float = 1000.0, phase: float = 0.0) -> np.ndarray:
    """Cosine beats of given lengths (frames) and swings (share of the mean); each starts at its ED."""
    beats = [
        1 + swing * (np.cos(2 * np.pi * np.arange(n) / n) - 1) / 2 for n, swing in zip(periods, swings, strict=True)
    ]
    return mean * np.roll(np.concatenate(beats), -round(phase * periods[0]))


def extremes(beats) -> list[tuple[int, int]]:
    return [(beat.ed, beat.es) for beat in beats]


def test_every_beat_of_a_regular_heart_is_found():
    beats = lv.find_beats(heart_curve([50] * 4, [0.4] * 4), FPS)
    assert extremes(beats) == [(0, 25), (50, 75), (100, 125), (150, 175)]
    assert [beat.is_cut for beat in beats] == [True, False, False, False]


@pytest.mark.parametrize("fps", [None, 25.0, 50.0, 100.0])
def test_the_frame_rate_may_be_unknown_or_any(fps):
    beats = lv.find_beats(heart_curve([40] * 3, [0.3] * 3, phase=0.5), fps)
    assert extremes(beats) == [(20, 40), (60, 80), (100, 119)] and beats[-1].is_cut


def test_beats_of_any_length_and_depth_are_found():
    periods, swings = [30, 62, 41, 25, 80, 36], [0.25, 0.5, 0.4, 0.3, 0.5, 0.35]
    starts = np.concatenate([[0], np.cumsum(periods)[:-1]])
    beats = lv.find_beats(heart_curve(periods, swings), FPS)
    assert len(beats) == 6
    for beat, start, period in zip(beats, starts, periods, strict=True):
        assert abs(beat.ed - start) <= 1 and abs(beat.es - start - period / 2) <= 1


def test_a_single_contraction_is_a_beat_and_so_is_half_a_beat():
    whole = heart_curve([60], [0.4])
    assert extremes(lv.find_beats(whole, FPS)) == [(0, 30)]
    falling, rising = whole[:31], whole[30:]
    assert lv.find_beats(falling, FPS) == [lv.Beat(0, 30, is_cut=True)]
    assert lv.find_beats(rising, FPS) == [lv.Beat(29, 0, is_cut=True)]


def test_phases_at_the_ends_that_belong_to_no_beat_are_found_too():
    curve = heart_curve([40] * 3, [0.4] * 3, phase=0.5)  # begins with ES, ends shortly before one
    assert lv.find_phases(curve, FPS) == ([20, 60, 100], [0, 40, 80, 119])
    assert extremes(lv.find_beats(curve, FPS)) == [(20, 40), (60, 80), (100, 119)]
    assert lv.find_phases(np.full(50, 900.0), FPS) == ([], [])


@pytest.mark.parametrize(
    "curve",
    [
        np.full(100, 900.0),
        1000 + 5 * np.sin(np.arange(100) / 8),
        1000 * (1 + 0.05 * np.random.default_rng(0).standard_normal(200)),
        np.zeros(100),
        np.full(100, np.nan),
        np.array([900.0, 1000.0]),
        np.array([]),
    ],
    ids=["constant", "nearly constant", "noise", "no mask", "unknown", "two frames", "nothing"],
)
def test_a_curve_that_does_not_beat_has_no_beats(curve):
    assert lv.find_beats(curve, FPS) == []


@pytest.mark.parametrize("seed", range(5))
def test_noise_neither_adds_nor_removes_beats(seed):
    curve = heart_curve([48] * 5, [0.45] * 5, phase=0.5)
    noisy = curve * (1 + 0.03 * np.random.default_rng(seed).standard_normal(len(curve)))
    beats = lv.find_beats(noisy, FPS)
    assert len(beats) == 5
    np.testing.assert_allclose([beat.ed for beat in beats], [24, 72, 120, 168, 216], atol=6)
    np.testing.assert_allclose([beat.es for beat in beats], [48, 96, 144, 192, 239], atol=6)


def test_breathing_does_not_hide_beats():
    frames = np.arange(250)
    drift = 1 + 0.1 * np.sin(2 * np.pi * frames / 250)
    beats = lv.find_beats(heart_curve([25] * 10, [0.15] * 10) * drift, FPS)
    assert len(beats) == 10


@pytest.mark.parametrize("fps", [None, 50.0])
def test_a_leak_within_a_beat_is_no_beat(fps):
    """The mask leaks for a tenth of a second in the middle of systole, and is torn for as long in diastole."""
    curve = heart_curve([60] * 5, [0.4] * 5, phase=0.5)
    frames = np.arange(len(curve))
    leaking = curve + 300 * np.exp(-0.5 * ((frames - 123) / 3) ** 2) - 300 * np.exp(-0.5 * ((frames - 206) / 3) ** 2)
    beats, undisturbed = lv.find_beats(leaking, fps), lv.find_beats(curve, fps)
    assert len(beats) == len(undisturbed) == 5
    # The ES that the leak splits, and the ED beside the tear, move by less than the disturbance's width.
    np.testing.assert_allclose([beat.es for beat in beats], [beat.es for beat in undisturbed], atol=9)
    np.testing.assert_allclose([beat.ed for beat in beats], [beat.ed for beat in undisturbed], atol=9)


def test_early_beats_are_found():
    periods = [50, 27, 70, 50, 50, 27, 70]
    assert len(lv.find_beats(heart_curve(periods, [0.4, 0.25, 0.45, 0.4, 0.4, 0.25, 0.45]), FPS)) == 7


def test_no_beat_is_shorter_than_a_heart_can_beat():
    """A flicker of 375 per minute on top of 60 per minute, large enough to turn the curve each time."""
    frames = np.arange(200)
    flickering = heart_curve([50] * 4, [0.4] * 4) + 110 * np.sin(2 * np.pi * frames / 8)
    beats = lv.find_beats(flickering, FPS)
    for phase in ("ed", "es"):
        inner = [frame for frame in (getattr(beat, phase) for beat in beats) if 0 < frame < 199]
        assert np.diff(inner).min() >= 60 / 220 * FPS


def test_short_beats_are_joined_smallest_move_first():
    curve = np.full(100, 50.0)
    turns = [(10, True), (20, False), (22, True), (26, False), (60, True), (70, False)]
    curve[[frame for frame, _ in turns]] = [90, 40, 70, 30, 95, 35]
    # ES at 20 and 26 belong together: the rise of 30 between them is undone, not the fall of 40 after it.
    assert join_short_beats(turns, curve, 12) == [(10, True), (26, False), (60, True), (70, False)]
    # Of the distances 12, 6, 38 and 44 the second is less than 0.35 of the upper quartile, 39.5; of two none is.
    assert join_short_beats(turns, curve, 0) == [(10, True), (26, False), (60, True), (70, False)]
    assert join_short_beats(turns[:4], curve, 5) == turns[:4]
    # What the video's first frame cuts may be of any length.
    early = [(0, False), (3, True), (9, False), (60, True)]
    assert join_short_beats(early, curve, 12) == early


def test_bad_frames_are_bridged():
    curve = heart_curve([50] * 3, [0.4] * 3)
    damaged = curve.copy()
    damaged[[20, 70]] = [0, np.nan]
    damaged[110] = 1900
    damaged[[130, 131]] = 100
    mended = lv.bridge_bad_frames(damaged)
    untouched = np.setdiff1d(np.arange(150), [20, 70, 110, 130, 131])
    np.testing.assert_array_equal(mended[untouched], curve[untouched])
    np.testing.assert_allclose(mended, curve, rtol=0.02)
    assert extremes(lv.find_beats(damaged, FPS)) == extremes(lv.find_beats(curve, FPS))


def test_lost_frames_at_the_ends_repeat_their_neighbour():
    np.testing.assert_array_equal(lv.bridge_bad_frames([0, 7, 8, 9, np.inf]), [7, 7, 8, 9, 9])


def test_a_heart_that_races_is_no_bad_frame():
    """200 beats per minute at 20 frames per second: six frames per beat."""
    curve = heart_curve([6] * 12, [0.5] * 12)
    np.testing.assert_array_equal(lv.bridge_bad_frames(curve), curve)


def test_half_of_the_frames_must_be_there():
    curve = np.full(10, 5.0)
    curve[:6] = 0
    assert np.isnan(lv.bridge_bad_frames(curve)).all()
    curve[0] = 5
    np.testing.assert_array_equal(lv.bridge_bad_frames(curve), 5)


def test_smoothing_keeps_parabolas_and_halves_noise():
    parabola = 900 + 0.5 * (np.arange(40.0) - 17) ** 2
    np.testing.assert_allclose(lv.smooth_curve(parabola, FPS), parabola, rtol=1e-12)
    noisy = 1000 + np.random.default_rng(0).standard_normal(1000)
    assert np.std(lv.smooth_curve(noisy, FPS)) < 0.62


def test_smoothing_makes_nothing_smaller_than_nothing():
    falling = np.repeat([900.0, 2.0], 20)
    assert lv.smooth_curve(falling, FPS).min() == 0


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 6])
def test_short_curves_are_smoothed_as_far_as_they_go(num_frames):
    curve = np.linspace(5, 9, num_frames)
    np.testing.assert_allclose(lv.smooth_curve(curve, 90.0), curve, rtol=1e-12)


def test_the_main_beat_is_the_deepest_that_is_not_cut():
    curve = heart_curve([50] * 3, [0.6, 0.3, 0.4])
    beats = lv.find_beats(curve, FPS)
    assert lv.main_beat(curve, beats) == beats[2]
    assert lv.main_beat(curve, beats[:1]) == beats[0]
    assert lv.main_beat(curve, []) is None


def test_lvef_keeps_its_sign_and_knows_no_value_without_a_volume():
    np.testing.assert_allclose(lv.lvef([100.0, 100.0, 50.0], [40.0, 100.0, 60.0]), [60, 0, -20])
    assert np.isnan(lv.lvef(0.0, 10.0)) and np.isnan(lv.lvef(np.nan, 10.0)) and np.isnan(lv.lvef(10.0, np.nan))


def test_invariant_16_of_the_ratio_of_areas():
    """Equal masks give 0, an empty ED mask 0, and a larger ES area a negative value."""
    assert lv.area_lvef(700, 700) == 0
    assert lv.area_lvef(0, 700) == 0
    assert lv.area_lvef(700, 770) == pytest.approx(-10)
    np.testing.assert_allclose(lv.area_lvef([1000, 800], [600, 600]), [40, 25])


def test_pooled_lvef_is_the_median_over_whole_beats():
    beats = [lv.Beat(0, 5, True), lv.Beat(10, 15, False), lv.Beat(20, 25, False), lv.Beat(30, 35, False)]
    assert lv.pool_lvef(np.array([10.0, 50.0, 56.0, 90.0]), beats) == 56
    assert lv.pool_lvef(np.array([10.0, np.nan, 56.0, 58.0]), beats) == 57
    assert lv.pool_lvef(np.array([44.0]), beats[:1]) == 44
    assert np.isnan(lv.pool_lvef(np.array([]), []))


def test_the_function_of_a_beating_ellipsoid_is_known():
    """It contracts in width alone, so that LVEF is 1 - (d/D)² by volumes and 1 - d/D by areas."""
    contraction = (1 - np.cos(2 * np.pi * np.arange(60) / 30)) / 2
    masks = np.stack([Body(60, 36 * (1 - 0.3 * c), 0.3).soft_mask(samples=4) for c in contraction])
    masks[[7, 40]] = 0  # two lost frames
    function = lv.measure_function(masks, FPS, spacing_cm=0.1)
    assert extremes(function.beats) == [(0, 15), (30, 45)]
    expected = {"simpson": 51.0, "area_length": 51.0, "area": 30.0}
    assert function.pooled_lvef_percent == pytest.approx(expected, abs=0.7)
    for method, value in expected.items():
        np.testing.assert_allclose(function.lvef_percent[method], value, atol=1)
    curves = function.curves
    assert curves.area[7] == 0 and np.isnan(curves.simpson_volume[7]) and np.isnan(curves.length[7])
    whole = Body(60, 36, 0.3)
    assert curves.area[0] == pytest.approx(whole.area * 0.01, rel=5e-3)
    assert curves.length[0] == pytest.approx(6.0, rel=5e-3)
    for volume in (curves.simpson_volume, curves.area_length_volume):
        assert volume[0] == pytest.approx(whole.volume * 1e-3, rel=6e-3)


def test_lvef_and_phases_of_phantoms_are_found_from_their_masks():
    errors, distances = [], []
    for index in range(10):
        heart = BeatingHeart(sample_parameters(31, index, 90, (25.0, 75.0)))
        fps = heart.parameters.fps
        truth = lv.find_beats(heart.volume_px3, fps)
        function = lv.measure_function(heart.masks(), fps)
        assert len(function.beats) == len(truth)
        errors.append(
            function.pooled_lvef_percent["simpson"] - lv.pool_lvef(lv.lvef_of_beats(heart.volume_px3, truth), truth)
        )
        for found, known in zip(function.beats, truth, strict=True):
            distances += [abs(found.ed - known.ed) / fps, abs(found.es - known.es) / fps]
    assert np.mean(np.abs(errors)) < 1.2 and np.abs(errors).max() < 4
    assert np.mean(distances) < 0.03 and np.median(distances) <= 0.02


def test_without_a_mask_there_is_no_function():
    function = lv.measure_function(np.zeros((20, 16, 16), bool), FPS)
    assert function.beats == [] and np.isnan(list(function.pooled_lvef_percent.values())).all()


@pytest.mark.parametrize(
    ("curve", "fps", "message"),
    [
        (np.zeros((4, 2)), None, r"shape \(4, 2\)"),
        (np.zeros(4), 0.0, "fps is 0.0"),
        (np.zeros(4), np.nan, "fps is nan"),
    ],
)
def test_what_is_no_curve_is_refused(curve, fps, message):
    with pytest.raises(UserError, match=message):
        lv.find_beats(curve, fps)
