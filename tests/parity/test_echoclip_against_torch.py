"""EchoCLIP's towers, narrow and shallow, against PyTorch in float64 on both sides, with weights of another seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_weights import golden_tensor

from echojax.models import functional
from echojax.models.echoclip import EchoClip
from echojax.porting.echoclip import ECHOCLIP
from echojax.porting.names import from_torch, to_torch

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed: pip install .[port]")

import torch_echoclip  # noqa: E402

SIZES = dict(width=8, blocks=(1, 2, 3, 1), embedding=24, text_width=128, text_depth=3, vocabulary=60, context_length=10)
# A share of the largest magnitude in each array.
TOLERANCE = 1e-9


@pytest.fixture
def networks():
    """PyTorch's network and ours with the same weights, in float64."""
    theirs = torch_echoclip.EchoClip(**SIZES)
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    weights = {name: golden_tensor(name, shape, seed=3, clip=True) for name, shape in shapes.items()}
    theirs.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    with jax.enable_x64(True):
        definition, params, stats = functional.abstract(
            lambda: EchoClip(**SIZES, dtype=jnp.float64, rng=np.random.default_rng(0))
        )
        ported = from_torch(weights, ECHOCLIP, params, stats)
        params = {name: jnp.asarray(array, jnp.float64) for name, array in ported.params.items()}
        yield theirs.double().eval(), functional.merge(definition, params, {}), weights


def assert_close(result, expected):
    expected = expected.detach().numpy()
    np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def test_images(networks):
    theirs, ours, _ = networks
    images = np.random.default_rng(0).standard_normal((2, 64, 96, 3))
    result = jax.jit(lambda x: ours(x, train=False)["image_embedding"])(images)
    assert result.dtype == np.float64
    assert_close(result, theirs.visual(torch.tensor(images).permute(0, 3, 1, 2)))


def test_texts(networks):
    theirs, ours, _ = networks
    tokens = np.zeros((3, 10), np.int32)
    tokens[:, :4] = [[58, 3, 9, 59], [58, 9, 3, 59], [58, 7, 59, 0]]
    result = jax.jit(lambda t: ours.encode_text(t))(tokens)
    assert result.dtype == np.float64
    assert_close(result, theirs.encode_text(torch.tensor(tokens, dtype=torch.int64)))


def test_names_in_pytorchs_order(networks):
    theirs, ours, weights = networks
    _, params, _ = functional.split(ours)
    tensors = to_torch(params, {}, ECHOCLIP)
    assert list(tensors) == list(theirs.state_dict())
    assert all(np.array_equal(tensors[name], weights[name]) for name in weights)
