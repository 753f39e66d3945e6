"""Segmentation on masks of every frame: it learns, is validated on whole frames, resumes bit for bit, is evaluated."""

import json
import shutil

import numpy as np
import pytest

import echojax
from configs import seg_masks as seg_masks_config
from data_prep.phantom.truth import write_truth
from echojax import records, run
from echojax.errors import UserError
from echojax.networks import load_network
from echojax.stages import seg_masks
from echojax.train.loop import train

pytestmark = pytest.mark.usefixtures("quick_compiler")


@pytest.fixture(scope="module")
def masks_dir(phantom_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    write_truth(phantom_data.parent / "source", folder)
    return folder


def small_config(phantom_data, masks_dir, compile_cache):
    config = seg_masks_config.get_config()
    config.data_dir, config.masks_dir = str(phantom_data), str(masks_dir)
    config.compile_cache_dir = str(compile_cache)
    config.network.width, config.network.blocks = 2, (1, 1, 1, 1)
    config.clip.num_frames = 2
    config.train.batch_size = 4
    config.train.num_epochs = 20
    config.train.log_steps = 1
    config.validation.batch_size = 4
    config.validation.every_epochs = config.train.checkpoint_epochs = 10
    config.optimiser.learning_rate = 1e-2
    config.evaluation.splits = ("TEST",)
    for kind in config.augment:
        config.augment[kind] = 0.2
    return config


@pytest.fixture(scope="module")
def trained(phantom_data, masks_dir, compile_cache, tmp_path_factory):
    config = small_config(phantom_data, masks_dir, compile_cache)
    workdir = tmp_path_factory.mktemp("runs") / "seg_masks"
    run.enable_compile_cache(config.compile_cache_dir)
    run.train_stage(config, workdir)
    return config, workdir


def log_of(workdir, phase):
    entries = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    return [entry for entry in entries if entry["phase"] == phase]


def test_the_network_learns_its_masks_and_is_evaluated(trained):
    _, workdir = trained
    losses = [entry["loss"] for entry in log_of(workdir, "train")]
    assert len(losses) == 60
    assert np.mean(losses[-6:]) < 0.7 * np.mean(losses[:6])
    metrics = json.loads((workdir / "metrics.json").read_text())["seg_masks"]
    assert metrics["dice"]["n"] == 4 and metrics["dice"]["data"] == "phantom"


def test_the_loss_is_cross_entropy_and_weighted_dice(trained):
    _, workdir = trained
    for phase in ("train", "validation"):
        for entry in log_of(workdir, phase):
            assert entry["loss"] == pytest.approx(entry["bce"] + entry["dice_loss"], rel=1e-5)


def test_validation_is_of_whole_unchanged_frames(trained):
    """Dice of VAL's middle frames from the loaded model, as the log has it."""
    config, workdir = trained
    model = echojax.load(workdir)
    videos, masks = records.open_videos(config.data_dir), records.open_masks(config.masks_dir)
    common, total = 0, 0
    for position in videos.select("VAL"):
        start = (int(videos.num_frames[position]) - 2) // 2
        frames = videos.frames(position, start, start + 2, 1)
        wanted = masks.frames(str(videos.name[position]), start, start + 2, 1) > 127
        predicted = model.segment(frames) > 0
        common, total = common + np.sum(predicted & wanted), total + predicted.sum() + wanted.sum()
    best = min(log_of(workdir, "validation"), key=lambda entry: entry["loss"])
    assert 2 * common / total == pytest.approx(best["dice"], abs=1e-4)


def test_a_resumed_run_ends_with_the_same_bits(trained, tmp_path):
    config, workdir = trained
    shutil.copytree(workdir / "checkpoints" / "30", tmp_path / "checkpoints" / "30")
    timing = train(seg_masks.build(config), config, tmp_path, {})
    assert timing.num_steps == 30
    whole, resumed = (load_network(str(path / "checkpoints" / "60"), "")[0] for path in (workdir, tmp_path))
    for name, value in whole.params.items():
        np.testing.assert_array_equal(value, resumed.params[name], err_msg=name)


def test_no_validation_video_is_an_error(phantom_data, masks_dir, compile_cache, tmp_path):
    config = small_config(phantom_data, masks_dir, compile_cache)
    shutil.copytree(masks_dir / "train", tmp_path / "train")
    config.masks_dir = str(tmp_path)
    with pytest.raises(UserError, match="no VAL video is left"):
        seg_masks.build(config)
