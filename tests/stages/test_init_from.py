"""`init_from`: ported weights as a start, with the papers' surgery, for every stage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from narrow_networks import BLOCKS, DEEPLAB, DESCRIPTIONS, narrow_state_dict, save_weights, video

from configs import base
from echojax.errors import UserError
from echojax.networks import build_network, describe_segmentation, describe_video, load_network, make_apply
from echojax.porting.port import port
from echojax.stages import ef, seg
from echojax.stages.common import initial_network


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Checkpoint directories of some of the networks that one can start from."""
    folder = tmp_path_factory.mktemp("starts")
    for name in ("imagenet", "coco", "segmentation", "kinetics", "ef", "teacher", "convlstm_11"):
        port(save_weights(folder / f"{name}.safetensors", narrow_state_dict(DESCRIPTIONS[name])), folder / name)
    return folder


def config_of(init_from, **network):
    config = base.get_config()
    config.init_from = str(init_from)
    config.network.width, config.network.blocks = 4, tuple(BLOCKS)
    config.network.update(network)
    return config


def start_segmentation(init_from):
    config = config_of(init_from)
    return initial_network(describe_segmentation(config.network), config, seg.PRETRAINED)


def start_ef(init_from, in_channels=3, **network):
    config = config_of(init_from, **network)
    pretrained = ef.PRETRAINED["r2plus1d_18"]
    return initial_network(describe_video(config.network, in_channels), config, pretrained, config.network.initial_ef)


def assert_taken(network, source, but=()):
    """All arrays of a source are the network's, but for those named."""
    for mine, theirs in ((network.params, source.params), (network.stats, source.stats)):
        for name in theirs.keys() - set(but):
            np.testing.assert_array_equal(mine[name], theirs[name])


def test_segmentation_goes_on_as_it_is(checkpoints):
    source, _ = load_network(checkpoints / "segmentation", "")
    network = start_segmentation(checkpoints / "segmentation")
    assert_taken(network, source)
    assert network.description == DEEPLAB == {**network.description}


def test_imagenet_becomes_the_backbone_beneath_a_fresh_head(checkpoints):
    source, _ = load_network(checkpoints / "imagenet", "")
    network, fresh = start_segmentation(checkpoints / "imagenet"), build_network(DEEPLAB, seed=0)
    for mine, theirs, drawn in (
        (network.params, source.params, fresh.params),
        (network.stats, source.stats, fresh.stats),
    ):
        assert mine.keys() == drawn.keys()
        for name, value in mine.items():
            expected = theirs[name.removeprefix("backbone.")] if name.startswith("backbone.") else drawn[name]
            np.testing.assert_array_equal(value, expected)
    # The backbone computes here what it computes alone.
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 32, 32, 3)), jnp.float32)
    alone = make_apply(source)(source.params, source.stats, x)["layer4"]
    np.testing.assert_array_equal(make_apply(network)(network.params, network.stats, x)["layer4"], alone)


def test_coco_gets_a_last_layer_of_one_output(checkpoints):
    source, _ = load_network(checkpoints / "coco", "")
    network = start_segmentation(checkpoints / "coco")
    assert_taken(network, source, but=("out.kernel", "out.bias"))
    assert network.params["out.kernel"].shape == (1, 1, 16, 1) and network.description == DEEPLAB


def test_kinetics_gets_a_last_layer_that_starts_at_the_mean_ef(checkpoints):
    source, _ = load_network(checkpoints / "kinetics", "")
    network = start_ef(checkpoints / "kinetics")
    assert_taken(network, source, but=("fc.kernel", "fc.bias"))
    assert network.params["fc.bias"].tolist() == pytest.approx([55.6])
    assert start_ef(checkpoints / "kinetics", initial_ef=60.0).params["fc.bias"].tolist() == [60.0]
    # PyTorch's default for a linear layer, U(-1/sqrt(n), 1/sqrt(n)).
    kernel = network.params["fc.kernel"]
    assert kernel.shape == (32, 1) and 0.5 / np.sqrt(32) < jnp.abs(kernel).max() <= 1 / np.sqrt(32)


@pytest.mark.parametrize("init", ["uniform", "zero"])
def test_kinetics_gets_a_fourth_channel_for_the_teacher(checkpoints, init):
    source, _ = load_network(checkpoints / "kinetics", "")
    network = start_ef(checkpoints / "kinetics", in_channels=4, fourth_channel_init=init)
    stem = "stem.spatial.conv.kernel"
    assert_taken(network, source, but=("fc.kernel", "fc.bias", stem))
    np.testing.assert_array_equal(network.params[stem][..., :3, :], source.params[stem])
    mask = np.abs(network.params[stem][..., 3, :])
    assert mask.max() == 0 if init == "zero" else 0.9 < mask.max() <= 1
    assert network.params["fc.bias"].tolist() == pytest.approx([55.6])


def test_a_student_is_the_teacher_without_its_mask(checkpoints):
    source, _ = load_network(checkpoints / "teacher", "")
    network = start_ef(checkpoints / "teacher")
    stem = "stem.spatial.conv.kernel"
    assert_taken(network, source, but=(stem,))
    np.testing.assert_array_equal(network.params[stem], source.params[stem][..., :3, :])
    assert network.description == video()


def test_ef_goes_on_as_it_is_and_as_a_teacher(checkpoints):
    source, _ = load_network(checkpoints / "ef", "")
    assert_taken(start_ef(checkpoints / "ef"), source)
    assert_taken(start_ef(checkpoints / "ef", in_channels=4), source, but=("stem.spatial.conv.kernel",))


def test_a_start_can_be_trained(checkpoints):
    """Fresh and pretrained arrays are of one kind: they have gradients and keep their shapes."""
    network = start_ef(checkpoints / "kinetics")
    shapes = jax.tree.map(jnp.shape, build_network(video()).params)
    assert jax.tree.map(jnp.shape, network.params) == shapes
    assert all(array.dtype == jnp.float32 for array in network.params.values())


@pytest.mark.parametrize(
    ("start", "name", "words"),
    [
        (start_segmentation, "", "from a ResNet-50 trained on ImageNet .*download https://download.pytorch.org/models/"
         "resnet50-0676ba61.pth, then: echojax port resnet50-0676ba61.pth weights/resnet50, then --config.init_from"),
        (start_ef, "", "from r2plus1d_18 trained on Kinetics-400 .*echojax port r2plus1d_18-91a641e6.pth weights/"),
        (start_ef, "nowhere", "nowhere does not exist; make one with: .*echojax port r2plus1d_18-91a641e6.pth"),
        (start_ef, "segmentation", "holds another network: family deeplabv3, expected video_resnet"),
        (start_segmentation, "convlstm_11", "holds another network: family convlstm, expected deeplabv3"),
    ],
)  # fmt: skip
def test_what_is_missing_or_does_not_fit_is_explained(checkpoints, start, name, words):
    with pytest.raises(UserError, match=words):
        start(checkpoints / name if name else "")
