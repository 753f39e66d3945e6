"""Names and shapes between PyTorch and here, both ways, with everything accounted for."""

import jax
import numpy as np
import pytest

from echojax.errors import UserError
from echojax.models import functional
from echojax.models.deeplab import DeepLabV3
from echojax.models.video_resnet import VideoResNet
from echojax.porting.names import from_torch, to_torch
from echojax.porting.residual import TABLES

SMALL = dict(width=4, blocks=(1, 2, 1, 1))


def small_network(name):
    """Parameters and statistics of a small network, each value another."""
    rng = np.random.default_rng(0)
    model = DeepLabV3(**SMALL, rng=rng) if name == "deeplabv3_resnet50" else VideoResNet(name, **SMALL, rng=rng)
    _, params, stats = functional.split(model)
    return tuple({key: rng.random(a.shape, np.float32) for key, a in part.items()} for part in (params, stats))


@pytest.mark.parametrize("name", TABLES)
def test_round_trip(name):
    params, stats = small_network(name)
    state_dict = to_torch(params, stats, TABLES[name], num_batches=100)
    ported = from_torch(state_dict, TABLES[name], params, stats)
    for part, expected in ((ported.params, params), (ported.stats, stats)):
        assert part.keys() == expected.keys()
        assert all(np.array_equal(part[key], expected[key]) for key in expected)
    assert ported.ignored.keys() == {key for key in state_dict if key.endswith("num_batches_tracked")}
    assert all(state_dict[key].tolist() == 100 and "momentum" in reason for key, reason in ported.ignored.items())


def test_torchvision_names_of_r3d():
    params, stats = small_network("r3d_18")
    tensors = to_torch(params, stats, TABLES["r3d_18"])
    assert list(tensors)[:7] == ["stem.0.weight", *(f"stem.1.{leaf}" for leaf in NORM), "layer1.0.conv1.0.weight"]
    assert tensors["layer2.0.conv1.0.weight"].shape == (8, 4, 3, 3, 3)
    assert tensors["layer2.0.downsample.0.weight"].shape == (8, 4, 1, 1, 1)
    assert list(tensors)[-2:] == ["fc.weight", "fc.bias"]


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def test_kernels_are_turned():
    params, stats = small_network("r2plus1d_18")
    tensors = to_torch(params, stats, TABLES["r2plus1d_18"])
    kernel = params["layer1.0.conv1.spatial.conv.kernel"]
    assert tensors["layer1.0.conv1.0.0.weight"][3, 2, 0, 1, 0] == kernel[0, 1, 0, 2, 3]
    assert np.array_equal(tensors["fc.weight"], params["fc.kernel"].T)


def test_all_differences_are_listed_at_once():
    params, stats = small_network("r2plus1d_18")
    state_dict = to_torch(params, stats, TABLES["r2plus1d_18"])
    del state_dict["fc.bias"]
    state_dict["fc.weight"] = state_dict["fc.weight"][:, :5]
    state_dict["projector.weight"] = np.zeros((2, 3))
    with pytest.raises(UserError) as error:
        from_torch(state_dict, TABLES["r2plus1d_18"], params, stats, source="best.pt")
    text = str(error.value)
    assert text.startswith("best.pt does not fit r2plus1d_18: 3 differences")
    for part in ("missing: fc.bias (1,)", "fc.weight is (1, 5), expected (1, 32)", "projector.weight (2, 3)"):
        assert part in text
    assert "\n" not in text


def test_auxiliary_head_is_ignored_with_its_reason():
    params, stats = small_network("deeplabv3_resnet50")
    state_dict = to_torch(params, stats, TABLES["deeplabv3_resnet50"]) | {"aux_classifier.0.weight": np.zeros(1)}
    ported = from_torch(state_dict, TABLES["deeplabv3_resnet50"], params, stats)
    assert "auxiliary head" in ported.ignored["aux_classifier.0.weight"]


def test_what_has_no_pytorch_name_is_an_error():
    params, stats = small_network("mc3_18")
    with pytest.raises(UserError, match=r"projector\.kernel"):
        to_torch(params | {"projector.kernel": np.zeros((2, 2), np.float32)}, stats, TABLES["mc3_18"])


def test_shapes_are_enough():
    """The network to fill need not exist yet."""
    params, stats = small_network("r2plus1d_18")
    tensors = to_torch(params, stats, TABLES["r2plus1d_18"])
    shapes = [jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), part) for part in (params, stats)]
    assert np.array_equal(from_torch(tensors, TABLES["r2plus1d_18"], *shapes).params["fc.bias"], params["fc.bias"])
