"""Whole videos judged in one command: what metrics, tables and pages say of masks whose worth is known."""

import csv
import json

import numpy as np
import pytest
import scipy.special

from configs import base, dfkd
from data_prep.phantom.truth import write_truth
from echojax import data, evaluate, evaluation, judging, networks, records, run
from echojax.errors import UserError
from echojax.preprocessing import Preprocessing
from echojax.train.checkpoint import Metadata, save_weights

pytestmark = pytest.mark.usefixtures("quick_compiler")

STUDENT = networks.describe_student(base.get_config().dfkd, "float32") | {"num_blocks": 1, "num_layers": 1, "width": 2}
ECHOCLIP = {
    "family": "echoclip",
    "width": 4,
    "blocks": [1, 1, 1, 1],
    "embedding": 8,
    "text_width": 64,
    "text_depth": 1,
    "vocabulary": 49408,
    "context_length": 77,
    "dtype": "float32",
}
NUM_SEEN = 2  # videos that EchoCLIP looks at
DICE = ["dice", "dice_ed", "dice_ed_mean", "dice_es", "dice_es_mean", "dice_mean"]


def save_network(directory, description: dict, size: int, in_channels: int) -> None:
    network = networks.build_network(description, seed=1)
    preprocessing = Preprocessing((0.0,) * in_channels, (1.0,) * in_channels, (size, size), 0, 1, in_channels, "a test")
    save_weights(
        directory, network.params, network.stats, Metadata("test", description, preprocessing, 7, 0.5, {}, {}, {})
    )


@pytest.fixture(scope="module")
def truth(phantom_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    write_truth(phantom_data.parent / "source", folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with an untrained student and a narrow EchoCLIP."""
    folder = tmp_path_factory.mktemp("weights")
    save_network(folder / "student", STUDENT, size=112, in_channels=1)
    save_network(folder / "echoclip", ECHOCLIP, size=32, in_channels=3)
    return folder


def make_config(phantom_data, truth, weights):
    config = dfkd.get_config()
    config.data_dir, config.masks_dir = str(phantom_data), str(truth)
    config.echoclip_dir = str(weights / "nothing")
    config.compile_cache_dir = ""
    config.evaluation.splits = ("TEST",)
    return config


@pytest.fixture
def config(phantom_data, truth, weights):
    return make_config(phantom_data, truth, weights)


@pytest.fixture
def workdir(weights, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best").symlink_to(weights / "student" / "best")
    return tmp_path / "run"


def show_truth(patch, truth) -> None:
    """Puts the true masks in the place of the network's."""
    masks = records.open_masks(truth)
    patch.setattr(evaluation.Run, "mask_video", lambda run_, position: masks.frames(str(run_.videos.name[position])))


@pytest.fixture(scope="module")
def judged(phantom_data, truth, weights, tmp_path_factory):
    """The directory of a run whose masks are the truth, judged by tracings, by a teacher alike, and by EchoCLIP."""
    workdir = tmp_path_factory.mktemp("judged") / "run"
    workdir.mkdir()
    (workdir / "best").symlink_to(weights / "student" / "best")
    config = make_config(phantom_data, truth, weights)
    config.echoclip_dir = str(weights / "echoclip")
    config.echoclip.num_videos, config.echoclip.frame_period = NUM_SEEN, 8
    with pytest.MonkeyPatch.context() as patch:
        show_truth(patch, truth)
        assert run.run(config, workdir, "evaluate") == 0
    return workdir


def load(workdir):
    return evaluate.load_metrics(workdir / "metrics.json")


def test_all_groups_are_there_with_intervals(judged):
    found = load(judged)
    lvef = [f"lvef_{method}_{at}" for method in ("simpson", "area_length", "area") for at in ("beats", "traced")]
    references = ("human", "teacher", "echoclip")
    afd = [f"afd_{protocol}_{of}" for protocol in ("echodfkd", "blind") for of in references]
    echoclip = ["echoclip_intended", "echoclip_as_coded", "echoclip_phase", "lvef_echoclip"]
    expected = {"dfkd", "dice_at_80", "dice_at_half", "lvef_echodfkd", "lvef_echodfkd_against_echoclip"}
    # UVT leaves out videos whose ED and ES are close, which these need not have.
    uvt = {f"afd_uvt_{of}" for of in references}
    assert set(found) - uvt == expected.union(lvef, afd, echoclip)
    assert sorted(found["dfkd"]) == DICE
    for group in ("dfkd", "lvef_simpson_beats", "afd_echodfkd_human", "afd_echodfkd_teacher"):
        assert {interval.n for interval in found[group].values()} == {4}, group
    for group in ("afd_echodfkd_echoclip", "lvef_echoclip", *echoclip):
        assert {interval.n for interval in found[group].values()} == {NUM_SEEN}, group
    entry = json.loads((judged / "metrics.json").read_text())["lvef_simpson_beats"]["mae"]
    assert (entry["data"], entry["split"], entry["level"]) == ("phantom", "TEST", 0.95)


def test_true_masks_are_found_to_be_true(judged):
    found = load(judged)
    assert found["dfkd"] == found["dice_at_half"]
    assert found["dfkd"]["dice"].value > 0.95
    assert found["lvef_simpson_beats"]["mae"].value < 5
    assert found["lvef_echodfkd"]["pearson"].value > 0.9
    assert found["afd_echodfkd_human"]["ed_frames"].value <= 2 and found["afd_echodfkd_human"]["es_frames"].value <= 2
    assert found["afd_echodfkd_teacher"]["es_frames"].value <= 1
    for mode in ("intended", "as_coded"):
        assert found[f"echoclip_{mode}"]["echoclip_score_over_teacher"].value == 0
        assert found[f"echoclip_{mode}"]["echoclip_score_over_empty"].value != 0


def test_every_video_has_a_row(judged, phantom_data):
    videos = records.open_videos(phantom_data)
    with open(judged / "predictions_test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [str(videos.name[position]) for position in videos.select("TEST")]
    mae = np.mean([abs(float(row["ef"]) - float(row["ef_predicted"])) for row in rows])
    assert mae == pytest.approx(load(judged)["lvef_simpson_beats"]["mae"].value, abs=1e-5)
    assert [row["echoclip_intended"] == "" for row in rows] == [False, False, True, True]
    assert all(float(row["dice_at_half_ed"]) > 0.95 for row in rows)
    assert len((judged / "dice_test.csv").read_text().splitlines()) == 1 + 4
    features = [f"{row['name']}.npz" for row in rows[:NUM_SEEN]]
    assert sorted(path.name for path in (judged / "echoclip" / "records").iterdir()) == ["features.json", *features]


def test_the_page_shows_it(judged):
    text = (judged / "index.html").read_text()
    for part in ("Dice of traced frames", "At the beats found in the masks", "From the teacher&#x27;s masks",
                 "EchoCLIP&#x27;s score of the masks", "cases_test.png", "area_worst_test.png", "overlay_test_best.mp4",
                 "lvef_bland_altman_test.png"):  # fmt: skip
        assert part in text, part


def test_masks_are_those_that_would_be_stored(config, workdir):
    run_ = run.open_run(config, workdir)
    probability = 255 * scipy.special.expit(run_.segment_frames(run_.videos.frames(0)))
    assert np.array_equal(run_.mask_video(0), np.rint(probability).astype(np.uint8))
    config.infer.encoding = "floor"
    assert np.array_equal(run_.mask_video(0), probability.astype(np.uint8))


def test_a_network_of_single_images_is_judged_alike(config, phantom_data, tmp_path):
    videos = records.open_videos(phantom_data)
    network = base.get_config().network
    network.width, network.blocks = 2, (1, 1, 1, 1)
    description = networks.describe_segmentation(network)
    preprocessing = data.dataset_preprocessing(videos, num_frames=0, period=1, in_channels=3)
    weights = networks.build_network(description, seed=1)
    metadata = Metadata("seg", description, preprocessing, 7, 0.5, {}, {}, {})
    save_weights(tmp_path, weights.params, weights.stats, metadata)
    config.stage = "seg"
    results = judging.judge_videos(run.open_run(config, tmp_path), "TEST")
    of_frames = evaluation.evaluate_segmentation(run.open_run(config, tmp_path), "TEST")
    assert results.names == of_frames.names
    np.testing.assert_allclose(results.dice, of_frames.dice, atol=1e-3)


def test_what_is_missing_is_said_and_the_rest_goes_on(config, workdir, truth, monkeypatch, capsys):
    show_truth(monkeypatch, truth)
    config.masks_dir = str(truth / "nowhere")
    results = judging.judge_videos(run.open_run(config, workdir), "TEST")
    no_teacher, no_echoclip = results.notes
    assert "nowhere: holds no masks; make them with `python main.py --config=configs/dfkd_targets.py`" in no_teacher
    for part in (
        "nothing does not exist",
        "echojax port open_clip_pytorch_model.bin",
        "huggingface.co/mkaichristensen",
    ):
        assert part in no_echoclip
    assert no_echoclip in capsys.readouterr().out
    assert results.groups.keys() & {"dice_at_half", "lvef_simpson_beats", "afd_blind_human"} and not any(
        "teacher" in group or "echoclip" in group for group in results.groups
    )
    # Whoever does not ask is not told.
    config.evaluation.teacher_masks_dir, config.echoclip.num_videos = "", 0
    assert judging.open_judges(run.open_run(config, workdir), "TEST").notes == []


def test_masks_of_other_videos_are_no_reference(config, workdir, tmp_path, phantom_data, monkeypatch, truth):
    """A teacher that has seen one video, and another one of a name that is here."""
    show_truth(monkeypatch, truth)
    videos = records.open_videos(phantom_data)
    first, second = (str(videos.name[position]) for position in videos.select("TEST")[:2])
    writer = records.MaskWriter(tmp_path / "teacher", "TEST", [first, second])
    num_frames = {first: videos.num_frames[videos.position(first)], second: 3}
    masks = ((name, np.full((count, 112, 112), 5.0, np.float32)) for name, count in num_frames.items())
    writer.write_shard(0, masks)
    writer.finish()
    config.evaluation.teacher_masks_dir = str(tmp_path / "teacher")
    results = judging.judge_videos(run.open_run(config, workdir), "TEST")
    assert results.groups["afd_echodfkd_teacher"]["ed_frames"].n == 1
    assert any("2 of 4 videos have no teacher's masks" in note for note in results.notes)


def test_a_video_that_fails_is_listed_and_the_others_go_on(config, workdir, truth, monkeypatch, capsys):
    show_truth(monkeypatch, truth)
    of_truth = evaluation.Run.mask_video
    bad = records.open_videos(config.data_dir).select("TEST")[1]

    def mask_video(run_, position):
        if position == bad:
            raise UserError("the network's masks are not finite")
        return of_truth(run_, position)

    monkeypatch.setattr(evaluation.Run, "mask_video", mask_video)
    assert run.run(config, workdir, "evaluate") == 1
    name = str(records.open_videos(config.data_dir).name[bad])
    line = f"{name} failed: the network's masks are not finite"
    assert f"TEST: {line}" in capsys.readouterr().out
    assert line.replace("'", "&#x27;") in (workdir / "index.html").read_text()
    assert load(workdir)["dfkd"]["dice"].n == 3
    assert name not in (workdir / "predictions_test.csv").read_text()
    monkeypatch.setattr(evaluation.Run, "mask_video", lambda run_, position: np.zeros(3))
    with pytest.raises(UserError, match=r"none of the 4 videos of TEST could be judged; .*: masks of"):
        judging.judge_videos(run.open_run(config, workdir), "TEST")


def test_a_phase_that_runs_backwards_is_said(config, workdir):
    backwards = {"echoclip_phase": {"correlation": evaluate.Interval(-0.4, -0.5, -0.3, 8)}}
    (note,) = judging.phase_notes(backwards)
    assert "-0.40" in note and "phase_sign" in note
    forwards = {"echoclip_phase": {"correlation": evaluate.Interval(0.4, 0.3, 0.5, 8)}}
    assert judging.phase_notes(forwards) == judging.phase_notes({}) == []


def test_splits_without_videos_are_passed_over(config, workdir, tmp_path, capsys):
    videos = records.open_videos(config.data_dir)
    only = videos.only([str(videos.name[position]) for position in videos.select("VAL")])
    assert run.filled_splits(only, ("TRAIN", "VAL", "TEST")) == ["VAL"]
    assert capsys.readouterr().out == "TRAIN: no videos\nTEST: no videos\n"
    with pytest.raises(UserError, match="no video of TEST is there"):
        run.filled_splits(only, ("TEST",))


def test_the_teacher_is_whoever_labelled_the_videos():
    config = dfkd.get_config()
    assert config.evaluation.videos and config.evaluation.teacher_masks_dir == "runs/dfkd_targets/masks"
    config.masks_dir = "data/phantoms_truth"
    assert config.evaluation.teacher_masks_dir == "data/phantoms_truth"
    config.evaluation.teacher_masks_dir = "elsewhere"
    assert config.masks_dir == "data/phantoms_truth"
    assert not base.get_config().evaluation.videos and dfkd.get_config("smoke").echoclip.num_videos == 1


def test_missing_data_name_the_command_that_makes_them(tmp_path):
    for name, source in (("synthetic", "synthetic"), ("echonet", "echonet"), ("phantoms", "echonet")):
        with pytest.raises(UserError, match=f"python -m data_prep {source} --source=DIR --data_dir={tmp_path / name}"):
            records.open_videos(tmp_path / name)
