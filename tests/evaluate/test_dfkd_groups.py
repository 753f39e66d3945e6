"""Everything EchoDFKD measures, from masks and what is known about videos to groups of metrics."""

import csv
import dataclasses
import functools

import numpy as np
import pytest
from lv_shapes import Body

from echojax import evaluate, lv
from echojax.errors import UserError
from echojax.evaluate import MaskedVideo
from echojax.evaluate.dfkd import DICE_THRESHOLDS
from echojax.records import encode_logits

SIZE = 48
NUM_FRAMES = 60
QUICK = {"num_samples": 100}


@functools.cache
def beating_masks(lvef_by_area: float = 30.0, period: int = 30, shift: float = 0.0) -> np.ndarray:
    """An ellipsoid that contracts in width: 255 inside, 100 in a soft border, 40 in a faint one."""
    contraction = (1 - np.cos(2 * np.pi * np.arange(NUM_FRAMES) / period)) / 2
    frames = []
    for c in contraction:
        width = 18 * (1 - lvef_by_area / 100 * c)
        rings = [Body(30 + 2 * grow, width + 2 * grow, 0.2, 24 + shift, 24).mask(SIZE) for grow in (0, 1, 2)]
        frames.append(np.select(rings, [255, 100, 40], 0))
    return np.array(frames, np.uint8)


def make_video(name: str = "a", lvef_by_area: float = 30.0, **changes) -> MaskedVideo:
    masks = beating_masks(lvef_by_area)
    video = MaskedVideo(
        name,
        masks,
        fps=50.0,
        ef_percent=100 * (1 - (1 - lvef_by_area / 100) ** 2),
        traced_frames=(30, 46),
        traced_masks=masks[[30, 46]] > 127,
        references={"teacher": (29, 45)},
    )
    return dataclasses.replace(video, **changes)


@pytest.fixture(scope="module")
def scores():
    videos = [make_video(f"v{index}", lvef) for index, lvef in enumerate((15.0, 25.0, 35.0, 45.0))]
    untraced = make_video("untraced", 30.0, traced_frames=None, traced_masks=None, references={})
    unknown = make_video("unknown", 20.0, ef_percent=float("nan"), traced_masks=videos[0].traced_masks)
    return [evaluate.score_video(video) for video in (*videos, untraced, unknown)]


def test_every_group_is_there_and_says_how_many_videos_it_counts(scores):
    groups = evaluate.summarise_videos(scores, **QUICK)
    lvef = [
        f"lvef_{method}_{frames}" for frames in ("traced", "beats") for method in ("simpson", "area_length", "area")
    ]
    afd = [f"afd_{protocol}_{who}" for who in ("human", "teacher") for protocol in ("echodfkd", "uvt", "blind")]
    assert set(groups) == {"dice_at_80", "dice_at_half", "lvef_echodfkd", *lvef, *afd}
    assert {metric.n for metric in groups["dice_at_80"].values()} == {5}
    assert {metric.n for metric in groups["lvef_echodfkd"].values()} == {4}
    assert {metric.n for metric in groups["lvef_simpson_beats"].values()} == {5}
    assert {metric.n for metric in groups["afd_uvt_human"].values()} == {5}
    for metrics in groups.values():
        assert all(isinstance(metric, evaluate.Interval) for metric in metrics.values())


def test_groups_can_be_written_as_metrics(scores, tmp_path):
    groups = evaluate.summarise_videos(scores, **QUICK)
    for group, metrics in groups.items():
        evaluate.update_metrics(tmp_path / "metrics.json", group, metrics, data="phantom", split="TEST")
    loaded = evaluate.load_metrics(tmp_path / "metrics.json")
    assert loaded.keys() == groups.keys()
    assert loaded["dice_at_half"]["dice"] == pytest.approx(groups["dice_at_half"]["dice"])


def test_dice_is_taken_at_the_original_threshold_and_at_one_half():
    video = make_video()
    groups = evaluate.evaluate_videos([video, video], **QUICK)
    assert groups["dice_at_half"]["dice"].value == 1.0
    for index, suffix in ((0, "_ed"), (1, "_es")):
        predicted = video.masks[video.traced_frames[index]] > 80
        expected = evaluate.dice(predicted, video.traced_masks[index])
        assert expected < 0.95
        assert groups["dice_at_80"][f"dice{suffix}"].value == pytest.approx(float(expected))


def test_invariant_10_thresholds_are_strict_on_stored_values():
    """Logit -0.77 is background and -0.76 ventricle at 80; logit 0, stored as 127, is background at one half."""
    logits = np.array([-6, -2.3, -2.1, -0.77, -0.76, -0.01, 0, 0.008, 5, 16, 17])
    stored = encode_logits(logits, "floor")
    np.testing.assert_array_equal(stored, [0, 23, 27, 80, 81, 126, 127, 128, 253, 254, 255])
    first_above = {group: logits[stored > threshold][0] for group, threshold in DICE_THRESHOLDS.items()}
    assert first_above == {"dice_at_80": -0.76, "dice_at_half": 0.008}


def test_invariant_17_dice_of_empty_masks():
    """Two empty masks agree, one empty mask does not, and a value of 80 is background."""
    masks = np.zeros((20, 8, 8), np.uint8)
    masks[3, :2] = 80
    masks[9, :2] = 81
    empty = np.zeros((2, 8, 8), bool)
    found = evaluate.score_video(MaskedVideo("a", masks, traced_frames=(3, 9), traced_masks=empty)).dice["dice_at_80"]
    assert [float(evaluate.dice_from_counts(counts)) for counts in found] == [1.0, 0.0]


def test_invariant_16_lvef_of_the_original_from_areas_above_80():
    video = make_video()
    areas = (video.masks[[30, 46]] > 80).sum((1, 2))
    found = evaluate.score_video(video).lvef_percent
    assert found["lvef_echodfkd"] == pytest.approx(100 * (areas[0] - areas[1]) / areas[0])
    turned = dataclasses.replace(video, traced_frames=(46, 30), traced_masks=video.traced_masks[::-1])
    assert evaluate.score_video(turned).lvef_percent["lvef_echodfkd"] < 0
    nothing = dataclasses.replace(video, masks=np.zeros_like(video.masks))
    found = evaluate.score_video(nothing).lvef_percent
    assert found["lvef_echodfkd"] == 0 and np.isnan(found["lvef_simpson_traced"])


def test_lvef_by_volumes_meets_the_truth_and_by_area_falls_short(scores):
    groups = evaluate.summarise_videos(scores, **QUICK)
    for method in ("simpson", "area_length"):
        for frames in ("traced", "beats"):
            assert groups[f"lvef_{method}_{frames}"]["mae"].value < 3
    assert groups["lvef_area_beats"]["bias"].value < -15
    assert groups["lvef_echodfkd"]["pearson"].value > 0.99


def test_agreement_has_bland_altmans_limits():
    rng = np.random.default_rng(0)
    known = rng.uniform(20, 70, 40)
    found = known + rng.normal(2, 4, 40)
    summary = evaluate.summarise_agreement(found, known, **QUICK)
    errors = found - known
    assert summary["bias"].value == pytest.approx(errors.mean())
    assert summary["lower_limit"].value == pytest.approx(errors.mean() - 1.96 * errors.std(ddof=1))
    assert summary["upper_limit"].value == pytest.approx(errors.mean() + 1.96 * errors.std(ddof=1))
    agreement = evaluate.limits_of_agreement(found, known)
    assert summary["lower_limit"].value == pytest.approx(agreement.lower.value)
    for interval in summary.values():
        assert interval.low < interval.value < interval.high and interval.n == 40


def test_agreement_leaves_out_what_is_not_known():
    summary = evaluate.summarise_agreement([50.0, np.nan, 40.0], [52.0, 50.0, np.nan], **QUICK)
    assert summary["mae"].value == 2.0 and summary["mae"].n == 1
    assert np.isnan(summary["lower_limit"].value)
    assert evaluate.summarise_agreement([np.nan], [50.0])["mae"].n == 0


def test_afd_is_the_mean_of_absolute_distances():
    distances = [
        {"ED": evaluate.FrameDistance(10, 3, 60.0), "ES": evaluate.FrameDistance(20, -1, -10.0)},
        {"ED": evaluate.FrameDistance(10, -5, -50.0), "ES": evaluate.FrameDistance(None, None, None)},
    ]
    summary = evaluate.summarise_afd(distances, **QUICK)
    assert (summary["ed_frames"].value, summary["ed_bias_frames"].value) == (4, -1)
    assert (summary["ed_ms"].value, summary["ed_bias_ms"].value) == (55, 5)
    assert (summary["es_frames"].value, summary["es_bias_ms"].value, summary["es_ms"].n) == (1, -10, 1)


def test_afd_reads_areas_above_25_by_the_anchored_protocols():
    video = make_video()
    found = evaluate.score_video(video).distances
    area = lv.area_px(video.masks > 25)
    for who, (ed, es) in {"human": (30, 46), "teacher": (29, 45)}.items():
        for protocol in ("echodfkd", "uvt"):
            assert found[f"afd_{protocol}_{who}"]["ED"] == evaluate.afd(area, ed, "ED", protocol, 50.0)
            assert found[f"afd_{protocol}_{who}"]["ES"] == evaluate.afd(area, es, "ES", protocol, 50.0)
        assert abs(found[f"afd_blind_{who}"]["ED"].distance) <= 2


def test_uvt_leaves_out_references_ten_frames_apart():
    near = make_video(traced_frames=(30, 40), references={})
    assert "afd_uvt_human" not in evaluate.score_video(near).distances
    assert "afd_uvt_human" in evaluate.score_video(make_video(traced_frames=(30, 41))).distances


def test_a_video_that_is_lost_counts_only_where_it_can():
    lost = make_video("lost", masks=np.zeros((NUM_FRAMES, SIZE, SIZE), np.uint8))
    groups = evaluate.evaluate_videos([make_video(), lost], **QUICK)
    assert groups["dice_at_80"]["dice_mean"].n == 2
    assert groups["lvef_echodfkd"]["mae"].n == 2
    assert groups["lvef_simpson_traced"]["mae"].n == groups["lvef_simpson_beats"]["mae"].n == 1
    assert groups["afd_blind_human"]["ed_frames"].n == 1
    assert groups["afd_echodfkd_human"]["ed_frames"].n == 2


def test_videos_of_unknown_frame_rate_have_no_milliseconds():
    groups = evaluate.evaluate_videos([make_video(fps=None)], **QUICK)
    assert groups["afd_blind_human"]["ed_frames"].n == 1 and groups["afd_blind_human"]["ed_ms"].n == 0


def test_nothing_known_is_nothing_measured():
    bare = MaskedVideo("bare", beating_masks())
    assert evaluate.evaluate_videos([bare]) == {} and evaluate.evaluate_videos([]) == {}


def test_scores_are_written_one_row_per_video(scores, tmp_path):
    evaluate.write_csv(tmp_path / "scores.csv", evaluate.score_columns(scores))
    with open(tmp_path / "scores.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["v0", "v1", "v2", "v3", "untraced", "unknown"]
    assert float(rows[0]["dice_at_half_ed"]) == 1.0 and rows[4]["dice_at_half_ed"] == ""
    assert float(rows[3]["lvef_simpson_beats"]) == pytest.approx(scores[3].lvef_percent["lvef_simpson_beats"])
    assert rows[0]["afd_echodfkd_human_es"] == str(scores[0].distances["afd_echodfkd_human"]["ES"].distance)
    assert rows[4]["afd_blind_human_ed"] == "" and rows[5]["ef"] == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": np.zeros((4, 8, 8))}, r"float64 \(4, 8, 8\); expected uint8"),
        ({"traced_masks": None}, "both or neither"),
        ({"traced_masks": np.zeros((2, 8, 8), bool)}, r"\(2, 8, 8\); expected \(2, 48, 48\)"),
        ({"traced_frames": (30, 60)}, r"60 frames; tracings name frames \(30, 60\)"),
        ({"references": {"teacher": (-1, 2)}}, "teacher name frames"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_video(changes, message):
    with pytest.raises(UserError, match=message):
        evaluate.score_video(make_video("broken", **changes))
