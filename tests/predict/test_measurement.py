"""From pixels to LVEF with a perfect network: the phantoms' truth comes back, in the right unit, at any size."""

import numpy as np
import pytest
from predict_clips import (
    SIZE,
    SPACING_CM,
    bright_segmentation,
    make_bright_frames,
    make_calibration,
    make_clip,
    make_phantom,
)

from echojax.predict import Regression, predict_clip
from echojax.predict.interval import Correction
from echojax.predict.result import to_json, to_row
from echojax.video import resize

FPS = 40.0


def predict(frames, segmentation=None, **options):
    return predict_clip(make_clip(frames, **options), segmentation or bright_segmentation())


@pytest.mark.parametrize("index", [0, 1, 2])
def test_true_masks_give_the_true_lvef(index):
    phantom = make_phantom(index)
    prediction = predict(make_bright_frames(index), fps=phantom.parameters.fps)
    assert prediction.lvef_percent == pytest.approx(phantom.ef_percent, abs=3)
    assert prediction.measurement.pooled_percent("area_length") == pytest.approx(prediction.lvef_percent, abs=4)
    np.testing.assert_allclose(
        prediction.measurement.function.curves.area, phantom.area_px, rtol=0.03, atol=2 * np.sqrt(SIZE)
    )


def test_volumes_are_in_their_own_unit_only():
    phantom = make_phantom()
    spacing_cm = phantom.parameters.cm_per_px
    known, unknown = (
        predict(make_bright_frames(), fps=phantom.parameters.fps, spacing_cm=s) for s in (spacing_cm, None)
    )
    assert known.lvef_percent == pytest.approx(unknown.lvef_percent, abs=1e-6)
    known, unknown = to_json(known), to_json(unknown)
    assert known["volumes"]["edv_ml"] == pytest.approx(phantom.edv_ml, rel=0.08)
    assert unknown["volumes"]["edv_px3"] * spacing_cm**3 == pytest.approx(known["volumes"]["edv_ml"], rel=1e-3)
    for content, metric in ((known, True), (unknown, False)):
        for part in (content["volumes"], content["curves"], *content["beats"]):
            for name, value in part.items():
                if name.endswith(("_ml", "_cm", "_cm2")):
                    assert (value is not None) == metric, name
                elif name.endswith(("_px", "_px2", "_px3")):
                    assert (value is None) == metric, name
    row = to_row(predict(make_bright_frames()))
    assert row["edv_ml"] is None and row["edv_px3"] > 0


def test_a_larger_clip_has_the_same_lvef_and_its_own_pixels():
    frames = make_bright_frames()
    small, large = predict(frames), predict(resize(frames[..., None], 3 * SIZE, 3 * SIZE, "linear"))
    assert large.lvef_percent == pytest.approx(small.lvef_percent, abs=1)
    ratio = large.measurement.used_beats[0].edv / small.measurement.used_beats[0].edv
    assert ratio == pytest.approx(27, rel=0.03)


def test_beats_and_their_times():
    prediction = predict(make_bright_frames(), fps=FPS, spacing_cm=SPACING_CM)
    content = to_json(prediction)
    assert content["beats"] and any(beat["is_used"] for beat in content["beats"])
    for beat in content["beats"]:
        assert beat["ed_time_s"] == pytest.approx(beat["ed_frame"] / FPS, abs=1e-4)
        assert beat["edv_ml"] > beat["esv_ml"] > 0
    pooled = np.median([beat["lvef_percent"]["simpson"] for beat in content["beats"] if beat["is_used"]])
    assert content["lvef_percent"]["value"] == pytest.approx(pooled, abs=0.01)


@pytest.mark.parametrize("is_recurrent", [False, True])
def test_views_are_compared_at_the_frames_that_matter(is_recurrent):
    """A network that finds brighter pictures' ventricles larger disagrees with itself, however it is asked."""
    asked = []

    def segment(frames):
        asked.append(len(frames))
        grey = frames[..., 0].astype(np.float32)
        return np.where(grey > 170, (grey - 200) / 20, (grey - 90) / 20)

    frames = make_bright_frames()
    segmentation = bright_segmentation(segment=segment, is_recurrent=is_recurrent)
    disagreement = predict(frames, segmentation).measurement.disagreement
    assert disagreement.views > 0 and disagreement.scale > disagreement.views
    assert asked[0] == len(frames) and len(asked) == 3
    assert all(number == len(frames) for number in asked) if is_recurrent else max(asked[1:]) < len(frames)
    assert predict(frames, segmentation, fps=FPS).lvef_percent is not None


def test_one_view_has_no_disagreement_of_views():
    prediction = predict_clip(make_clip(make_bright_frames()), bright_segmentation(), num_views=1)
    assert prediction.measurement.disagreement.views == 0


def test_no_interval_without_calibration_and_the_reason():
    prediction = predict(make_bright_frames())
    assert prediction.interval.low is None and prediction.interval.reason == "this network has no calibration"
    calibration = make_calibration(num_views=5)
    other = predict(make_bright_frames(), bright_segmentation(calibration=calibration))
    assert "5 views of a clip, not 3" in other.interval.reason


def test_interval_of_a_calibrated_network():
    calibration = make_calibration()
    prediction = predict(make_bright_frames(), bright_segmentation(calibration=calibration))
    reach = 2.0 * prediction.measurement.disagreement.scale
    assert prediction.interval.low == pytest.approx(max(0, prediction.lvef_percent - reach))
    assert prediction.interval.high == pytest.approx(prediction.lvef_percent + reach)
    lvef = to_json(prediction)["lvef_percent"]
    assert lvef["interval"][0] < lvef["value"] < lvef["interval"][1] and lvef["calibrated_on"] == "40 phantoms"
    assert lvef["level"] == 0.95 and lvef["interval_missing_because"] is None


def test_lvef_is_corrected_and_what_was_read_stands_beside():
    raw = predict(make_bright_frames())
    content = to_json(raw)["lvef_percent"]
    assert content["uncorrected"] == content["value"] and content["correction"] is None
    correction = Correction(intercept_points=4.0, slope=1.1)
    prediction = predict(make_bright_frames(), bright_segmentation(calibration=make_calibration(correction=correction)))
    assert prediction.measurement.lvef_percent == raw.lvef_percent
    assert prediction.lvef_percent == pytest.approx(4 + 1.1 * raw.lvef_percent)
    reach = 2.0 * prediction.measurement.disagreement.scale
    assert prediction.interval.low == pytest.approx(max(0, prediction.lvef_percent - reach))
    content = to_json(prediction)
    assert content["lvef_percent"]["value"] == pytest.approx(4 + 1.1 * content["lvef_percent"]["uncorrected"], abs=0.01)
    assert content["lvef_percent"]["correction"] == {"intercept_points": 4.0, "slope": 1.1}
    assert content["lvef_by_method_percent"]["simpson"] == content["lvef_percent"]["uncorrected"]
    assert to_row(prediction)["uncorrected_lvef_percent"] == content["lvef_percent"]["uncorrected"]


def test_regression_stands_beside_and_warns_when_far():
    seen = {}

    def regress(frames, logits):
        seen.update(frames=frames.shape, logits=logits.shape)
        return np.array([4.0, 6.0], np.float32)

    regression = Regression(regress, 56, {"family": "video_resnet"})
    clip = make_clip(make_bright_frames())
    prediction = predict_clip(clip, bright_segmentation(), regression)
    assert seen == {"frames": (72, 56, 56, 1), "logits": (72, SIZE, SIZE)}
    content = to_json(prediction)
    assert content["lvef_by_method_percent"]["direct_regression"] == 5.0
    assert content["lvef_percent"]["value"] == content["lvef_by_method_percent"]["simpson"]
    assert "regression_differs" in [flag.kind for flag in prediction.flags]
