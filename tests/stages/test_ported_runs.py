"""Ported checkpoint directories as the stages take them: to evaluate, to infer with, to train from."""

import importlib
import json

import numpy as np
import pytest
from narrow_networks import BLOCKS, DESCRIPTIONS, narrow_state_dict, save_weights

from configs import css, dfkd, ef, kd, seg
from echojax import run
from echojax.networks import load_network
from echojax.porting.inputs import ECHONET
from echojax.porting.port import port
from echojax.records import MaskWriter, open_masks, open_videos

pytestmark = pytest.mark.usefixtures("quick_compiler")


@pytest.fixture
def ported(tmp_path):
    def make(name: str):
        state_dict = narrow_state_dict(DESCRIPTIONS[name])
        if "fc.weight" in state_dict:  # features of drawn weights are large: EF is the bias alone
            state_dict["fc.weight"][:] = 0
        port(save_weights(tmp_path / f"{name}.safetensors", state_dict), tmp_path / name)
        return tmp_path / name

    return make


def config_of(module, data_dir):
    config = module.get_config()
    config.data_dir, config.compile_cache_dir = str(data_dir), ""
    config.network.width, config.network.blocks = 4, tuple(BLOCKS)
    config.evaluation.update(splits=("TEST",), clip_stride=20, one_clip_seeds=(0,))
    config.infer.splits = ("TEST",)
    return config


def metrics_of(workdir):
    return json.loads((workdir / "metrics.json").read_text())


def test_segmentation_is_evaluated_and_infers(ported, phantom_data):
    workdir = ported("segmentation")
    config = config_of(seg, phantom_data)
    run.run(config, workdir, "evaluate")
    (metrics,) = metrics_of(workdir).values()
    assert 0 <= metrics["dice"]["value"] <= 1 and metrics["dice"]["n"] == 4
    assert "port, step 0" in (workdir / "index.html").read_text()
    run.run(config, workdir, "infer")
    masks = open_masks(workdir / "masks")
    assert len(masks.name) == 4 and masks.frames(masks.name[0]).dtype == np.uint8


def test_ef_is_evaluated(ported, phantom_data):
    workdir = ported("ef")
    run.run(config_of(ef, phantom_data), workdir, "evaluate")
    (metrics,) = metrics_of(workdir).values()
    assert np.isfinite(metrics["mae"]["value"])
    assert (workdir / "predictions_test.csv").exists()


def test_a_convlstm_is_evaluated(ported, phantom_data):
    workdir = ported("convlstm_11")
    run.run(config_of(dfkd, phantom_data), workdir, "evaluate")
    assert 0 <= metrics_of(workdir)["dfkd"]["dice"]["value"] <= 1


@pytest.mark.parametrize(
    ("name", "config", "start", "kept"),
    [
        ("seg", seg, "imagenet", "conv1.kernel"),
        ("css", css, "imagenet", "conv1.kernel"),
        ("css", css, "coco", "backbone.conv1.kernel"),
        ("ef", ef, "kinetics", "stem.temporal.conv.kernel"),
    ],
)
def test_stages_start_from_published_weights(ported, phantom_data, name, config, start, kept):
    config = config_of(config, phantom_data)
    config.labels.subset = "ssl"
    config.labels.num_labelled, config.labels.num_unlabelled = 6, 6
    config.train.batch_size, config.css.period, config.clip.num_frames = 4, 1, 8
    config.init_from = str(ported(start))
    network = importlib.import_module(f"echojax.stages.{name}").build(config).network
    source, _ = load_network(config.init_from, "")
    ours = f"backbone.{kept}" if start == "imagenet" else kept
    np.testing.assert_array_equal(network.params[ours], source.params[kept])
    assert "num_outputs" not in network.description


def write_empty_masks(videos, directory):
    train = videos.select("TRAIN")
    writer = MaskWriter(directory, "TRAIN", [str(videos.name[position]) for position in train])
    for shard, names in writer.pending():
        lengths = [int(videos.num_frames[np.flatnonzero(videos.name == name)[0]]) for name in names]
        masks = [np.zeros((length, 112, 112), np.float32) for length in lengths]
        writer.write_shard(shard, zip(names, masks, strict=True))
    writer.finish()


def test_distillation_takes_a_ported_teacher(ported, phantom_data, tmp_path):
    config = config_of(kd, phantom_data)
    config.labels.num_labelled, config.labels.num_unlabelled = 6, 6
    config.train.batch_size, config.kd.unlabelled_batch_size = 4, 2
    config.teacher_dir, config.masks_dir = str(ported("teacher")), str(tmp_path / "masks")
    write_empty_masks(open_videos(phantom_data), tmp_path / "masks")
    stage = importlib.import_module("echojax.stages.kd").build(config)
    assert stage.preprocessing.mean == ECHONET.mean and stage.network.description["in_channels"] == 3
