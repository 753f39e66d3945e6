"""Every step function and inference program lowers for TPUs and NVIDIA GPUs, from a machine that has neither."""

import importlib

import jax
import numpy as np
import pytest

from configs import base
from echojax import data, inference, networks, records
from echojax.streaming import Streamer
from echojax.train import checkpoint
from echojax.train.optimiser import make_optimiser
from echojax.train.state import initial_state
from echojax.train.step import make_train_step

PLATFORMS = ("tpu", "cuda")
# ef is teacher without the mask channel.
STAGES = ("seg", "css", "teacher", "kd", "dfkd", "seg_masks")


@pytest.fixture(scope="module")
def masks_dir(phantom_data, tmp_path_factory):
    """Empty masks of TRAIN and VAL."""
    videos, folder = records.open_videos(phantom_data), tmp_path_factory.mktemp("masks")
    for split in ("TRAIN", "VAL"):
        names = [str(name) for name in videos.name[videos.select(split)]]
        writer = records.MaskWriter(folder, split, names)
        for shard, of_shard in writer.pending():
            lengths = {name: int(videos.num_frames[videos.position(name)]) for name in of_shard}
            writer.write_shard(shard, ((name, np.zeros((lengths[name], 112, 112), np.uint8)) for name in of_shard))
        writer.finish()
    return folder


@pytest.fixture(scope="module")
def teacher_dir(phantom_data, tmp_path_factory):
    """A teacher of random weights."""
    network = networks.build_network(networks.describe_video(make_config("teacher").network, in_channels=4))
    preprocessing = data.dataset_preprocessing(records.open_videos(phantom_data), 8, 2, 4)
    metadata = checkpoint.Metadata("teacher", network.description, preprocessing, 0, None, {}, {}, {})
    folder = tmp_path_factory.mktemp("teacher")
    checkpoint.save_weights(folder, network.params, network.stats, metadata)
    return folder


def make_config(stage, data_dir="", masks_dir="", teacher_dir=""):
    config = base.get_config()
    config.stage, config.init_from = stage, "random"
    config.data_dir, config.masks_dir, config.teacher_dir = str(data_dir), str(masks_dir), str(teacher_dir)
    config.network.width, config.network.blocks = 4, (1, 1, 1, 1)
    config.labels.num_labelled, config.labels.num_unlabelled = 6, 6
    config.css.period, config.css.num_frames = 1, 20
    config.clip.num_frames = 8
    config.kd.unlabelled_batch_size = config.train.batch_size = 2
    config.dfkd.num_blocks, config.dfkd.num_layers, config.dfkd.width = 2, 1, 2
    return config


@pytest.fixture(scope="module")
def build(phantom_data, masks_dir, teacher_dir):
    def build_stage(name):
        config = make_config(name, phantom_data, masks_dir, teacher_dir)
        return importlib.import_module(f"echojax.stages.{name}").build(config)

    return build_stage


def assert_lowers(function, *arguments):
    # What is jitted already brings compiler options, which a jit around it would refuse.
    jitted = function if hasattr(function, "lower") else jax.jit(function)
    exported = jax.export.export(jitted, platforms=PLATFORMS)(*arguments)
    assert exported.platforms == PLATFORMS
    assert len(exported.mlir_module_serialized) > 10_000


def assert_step_lowers(stage, optimiser, **options):
    state = initial_state(stage.network.params, stage.network.stats, optimiser, seed=0)
    step = make_train_step(stage.loss, optimiser, sums_examples=stage.sums_examples, **options)
    assert_lowers(step, state, stage.constants, stage.batches.batch(0))


@pytest.mark.parametrize("name", STAGES)
def test_the_step_lowers(build, name):
    assert_step_lowers(build(name), make_optimiser(1e-4, momentum=0.9, weight_decay=1e-4))


def test_the_step_lowers_in_parts_and_with_adam(build):
    assert_step_lowers(build("dfkd"), make_optimiser(1e-4, 0.9, 1e-4, "adam"), num_parts=2)


def test_masks_of_images_lower(build):
    stage = build("seg")
    images = np.zeros((2, 112, 112, 1), np.uint8)
    segment = inference.make_segment(stage.network, stage.preprocessing)
    assert_lowers(segment, stage.network.params, stage.network.stats, images)


def test_masks_of_streams_lower(build):
    network = build("dfkd").network
    streamer = Streamer(network, chunk_frames=2)
    frames = np.zeros((2, 112, 112), np.uint8)
    assert_lowers(streamer._advance, network.params, network.stats, frames, streamer.begin(112, 112))


def test_ejection_fractions_lower(build):
    stage = build("teacher")
    regress = inference.make_regress(stage.network, stage.preprocessing)
    assert_lowers(regress, stage.network.params, stage.network.stats, stage.batches.batch(0)["labelled"])
