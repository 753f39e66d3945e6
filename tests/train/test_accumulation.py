"""Gradient accumulation: what is equal to the whole batch, and what batch norm makes different."""

import jax.numpy as jnp
import numpy as np
import pytest
import quick_compiler

from echojax import losses
from echojax.errors import UserError
from echojax.models import functional
from echojax.networks import build_network
from echojax.train.mesh import check_divides, make_mesh
from echojax.train.optimiser import make_optimiser
from echojax.train.state import initial_state
from echojax.train.step import make_train_step

EF = {
    **{"family": "video_resnet", "variant": "r3d_18", "width": 2, "blocks": [1, 1, 1, 1]},
    **{"in_channels": 3, "dtype": "float32"},
}
BATCH, PARTS = 6, 3


def run(network, loss, batch, num_parts=1, sums_examples=False):
    """State and metrics after one step of plain gradient descent with rate 1: parameters moved by the gradient."""
    optimiser = make_optimiser(1.0, momentum=0.0, weight_decay=0.0)
    state = initial_state(network.params, network.stats, optimiser, seed=0)
    return quick_compiler.jit(make_train_step(loss, optimiser, num_parts, sums_examples))(state, {}, batch)


def assert_close(found, expected, tolerance=1e-5):
    for name in expected:
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance * max(scale, 1e-3), err_msg=name)


def ef_loss(network, groups=None, train=True):
    def loss(params, stats, constants, batch, step, key):
        x = batch["labelled"]["x"]
        outputs, stats = functional.apply(network.definition, params, stats, x, train=train, groups=groups)
        return jnp.mean(losses.squared_error(outputs["ef"], batch["labelled"]["ef"])), (stats, {})

    return loss


@pytest.fixture(scope="module")
def example():
    """An EF network and a batch for it."""
    network, rng = build_network(EF), np.random.default_rng(0)
    x = rng.normal(size=(BATCH, 4, 16, 16, 3)).astype(np.float32)
    return network, {"labelled": {"x": x, "ef": rng.uniform(20, 70, BATCH).astype(np.float32)}}


def test_without_batch_statistics_parts_are_the_whole_batch(example):
    network, batch = example
    loss = ef_loss(network, train=False)
    whole, metrics = run(network, loss, batch)
    parts, metrics_of_parts = run(network, loss, batch, PARTS)
    assert_close(parts.params, whole.params)
    assert_close(metrics_of_parts, metrics)


def test_with_batch_norm_every_part_has_its_own_statistics(example):
    """Parts equal a whole batch whose norms take the parts as groups, and not one whose norms take it as one."""
    network, batch = example
    parts, metrics = run(network, ef_loss(network), batch, PARTS)
    in_groups, expected = run(network, ef_loss(network, (BATCH // PARTS,) * PARTS), batch)
    # A ReLU whose input is within rounding of zero may switch, and the gradient before it with it.
    assert_close(parts.params, in_groups.params, 1e-3)
    assert_close(parts.stats, in_groups.stats, 1e-3)
    assert_close(metrics, expected, 1e-3)
    whole, _ = run(network, ef_loss(network), batch)
    with pytest.raises(AssertionError):
        assert_close(parts.params, whole.params, 1e-2)


def test_sums_add_up_means_are_averaged_and_small_streams_are_seen_whole():
    seen = []

    def loss(params, stats, constants, batch, step, key):
        seen.append((batch["labelled"]["x"].shape, batch["unlabelled"]["x"].shape))
        share = len(batch["labelled"]["x"]) / BATCH
        value = jnp.sum(params["w"] * batch["labelled"]["x"]) + share * params["w"] * batch["unlabelled"]["x"][0]
        return value, (stats, {"share": jnp.float32(share)})

    network = type("Network", (), {"params": {"w": jnp.float32(2.0)}, "stats": {}})
    batch = {"labelled": {"x": np.arange(BATCH, dtype=np.float32)}, "unlabelled": {"x": np.float32([10.0])}}
    whole, metrics = run(network, loss, batch)
    summed, of_sum = run(network, loss, batch, PARTS, sums_examples=True)
    assert_close(summed.params, whole.params)
    assert_close(of_sum, metrics)
    assert float(metrics["loss"]) == 2 * (15 + 10)
    assert set(seen[1:]) == {((BATCH // PARTS,), (1,))}
    _, of_mean = run(network, loss, batch, PARTS)
    assert float(of_mean["loss"]) == pytest.approx(float(metrics["loss"]) / PARTS)


def test_a_batch_that_the_parts_do_not_divide_is_an_error_with_the_nearest_sizes():
    with pytest.raises(UserError, match=r"train.batch_size is 20, which 1 devices times 3 parts .* sizes: 18 or 21"):
        check_divides(make_mesh(), "train.batch_size", 20, 3)
