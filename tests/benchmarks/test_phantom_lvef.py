"""The benchmark on phantoms: what is drawn, what a perfect network scores, and the numbers made of scores."""

import json

import numpy as np
import pytest
from predict_clips import bright_segmentation, make_bright_frames, make_phantom

from benchmarks import phantom_lvef
from benchmarks.phantom_clips import KnownClip, PhantomScore, draw_clips, score_clip
from data_prep.phantom import render, sample_parameters
from echojax.predict import calibrate
from echojax.predict.interval import FLOOR_POINTS, Disagreement
from echojax.video import read_video, write_video


def write_known(folder, index, step=1) -> KnownClip:
    """A phantom with its ventricle painted in, every step-th frame of it."""
    phantom, frames = make_phantom(index), make_bright_frames(index)[::step]
    path = folder / f"{index}_{step}.avi"
    write_video(path, frames, phantom.parameters.fps / step, codec="FFV1")
    masks = np.packbits(phantom.masks[::step], axis=-1)
    return KnownClip(path, phantom.ef_percent, phantom.ed_frame // step, phantom.es_frame // step, masks)


def score(known, predicted, scale=FLOOR_POINTS, **changes) -> PhantomScore:
    beats = np.sqrt(scale**2 - FLOOR_POINTS**2)
    values = dict(
        ef_percent=known, simpson=predicted, area_length=predicted, disagreement=Disagreement(beats, 0.0, 0.0)
    )
    values |= dict(is_voided=False, dice_ed=0.9, dice_es=0.8, dice_mean=0.85, flags=())
    return PhantomScore(**values | changes)


def test_clips_are_drawn_in_order_and_leave_nothing():
    jobs = [sample_parameters(5, index, 16) for index in range(3)]
    seen = []
    for clip in draw_clips(jobs, workers=1, frame_steps=(1, 2)):
        frames, fps = read_video(clip.path)
        seen.append((clip, len(frames), fps))
    assert [number for _, number, _ in seen] == [16, 8] * 3
    assert not any(clip.path.exists() for clip, _, _ in seen)
    for job, (whole, _, fps), (half, _, half_fps) in zip(jobs, seen[::2], seen[1::2], strict=True):
        phantom = render(job)
        assert whole.ef_percent == phantom.ef_percent and fps == pytest.approx(job.fps, rel=1e-3)
        assert half_fps == pytest.approx(fps / 2, rel=1e-3)
        np.testing.assert_array_equal(np.unpackbits(whole.packed_masks, axis=-1), phantom.masks)
        np.testing.assert_array_equal(half.packed_masks, whole.packed_masks[::2])


def test_a_perfect_network_scores_well(tmp_path):
    found = score_clip(write_known(tmp_path, 0), bright_segmentation(), num_views=1)
    assert min(found.dice_ed, found.dice_es, found.dice_mean) > 0.97
    assert found.simpson == pytest.approx(found.ef_percent, abs=3)
    assert found.conformity == abs(found.simpson - found.ef_percent) / found.disagreement.scale


def test_a_clip_that_cannot_be_read_is_no_interval_and_no_dice(tmp_path):
    clip = write_known(tmp_path, 0)
    clip.path.write_bytes(b"")
    found = score_clip(clip, bright_segmentation(), num_views=1)
    assert np.isnan(found.simpson) and np.isnan(found.conformity) and found.dice_mean == 0


def test_coverage_and_width_are_counted_over_clips_that_get_an_interval():
    calibration = calibrate(np.full(40, 3 / FLOOR_POINTS), "40 phantoms", 3, "hash")
    scores = [score(50, 51), score(50, 54), score(50, 54, scale=2 * FLOOR_POINTS), score(50, 90, is_voided=True)]
    groups = phantom_lvef.summarise_scores(scores, calibration)
    coverage, width = groups["interval_0.9"]["coverage"], groups["interval_0.9"]["width_points"]
    assert coverage.n == 3 and coverage.value == pytest.approx(2 / 3)
    assert width.value == pytest.approx((6 + 6 + 12) / 3)
    assert groups["lvef_simpson"]["mae"].value == pytest.approx((1 + 4 + 4 + 40) / 4)
    assert groups["dice"]["es"].value == pytest.approx(0.8)


def test_rates_of_a_perfect_network_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(
        phantom_lvef,
        "draw_clips",
        lambda jobs, workers, steps: (
            write_known(tmp_path, index, step) for index in range(len(jobs)) for step in steps
        ),
    )
    found = phantom_lvef.compare_rates(bright_segmentation(), seed=5, num_hearts=2, num_views=1, workers=1)
    assert found["median_points"].n == 2
    assert 0 < found["median_points"].value < 2 and found["p95_points"].value < 5


def test_the_file_and_the_verdict(tmp_path, monkeypatch, capsys):
    calibration = calibrate(np.full(40, 3 / FLOOR_POINTS), "40 of 40 phantoms (generator version 3, seed 7)", 3, "hash")
    segmentation = bright_segmentation(calibration=calibration)
    monkeypatch.setattr(phantom_lvef, "load_segmentation", lambda directory: segmentation)
    scores = [score(known, known + error) for known, error in zip(range(20, 60), [1, -6] * 20, strict=True)]
    monkeypatch.setattr(phantom_lvef, "score_phantoms", lambda *arguments: [*scores, score(40, np.nan, is_voided=True)])
    output = tmp_path / "figures.json"
    arguments = ["--num_videos=41", "--num_rate_hearts=0", f"--output={output}"]
    assert phantom_lvef.main([*arguments, "--seed=8"]) == 0
    content = json.loads(output.read_text(), parse_constant=pytest.fail)
    assert content["num_videos"] == 41 and content["num_without_lvef"] == content["num_without_interval"] == 1
    assert content["metrics"]["lvef_simpson"]["mae"]["value"] == pytest.approx(3.5)
    assert content["metrics"]["interval_0.9"]["coverage"]["value"] == pytest.approx(0.5)
    printed = capsys.readouterr().out
    assert "in 0 .. 4: yes" in printed and "in 0.87 .. 0.93: no" in printed
    assert phantom_lvef.main([*arguments, "--seed=7"]) == 2
    assert "was calibrated on these phantoms" in capsys.readouterr().err
