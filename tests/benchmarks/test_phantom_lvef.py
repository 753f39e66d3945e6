"""The benchmark on phantoms: what is drawn, what a perfect network scores, and the numbers made of scores."""

import dataclasses
import json

import numpy as np
import pytest
from predict_clips import bright_segmentation, make_bright_frames, make_calibration, make_phantom

from benchmarks import phantom_lvef
from benchmarks.phantom_clips import KnownClip, PhantomScore, draw_clips, known_lvef, score_clip
from data_prep.phantom import render, sample_parameters
from echojax.predict.interval import FLOOR_POINTS, Correction, Disagreement
from echojax.video import read_video, write_video


def write_known(folder, index, step=1) -> KnownClip:
    """A phantom with its ventricle painted in, every step-th frame of it."""
    phantom, frames = make_phantom(index), make_bright_frames(index)[::step]
    path = folder / f"{index}_{step}.avi"
    write_video(path, frames, phantom.parameters.fps / step, codec="FFV1")
    masks = np.packbits(phantom.masks[::step], axis=-1)
    return KnownClip(
        path, known_lvef(phantom), phantom.ef_percent, phantom.ed_frame // step, phantom.es_frame // step, masks
    )


def score(known, predicted, scale=FLOOR_POINTS, **changes) -> PhantomScore:
    beats = np.sqrt(scale**2 - FLOOR_POINTS**2)
    values = dict(
        known=known,
        label=known + 1,
        lvef=predicted,
        simpson=predicted,
        area_length=predicted,
        disagreement=Disagreement(beats, 0.0, 0.0),
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
        assert whole.label_percent == phantom.ef_percent and whole.lvef_percent == known_lvef(phantom)
        assert fps == pytest.approx(job.fps, rel=1e-3)
        assert half_fps == pytest.approx(fps / 2, rel=1e-3)
        np.testing.assert_array_equal(np.unpackbits(whole.packed_masks, axis=-1), phantom.masks)
        np.testing.assert_array_equal(half.packed_masks, whole.packed_masks[::2])


def test_known_lvef_is_the_median_over_whole_beats():
    phantom = make_phantom(0)
    fall = np.cos(np.linspace(0, 2 * np.pi, 30, endpoint=False))
    depths = (0.0, 0.3, 0.2, 0.4, 0.0)  # of beats; what comes first and last is no beat
    volume = np.concatenate([100 - 50 * depth * (1 - fall) for depth in depths])
    assert known_lvef(dataclasses.replace(phantom, volume_ml=volume)) == pytest.approx(30, abs=0.5)
    still = dataclasses.replace(phantom, volume_ml=np.full(72, 90.0) + np.arange(72) * 1e-9)
    assert known_lvef(still) == still.ef_percent


def test_a_perfect_network_scores_well(tmp_path):
    found = score_clip(write_known(tmp_path, 0), bright_segmentation(), num_views=1)
    assert min(found.dice_ed, found.dice_es, found.dice_mean) > 0.97
    assert found.simpson == pytest.approx(found.known, abs=3)
    assert found.lvef == found.simpson and found.gets_interval

    corrected = bright_segmentation(calibration=make_calibration(correction=Correction(5.0, 0.9)))
    found = score_clip(write_known(tmp_path, 0), corrected, num_views=3)
    assert found.lvef == pytest.approx(5 + 0.9 * found.simpson)


def test_a_clip_that_cannot_be_read_is_no_interval_and_no_dice(tmp_path):
    clip = write_known(tmp_path, 0)
    clip.path.write_bytes(b"")
    found = score_clip(clip, bright_segmentation(), num_views=1)
    assert np.isnan([found.lvef, found.simpson]).all() and not found.gets_interval and found.dice_mean == 0


def test_coverage_and_width_are_counted_over_clips_that_get_an_interval():
    calibration = make_calibration(3 / FLOOR_POINTS)
    scores = [score(50, 51), score(50, 54), score(50, 54, scale=2 * FLOOR_POINTS), score(50, 90, is_voided=True)]
    groups = phantom_lvef.summarise_scores(scores, calibration)
    coverage, width = groups["interval_0.9"]["coverage"], groups["interval_0.9"]["width_points"]
    assert coverage.n == 3 and coverage.value == pytest.approx(2 / 3)
    assert width.value == pytest.approx((6 + 6 + 12) / 3)
    assert groups["lvef_simpson"]["mae"].value == pytest.approx((1 + 4 + 4 + 40) / 4)
    assert groups["lvef_of_table"]["mae"].value == pytest.approx((0 + 3 + 3 + 39) / 4)
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
    calibration = make_calibration(3 / FLOOR_POINTS, on="40 of 40 phantoms (generator version 3, seed 7)")
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
