"""The student's stage: it learns its targets, validates on fixed clips, stops in time, is judged and writes masks."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.special

from configs import dfkd as dfkd_config
from data_prep.phantom.truth import write_truth
from echojax import data, records, run
from echojax.errors import UserError
from echojax.networks import load_network
from echojax.stages import dfkd
from echojax.streaming import Streamer
from echojax.train.checkpoint import load_metadata
from echojax.train.loop import train

pytestmark = pytest.mark.usefixtures("quick_compiler")


@pytest.fixture(scope="module")
def masks_dir(phantom_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    write_truth(phantom_data.parent / "source", folder)
    return folder


def small_config(phantom_data, masks_dir, recipe="soft56"):
    """A student of two blocks and few channels on clips of 4 frames."""
    config = dfkd_config.get_config()
    config.data_dir, config.masks_dir = str(phantom_data), str(masks_dir)
    config.dfkd.num_blocks, config.dfkd.num_layers, config.dfkd.width = 2, 1, 4
    config.dfkd.recipe = recipe
    config.clip.num_frames = 4
    config.train.batch_size = 4
    config.train.num_epochs = 12
    config.train.log_steps = 1
    config.validation.batch_size = 3
    config.validation.every_epochs = 4
    config.optimiser.learning_rate = 1e-2
    config.evaluation.splits = config.infer.splits = ("TEST",)
    config.infer.videos_per_shard = 2
    return config


@pytest.fixture(scope="module")
def trained(phantom_data, masks_dir, compile_cache, tmp_path_factory):
    """Config and directory of a student that went the command's whole road, masks included."""
    config = small_config(phantom_data, masks_dir)
    config.compile_cache_dir = str(compile_cache)
    workdir = tmp_path_factory.mktemp("runs") / "dfkd"
    run.train_stage(config, workdir)
    run.infer_stage(config, workdir)
    return config, workdir


def test_the_student_learns_its_targets(trained):
    _, workdir = trained
    log = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in log if entry["phase"] == "train"]
    assert len(losses) == 36
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])


def test_dice_is_that_of_the_whole_videos_masks(trained):
    config, workdir = trained
    videos = records.open_videos(config.data_dir)
    streamer = Streamer(load_network(workdir, "")[0])
    rows = (workdir / "dice_test.csv").read_text().splitlines()
    assert len(rows) == 1 + 4
    for row in rows[1:]:
        name, *dice = row.split(",")
        position = videos.position(name)
        predicted = streamer.segment(videos.frames(position)) > 0
        for phase, found in zip(("ed", "es"), dice[1:], strict=True):
            frame, true = data.traced_masks(videos, position, "area")[phase]
            both = np.sum(predicted[frame] & true)
            assert float(found) == pytest.approx(2 * both / (predicted[frame].sum() + true.sum()), abs=1e-4)
    assert "dfkd" in json.loads((workdir / "metrics.json").read_text())
    assert (workdir / "index.html").exists()


def test_inference_resumes_shard_by_shard(trained):
    config, workdir = trained
    folder = workdir / "masks" / "test"
    shards = sorted(folder.glob("*.tfrecord-*"))
    before = [shard.read_bytes() for shard in shards]
    assert len(shards) == 2
    shards[1].unlink()
    kept = shards[0].stat().st_mtime_ns
    run.infer_stage(config, workdir)
    assert [shard.read_bytes() for shard in shards] == before
    assert shards[0].stat().st_mtime_ns == kept
    videos, masks = records.open_videos(config.data_dir), records.open_masks(workdir / "masks")
    assert len(masks) == 4
    name = str(masks.name[0])
    logits = Streamer(load_network(workdir, "")[0]).segment(videos.frames(videos.position(name)))
    np.testing.assert_array_equal(masks.frames(name), np.rint(255 * scipy.special.expit(logits)).astype(np.uint8))


def test_validation_is_on_the_same_clips_each_time(phantom_data, masks_dir):
    """Loss and Dice of the middle clip of each VAL video, computed here from whole logits in float64."""
    config = small_config(phantom_data, masks_dir, recipe="soft112")
    config.dfkd.dice_weight = 0.5
    stage = dfkd.build(config)
    metrics = stage.validate(stage.network.params, stage.network.stats)
    assert stage.validate(stage.network.params, stage.network.stats) == metrics
    videos, masks = records.open_videos(phantom_data), records.open_masks(masks_dir)
    streamer, entropies, dices, counts = Streamer(stage.network), [], [], []
    for position in videos.select("VAL"):
        start = (int(videos.num_frames[position]) - 4) // 2
        z = streamer.segment(videos.frames(position, start, start + 4)).astype(np.float64)
        y = masks.frames(str(videos.name[position]), start, start + 4) / 255
        p = scipy.special.expit(z)
        entropies.append(np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p)))
        dices.append(np.mean(1 - (2 * np.sum(p * y, (1, 2)) + 1) / (np.sum(p, (1, 2)) + np.sum(y, (1, 2)) + 1)))
        counts.append((np.sum((z > 0) & (y >= 0.5)), np.sum(z > 0) + np.sum(y >= 0.5)))
    assert metrics["bce"] == pytest.approx(np.mean(entropies), rel=1e-5)
    assert metrics["dice_loss"] == pytest.approx(np.mean(dices), rel=1e-5)
    assert metrics["loss"] == pytest.approx(np.mean(entropies) + 0.5 * np.mean(dices), rel=1e-5)
    assert metrics["dice"] == pytest.approx(2 * sum(both for both, _ in counts) / sum(total for _, total in counts))


def test_training_stops_when_patience_ends_and_stays_stopped(phantom_data, masks_dir, tmp_path):
    config = small_config(phantom_data, masks_dir)
    config.train.num_epochs, config.train.patience, config.validation.every_epochs = 9, 2, 1
    values = [3.0, 2.0, 2.5, 1.0, 1.0, float("nan"), 0.5]  # better at epochs 1, 2 and 4; then two that are not
    steps_per_epoch = 3
    # What is learnt does not matter here, and compiles at once.
    stage = dataclasses.replace(dfkd.build(config), loss=lambda params, stats, *_: (params["out.bias"][0], (stats, {})))
    assert stage.batches.steps_per_epoch == steps_per_epoch

    def go_on(values):
        scripted = dataclasses.replace(stage, validate=lambda params, stats: {"loss": values.pop(0)})
        return train(scripted, config, tmp_path, {}).num_steps

    assert go_on(values) == 6 * steps_per_epoch
    assert values == [0.5]
    assert load_metadata(tmp_path / "best").step == 4 * steps_per_epoch
    newest = load_metadata(tmp_path / "checkpoints" / str(6 * steps_per_epoch))
    assert (newest.best, newest.best_step) == (1.0, 4 * steps_per_epoch)
    assert go_on([]) == 0
    config.train.patience = 0
    assert go_on([2.0, 2.0, 2.0]) == 3 * steps_per_epoch


def test_wrong_settings_are_named(phantom_data, masks_dir, trained, tmp_path):
    config = small_config(phantom_data, masks_dir)
    config.dfkd.recipe = "soft28"
    with pytest.raises(UserError, match=r"soft28.*soft112, soft56, hard112"):
        dfkd.build(config)
    config = small_config(phantom_data, tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"nowhere.*configs/dfkd_targets\.py"):
        dfkd.build(config)
    config = small_config(phantom_data, masks_dir)
    config.clip.num_frames = 53  # longer than any of the phantoms
    with pytest.raises(UserError, match=r"no VAL video is left.*4 left out: not longer than 52 frames"):
        dfkd.build(config)
    config = small_config(phantom_data, masks_dir)
    config.init_from, config.dfkd.width = str(trained[1]), 8
    with pytest.raises(UserError, match=r"holds.*'width': 4.*expected.*'width': 8"):
        dfkd.build(config)


def test_a_student_may_start_from_another(phantom_data, masks_dir, trained):
    config = small_config(phantom_data, masks_dir)
    config.init_from = str(trained[1])
    started, source = dfkd.build(config).network, load_network(trained[1], "")[0]
    assert started.params.keys() == source.params.keys()
    assert all(np.array_equal(started.params[name], source.params[name]) for name in source.params)


def test_the_defaults_are_the_published_runs():
    config = dfkd_config.get_config()
    assert (config.dfkd.variant, config.dfkd.num_blocks, config.dfkd.num_layers, config.dfkd.width) == (
        "reference", 3, 3, 12,
    )  # fmt: skip
    assert (config.dfkd.recipe, tuple(config.dfkd.periods), config.dfkd.dice_weight) == ("soft112", (1,), 0.0)
    assert (config.clip.num_frames, config.train.batch_size, config.init_from) == (25, 32, "random")
    assert (config.optimiser.name, config.optimiser.learning_rate, config.optimiser.weight_decay) == ("adam", 1e-3, 0)
    assert (config.train.num_epochs, config.train.patience) == (350, 10)
    improved = dfkd_config.get_config("improved")
    assert (improved.dfkd.variant, tuple(improved.dfkd.periods), improved.dfkd.dice_weight) == (
        "improved", (1, 2, 3), 1.0,
    )  # fmt: skip
    with pytest.raises(UserError, match="variant of the config is 'smok'"):
        dfkd_config.get_config("smok")


@pytest.mark.parametrize("variant", ["smoke", "improved_smoke"])
def test_the_smoke_run_is_the_whole_chain_on_its_own_data(variant):
    student = dfkd_config.get_config(variant)
    targets = student.requires.student_targets
    teacher = targets.requires.student_teacher
    assert [config.stage for config in (student, targets, teacher)] == ["dfkd", "dfkd_targets", "seg"]
    assert student.masks_dir == student.evaluation.teacher_masks_dir == "runs/smoke/student_targets/masks"
    assert targets.teacher_dir == "runs/smoke/student_teacher"
    assert targets.infer.after_training and not teacher.requires
    for config in (student, targets, teacher):
        assert (config.smoke, config.data_dir, config.init_from) == (True, "data/smoke_students", "random")
        assert config.phantoms == student.phantoms


def test_a_student_of_phantoms_alone_has_their_truth_as_target():
    config = dfkd_config.get_config("improved_phantoms")
    assert config.phantoms.truth and config.phantoms.variety == (1.0, 1.0)
    assert config.masks_dir == f"{config.data_dir}_truth"
    assert (config.stage, config.dfkd.variant) == ("dfkd", "improved")
    assert dfkd_config.get_config("phantoms").dfkd.variant == "reference"
