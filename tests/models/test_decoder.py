"""DeepLabV3+'s decoder: off, it is not there; on, borders come from maps four times finer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from echojax.errors import UserError
from echojax.models import functional
from echojax.networks import build_network, describe_segmentation
from echojax.preprocessing import Preprocessing
from echojax.stages import common
from echojax.train.checkpoint import Metadata, save_weights

SIZES = {"width": 2, "blocks": (1, 1, 1, 1)}


def describe(decoder: int) -> dict:
    settings = base.get_config().network
    settings.update(SIZES | {"decoder": decoder})
    return describe_segmentation(settings)


@pytest.fixture(scope="module")
def with_decoder():
    return build_network(describe(3))


def test_without_a_decoder_nobody_speaks_of_one():
    plain = build_network(describe(0))
    assert "decoder" not in plain.description
    assert not any(name.startswith("decoder") for name in plain.params)


def test_it_adds_parameters_of_its_own_alone(with_decoder):
    plain = {name: array.shape for name, array in build_network(describe(0)).params.items()}
    found = {name: array.shape for name, array in with_decoder.params.items()}
    added = {name: shape for name, shape in found.items() if name not in plain}
    assert {name: shape for name, shape in added.items() if len(shape) == 4} == {
        "decoder.project.conv.kernel": (1, 1, 8, 3),
        "decoder.middle.conv.kernel": (3, 3, 8 + 3, 6),
        "decoder.fine.conv.kernel": (3, 3, 6 + 2, 3),
    }
    assert found["out.kernel"] == (1, 1, 3, 1)
    assert {name for name in plain if found[name] != plain[name]} == {"out.kernel"}


@pytest.mark.parametrize("size", [(16, 16), (21, 18)])
def test_logits_have_the_pictures_size(with_decoder, size):
    x = jnp.zeros((2, *size, 3))
    outputs, _ = functional.apply(with_decoder.definition, with_decoder.params, with_decoder.stats, x, train=False)
    assert outputs["logits"].shape == (2, *size)
    assert outputs["layer4"].shape == (2, -(-size[0] // 8), -(-size[1] // 8), 64)


def test_logits_turn_at_every_other_pixel_where_those_without_turn_at_every_eighth(with_decoder):
    """Bilinear maps of stride s are straight between nodes s apart: second differences vanish but beside one."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 32, 32, 3)), jnp.float32)
    bends = {}
    for name, network in {"plain": build_network(describe(0)), "decoder": with_decoder}.items():
        outputs, _ = functional.apply(network.definition, network.params, network.stats, x, train=False)
        second = np.abs(np.diff(np.asarray(outputs["logits"])[0, 16], 2))
        bends[name] = int((second > 1e-3 * second.max()).sum())
    assert bends["plain"] <= 10 and bends["decoder"] >= 20


def test_every_part_of_it_learns(with_decoder):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 16, 16, 3)), jnp.float32)

    def loss(params):
        outputs, _ = functional.apply(
            with_decoder.definition, params, with_decoder.stats, x, train=True, key=jax.random.key(0)
        )
        return jnp.sum(jnp.square(outputs["logits"] - 1))

    gradients = jax.jit(jax.grad(loss))(with_decoder.params)
    for name in (name for name in gradients if name.startswith("decoder") and name.endswith("kernel")):
        assert float(jnp.abs(gradients[name]).max()) > 1e-6, name


def test_weights_with_another_decoder_are_refused(with_decoder, tmp_path):
    preprocessing = Preprocessing((0.0,) * 3, (1.0,) * 3, (112, 112), 0, 1, 3, "none")
    metadata = Metadata("seg", with_decoder.description, preprocessing, 1, None, {}, {}, {})
    save_weights(tmp_path, with_decoder.params, with_decoder.stats, metadata)
    config = base.get_config()
    config.init_from = str(tmp_path)
    pretrained = common.Pretrained("weights", "https://example.org/weights.pth")
    with pytest.raises(UserError, match="decoder 3, expected 0"):
        common.initial_network(describe(0), config, pretrained)
    same = common.initial_network(describe(3), config, pretrained)
    name = "decoder.fine.conv.kernel"
    np.testing.assert_array_equal(same.params[name], with_decoder.params[name])
