"""aFD and its references, against the originals' golden estimates and the invariants of the specification."""

import pathlib

import numpy as np
import pytest

from echojax import evaluate
from echojax.errors import UserError
from echojax.evaluate.frame_distance import PROTOCOLS, echonet_peaks

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "afd.npz"
# The tie-free integer curve of invariants 13 and 14.
CURVE = np.rint(1500 + (300 + np.arange(100)) * np.cos(2 * np.pi * np.arange(100) / 25 + 0.3))


def estimate(area, reference, phase, protocol="echodfkd", fps=None):
    return evaluate.afd(area, reference, phase, protocol, fps).estimate


@pytest.fixture(scope="module")
def golden():
    stored = np.load(GOLDEN)
    areas = [area[:length] for area, length in zip(stored["area"], stored["length"], strict=True)]
    assert len(areas) == 60
    return areas, stored


@pytest.mark.parametrize("phase", ["ES", "ED"])
def test_echodfkd_equals_the_original_on_sixty_curves(golden, phase):
    areas, stored = golden
    found = [estimate(area, int(r), phase) for area, r in zip(areas, stored["reference"], strict=True)]
    np.testing.assert_array_equal(found, stored[phase.lower()])


@pytest.mark.parametrize(("column", "phase"), [(0, "ES"), (1, "ED")])
def test_the_reference_picker_equals_the_original_on_sixty_curves(golden, column, phase):
    areas, stored = golden
    found = [evaluate.picked_frame(area, phase) for area in areas]
    np.testing.assert_array_equal(found, stored["picked_reference_es_ed"][:, column])


def test_invariant_13_estimates_on_the_integer_curve():
    assert CURVE.sum() == 150066 and CURVE[:5].tolist() == [1787, 1756, 1710, 1650, 1580]
    expected = {0: (11, 0), 10: (11, 0), 24: (11, 24), 26: (36, 24), 37: (36, 49), 50: (61, 49), 62: (61, 74)}
    expected |= {80: (86, 74), 99: (86, 99)}
    for reference, of_phase in expected.items():
        assert (estimate(CURVE, reference, "ES"), estimate(CURVE, reference, "ED")) == of_phase
    assert estimate(np.full(40, 900), 20, "ES") == estimate(np.full(40, 900), 20, "ED") == 0


def test_invariant_14_reference_on_the_integer_curve():
    z = (CURVE - CURVE.mean()) / CURVE.std()
    for signal in (CURVE, z, CURVE.astype(int)):
        assert evaluate.picked_frame(signal, "ES") == 86
        assert evaluate.picked_frame(signal, "ED") == 74
    assert evaluate.picked_frame(np.zeros(30), "ES") == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_invariant_15_scale_and_offset_do_not_matter_and_negation_swaps_the_phases(protocol):
    rng = np.random.default_rng(0)
    for reference in (3, 30, 61, 97):
        noisy = CURVE + rng.integers(-20, 20, 100)
        for phase, other in (("ES", "ED"), ("ED", "ES")):
            found = estimate(noisy, reference, phase, protocol)
            assert estimate(4 * noisy + 1024, reference, phase, protocol) == found
            if protocol != "blind":  # A beat is a fall, not a rise.
                assert estimate(-noisy, reference, other, protocol) == found


def test_the_reference_is_not_changed_by_estimating():
    before = CURVE.copy()
    evaluate.picked_frame(CURVE, "ES")
    evaluate.afd(CURVE, 5, "ES", "echodfkd")
    np.testing.assert_array_equal(CURVE, before)


def test_distance_is_signed_and_time_needs_a_frame_rate():
    assert evaluate.afd(CURVE, 40, "ES", "echodfkd") == (36, -4, None)
    assert evaluate.afd(CURVE, 40, "ES", "echodfkd", fps=50) == (36, -4, -80.0)
    assert evaluate.afd(CURVE, 35, "ES", "blind", fps=25) == (36, 1, 40.0)


def test_uvt_takes_the_nearest_peak_of_the_clip():
    np.testing.assert_array_equal(echonet_peaks(-CURVE), [11, 36, 61, 86])
    # Frame 23 lies in the relaxed half of a beat; its nearest systole is the first.
    assert estimate(CURVE, 23, "ES", "uvt") == 11
    assert estimate(CURVE, 24, "ES", "uvt") == 36
    assert estimate(CURVE, 40, "ED", "uvt") == 49
    flat = np.full(50, 7.0)
    flat[20] = 6.9
    assert estimate(flat, 40, "ES", "uvt") == 20


def test_echodfkd_ties_go_to_the_first_run():
    area = np.array([5, 1, 5, 5, 5, 2, 5.0])
    assert estimate(area, 3, "ES") == 1


def test_blind_finds_its_frames_without_a_reference():
    found = evaluate.afd(CURVE, None, "ES", "blind", fps=50)
    assert found == (86, None, None)
    assert estimate(CURVE, None, "ED", "blind") == 74
    assert evaluate.afd(np.full(60, 900.0), None, "ED", "blind") == (None, None, None)
    assert evaluate.afd(np.full(60, 900.0), 12, "ED", "blind", fps=50) == (None, None, None)


def test_blind_reads_signals_below_zero():
    z = (CURVE - CURVE.mean()) / CURVE.std()
    for phase in ("ED", "ES"):
        assert estimate(z, 40, phase, "blind") == estimate(CURVE, 40, phase, "blind")


def test_blind_is_not_misled_by_single_frames():
    damaged = CURVE.copy()
    damaged[[30, 70]] = 0
    for reference in (13, 37, 59, 84):
        assert estimate(damaged, reference, "ES", "blind") == estimate(CURVE, reference, "ES", "blind")
    assert estimate(damaged, 31, "ES") == 30


def test_the_teachers_reference_is_the_most_extreme_of_echonets_peaks():
    assert evaluate.teacher_frame(CURVE, "ES") == 86
    assert evaluate.teacher_frame(CURVE, "ED") == 74
    # Without a peak: the extreme of the clip.
    assert evaluate.teacher_frame(np.arange(30.0), "ED") == 29


def test_echonets_trim_is_a_power_as_in_the_original():
    """100 frames: values number round(100 ** 0.05) = 1 and round(100 ** 0.95) = 79 of the sorted ones."""
    curve = np.zeros(100)
    curve[::5] = 1.0  # 20 high values: number 79 is still low, so that any peak is prominent enough
    curve[50] = 1.5
    assert 50 in echonet_peaks(curve)
    assert len(echonet_peaks(curve)) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((CURVE, 5, "ED", "strict"), "'strict'; expected one of echodfkd, uvt, blind"),
        ((CURVE, 5, "ed", "uvt"), "phase is 'ed'; expected one of ED, ES"),
        ((CURVE, None, "ED", "uvt"), "only 'blind' goes without"),
        ((CURVE, 100, "ED", "uvt"), "reference frame 100 of a clip with frames 0 to 99"),
        ((CURVE, -1, "ED", "blind"), "reference frame -1"),
        ((np.array([1.0, np.nan]), 0, "ED", "uvt"), "one finite value per frame"),
        ((np.zeros((2, 2)), 0, "ED", "uvt"), r"shape \(2, 2\)"),
    ],
)
def test_unusable_arguments_are_errors_that_say_why(arguments, message):
    with pytest.raises(UserError, match=message):
        evaluate.afd(*arguments)
