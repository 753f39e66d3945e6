"""The mean of networks: what it says, what it is described by, and that it is not trained."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from echojax import networks
from echojax.models import functional
from echojax.preprocessing import Preprocessing

DESCRIPTION = {"family": "deeplabv3", "width": 2, "blocks": [1, 1, 1, 1], "in_channels": 3, "dtype": "float32"}
STATISTICS = (((30.0, 31.0, 32.0), (40.0, 41.0, 42.0)), ((20.0, 22.0, 24.0), (50.0, 45.0, 40.0)))


@pytest.fixture(scope="module")
def members():
    preprocessings = (Preprocessing(mean, std, (32, 32), 0, 1, 3, "draws") for mean, std in STATISTICS)
    return [(networks.build_network(DESCRIPTION, seed), own) for seed, own in enumerate(preprocessings)]


def test_logits_are_the_mean_on_pictures_as_each_network_knows_them(members):
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    mean = networks.average(members)

    def apply(network, own):
        x = (pictures - np.float32(own.mean)) / np.float32(own.std)
        return networks.make_apply(network)(network.params, network.stats, x)["logits"]

    first, second = (apply(*member) for member in members)
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(apply(mean, members[0][1]), (first + second) / 2, rtol=1e-5, atol=1e-5)


def test_the_description_is_json_and_builds_the_same_structure(members):
    mean = networks.average(members)
    assert networks.describe_kind(mean.description) == "mean of 2 deeplabv3"
    assert networks.describe_kind(DESCRIPTION) == "deeplabv3"
    rebuilt = networks.build_network(json.loads(json.dumps(mean.description)))
    assert rebuilt.definition == mean.definition
    assert {name: x.shape for name, x in rebuilt.params.items()} == {name: x.shape for name, x in mean.params.items()}


def test_a_mean_is_not_trained(members):
    mean = networks.average(members)
    with pytest.raises(ValueError, match="train its networks apart"):
        functional.apply(mean.definition, mean.params, mean.stats, jnp.zeros((1, 32, 32, 3)), train=True)
