"""The packaged network's one command, smallest: phantoms, training, a slim checkpoint that `echojax predict` opens."""

import json
import pathlib

import numpy as np
import pytest
from programs import ROOT, run_main

import echojax
from configs import weights as weights_config
from echojax.errors import UserError
from echojax.networks import build_network, load_network
from echojax.pipelines import weights
from echojax.preprocessing import Preprocessing
from echojax.train.checkpoint import Metadata, save_weights

RUNS = ("segmentation", "varied")
SOURCES = ("smoke_source", "smoke_varied_source")


@pytest.fixture(scope="module")
def finished(compile_cache, tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("weights")
    done = run_main(
        f"--config={ROOT}/configs/weights.py:smoke",
        f"--config.compile_cache_dir={compile_cache}",
        "--config.phantoms.num_videos=16",
        "--config.phantoms.num_frames=(16,16)",
        "--config.network.width=4",
        cwd=workdir,
    )
    assert done.returncode == 0, done.stdout
    return workdir


def test_the_package_holds_the_best_weights_and_nothing_that_only_training_needs(finished):
    runs = finished / "runs/smoke/weights"
    package, *run_dirs = (runs / name for name in ("package", *RUNS))
    (packaged, preprocessing), *trained = (load_network(str(path), "") for path in (package, *run_dirs))
    assert packaged.description["members"] == [network.description for network, _ in trained]
    assert preprocessing == trained[0][1]
    for index, (network, _) in enumerate(trained):
        for name, value in network.params.items():
            np.testing.assert_array_equal(packaged.params[f"members.{index}.{name}"], value)
    size = {
        path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in (package, *run_dirs)
    }
    weight_bytes = sum(a.nbytes for part in (packaged.params, packaged.stats) for a in part.values())
    assert size[package] < 1.2 * weight_bytes + 60_000 < sum(size[run_dir] for run_dir in run_dirs)


def test_the_networks_were_trained_on_phantoms_of_their_own(finished):
    configs = [json.loads((finished / f"runs/smoke/weights/{name}/config.json").read_text())["config"] for name in RUNS]
    assert [config["seed"] for config in configs] == [1, 2]
    requests = [json.loads((finished / f"data/{name}/phantoms.json").read_text()) for name in SOURCES]
    assert [request["seed"] for request in requests] == [2026, 2027]
    assert requests[1]["variety"] == [1.0, 1.0]


def test_no_place_of_this_machine_is_in_the_package(finished, compile_cache):
    for file in (finished / "runs/smoke/weights/package").rglob("*"):
        if file.is_file():
            for place in (finished, compile_cache):
                assert str(place).encode() not in file.read_bytes(), file


def test_the_package_segments(finished):
    model = echojax.load(finished / "runs/smoke/weights/package")
    logits = model.segment(np.zeros((2, 112, 112), np.uint8))
    assert logits.shape == (2, 112, 112) and np.isfinite(logits).all()


def test_the_package_says_the_mean_of_what_its_networks_say(finished):
    """Each of which sees pictures normalised in its own way."""
    frames = np.random.default_rng(0).integers(0, 255, (3, 112, 112), np.uint8)
    runs = finished / "runs/smoke/weights"
    packaged, first, second = (echojax.load(runs / name).segment(frames) for name in ("package", *RUNS))
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(packaged, (first + second) / 2, rtol=1e-4, atol=1e-4)


def test_the_full_config_packages_into_the_source_tree():
    config = weights_config.get_config()
    assert config.package_dir == "echojax/weights/segmentation"
    assert config.segmentation.data_dir == config.data_dir and config.phantoms.truth
    config.data_dir, config.seed = "elsewhere", 7
    assert (config.segmentation.masks_dir, config.segmentation.seed) == ("elsewhere_truth", 7)
    varied = config.varied
    assert varied.segmentation.data_dir == varied.data_dir == "elsewhere_varied" and varied.phantoms.truth
    assert (varied.segmentation.masks_dir, varied.segmentation.seed) == ("elsewhere_varied_truth", 8)
    assert (config.phantoms.num_videos, varied.phantoms.num_videos) == (4000, 3000)
    assert [member.segmentation.augment.share for member in (config, varied)] == [0.6, 1.0]
    assert [member.segmentation.seg_masks.dice_weight for member in (config, varied)] == [0.3, 1.0]
    assert varied.segmentation.network == config.segmentation.network == config.network


def test_a_network_too_large_for_a_wheel_is_refused(tmp_path):
    description = {"family": "convlstm", "variant": "reference", "num_blocks": 3, "num_layers": 2, "width": 32}
    network = build_network(description | {"in_channels": 1, "dtype": "float32"})
    preprocessing = Preprocessing((0.0,), (1.0,), (112, 112), 0, 1, 1, "raw")
    metadata = Metadata("dfkd", network.description, preprocessing, 1, 0.5, {}, {}, {})
    save_weights(tmp_path / "run", network.params, network.stats, metadata)
    with pytest.raises(UserError, match="expected at most 10"):
        weights.package([tmp_path / "run"], tmp_path / "package")
    assert not (tmp_path / "package").exists()
