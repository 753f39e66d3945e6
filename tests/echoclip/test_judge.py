"""Verdicts on one video after the other, by encoders made up for the purpose."""

import types

import numpy as np
import pytest

from echojax import echoclip, evaluate
from echojax.echoclip import images, prompts
from echojax.errors import UserError

SIZE, NUM_FRAMES = 20, 40
PERIOD = 20


class Valves:
    """Sees in a frame's brightness how open the mitral valve is; keeps count of what it was shown."""

    producer = "brightness"
    network = types.SimpleNamespace(description={"dtype": "float32"})

    def __init__(self):
        self.num_frames, self.num_zoomed = 0, 0

    def embed_frames(self, frames, *, zoom=False):
        self.num_frames += len(frames)
        self.num_zoomed += zoom * len(frames)
        angle = np.pi / 2 * frames.max(axis=(1, 2, 3)) / 255
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)

    def embed_texts(self, texts):
        known = {prompts.VALVE_CLOSED: (1, 0), prompts.WALL: (1, 0), prompts.NOTHING: (1, 0)}
        return np.array([known.get(text, (0, 1)) for text in texts], np.float32)


def make_video():
    """A ventricle that fills while the valve is open: largest in frames 0, 20 and 40, smallest in frames 10 and 30."""
    time = np.arange(NUM_FRAMES)
    side = np.rint(10 + 4 * np.cos(2 * np.pi * time / PERIOD)).astype(int)
    brightness = np.rint(128 - 100 * np.sin(2 * np.pi * time / PERIOD)).astype(np.uint8)
    frames = np.broadcast_to(brightness[:, None, None, None], (NUM_FRAMES, SIZE, SIZE, 1)).copy()
    frames[:, 0, 0, 0] = 255 - time.astype(np.uint8)  # no two frames are equal
    masks = np.zeros((NUM_FRAMES, SIZE, SIZE), np.uint8)
    for mask, length in zip(masks, side, strict=True):
        mask[1 : 1 + length, 1 : 1 + length] = 255
    frames[:, 0, 0, 0] = 0
    return frames, masks


def test_a_verdict_is_that_of_the_single_functions(tmp_path):
    frames, masks = make_video()
    encoder, teacher = Valves(), images.dilate(masks > 127).astype(np.uint8) * 255
    verdict = echoclip.Judge(encoder, tmp_path).judge("video", frames, masks, {"teacher": teacher})
    for mode, found in verdict.mask_scores.items():
        expected = echoclip.score_masks(Valves(), frames, masks > 127, {"teacher": teacher > 127}, mode)
        assert found.score == pytest.approx(expected.score, abs=1e-6)
        assert found.over == pytest.approx(expected.over, abs=1e-6)
    features = echoclip.embed_video(Valves(), frames)
    assert verdict.ef_percent == echoclip.ejection_fraction_of(Valves(), features)
    signal = echoclip.phase_of(Valves(), features)
    assert verdict.phase_frames == (evaluate.picked_frame(signal, "ED"), evaluate.picked_frame(signal, "ES"))
    assert verdict.phase_frames[1] in (9, 10, 11, 29, 30, 31)
    assert verdict.phase_correlation > 0.9


def test_equal_frames_are_embedded_once(tmp_path):
    frames, _ = make_video()
    frames = np.arange(1, NUM_FRAMES + 1, dtype=np.uint8)[:, None, None, None] + np.zeros_like(frames)
    masks = np.zeros((NUM_FRAMES, SIZE, SIZE), np.uint8)
    masks[:, 8:12, 8:12] = 255
    encoder = Valves()
    judge = echoclip.Judge(encoder, tmp_path)
    judge.judge("video", frames, masks, {"teacher": masks})
    # The frames, those without the mask and those without the widened mask; twice the mode and the teacher for nothing.
    assert encoder.num_zoomed == 20
    assert encoder.num_frames - encoder.num_zoomed == 3 * NUM_FRAMES
    judge.judge("video", frames, np.zeros_like(masks))
    # Features are on disk, and without masks nothing is new.
    assert encoder.num_frames - encoder.num_zoomed == 3 * NUM_FRAMES


def test_fewer_frames_find_the_same_phase(tmp_path):
    frames, masks = make_video()
    encoder = Valves()
    verdict = echoclip.Judge(encoder, tmp_path, frame_period=4, modes=("intended",)).judge("video", frames, masks)
    assert encoder.num_frames - encoder.num_zoomed <= 3 * NUM_FRAMES / 4
    assert list(verdict.mask_scores) == ["intended"]
    every = echoclip.Judge(Valves(), tmp_path / "every").judge("video", frames, masks)
    for found, expected in zip(verdict.phase_frames, every.phase_frames, strict=True):
        assert abs(found - expected) % PERIOD in (0, 1, 2, 3, 4, 16, 17, 18, 19)
    turned = echoclip.Judge(Valves(), tmp_path / "every", phase_sign="closed_minus_open").judge("video", frames, masks)
    assert turned.phase_correlation == pytest.approx(-every.phase_correlation)


def test_features_of_another_video_or_period_are_refused(tmp_path):
    frames, masks = make_video()
    judge = echoclip.Judge(Valves(), tmp_path)
    judge.judge("video", frames, masks)
    with pytest.raises(UserError, match="40 embeddings of video, expected 30: they are of another video"):
        judge.judge("video", frames[:30], masks[:30])
    with pytest.raises(UserError, match=r"'frame_period': 2.*choose another"):
        echoclip.Judge(Valves(), tmp_path, frame_period=2)
    with pytest.raises(UserError, match="period is 0, expected 1"):
        echoclip.Judge(Valves(), tmp_path, frame_period=0)


def make_verdict(score: float, ef_percent: float, **over: float) -> echoclip.Verdict:
    return echoclip.Verdict(ef_percent, (3, 9), 0.5, {"intended": echoclip.MaskScore(score, {"empty": 0.1, **over})})


def test_verdicts_of_a_split_have_intervals():
    verdicts = [make_verdict(0.2, 40.0, teacher=-0.2), make_verdict(0.6, 60.0)]
    groups = echoclip.summarise_verdicts(verdicts, [50.0, np.nan], [np.nan, np.nan])
    assert list(groups) == ["echoclip_intended", "echoclip_phase", "lvef_echoclip"]
    intended = groups["echoclip_intended"]
    assert intended["echoclip_score"][::3] == (pytest.approx(0.4), 2)
    assert intended["echoclip_score_over_teacher"][::3] == (pytest.approx(-0.2), 1)
    assert groups["echoclip_phase"]["correlation"].value == 0.5
    assert groups["lvef_echoclip"]["mae"][::3] == (10, 1)
    against = echoclip.summarise_verdicts(verdicts, [50.0, 50.0], [42.0, 62.0])["lvef_echodfkd_against_echoclip"]
    assert against["bias"].value == pytest.approx(2)


def test_columns_leave_what_was_not_seen_empty():
    columns = echoclip.verdict_columns([None, make_verdict(0.2, 40.0), make_verdict(0.3, 41.0, teacher=0.5)])
    assert columns["ed_echoclip"] == ["", 3, 3] and columns["es_echoclip"] == ["", 9, 9]
    np.testing.assert_equal(columns["lvef_echoclip"], [np.nan, 40.0, 41.0])
    np.testing.assert_equal(columns["echoclip_intended_over_teacher"], [np.nan, np.nan, 0.5])
