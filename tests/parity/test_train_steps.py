"""Training steps of the full-size networks against the PyTorch originals, and the arithmetic of one optimiser step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden_weights import golden, golden_state_dict

from echojax import losses
from echojax.models import functional
from echojax.models.deeplab import DeepLabV3
from echojax.models.surgery import student_from_teacher
from echojax.models.video_resnet import VideoResNet
from echojax.porting.names import TABLES, from_torch, to_torch
from echojax.train.mesh import compiler_options
from echojax.train.optimiser import make_optimiser, step_decay
from echojax.train.state import initial_state
from echojax.train.step import make_train_step

TOLERANCE = 1e-3  # of the largest magnitude in an array, for what comes out of a training step
RGB, MASKED = 3, 4  # channels


def assert_close(ours, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


def golden_network(build, weights: str, table: str) -> tuple:
    definition, params, stats = functional.abstract(build)
    ported = from_torch(golden_state_dict(weights), TABLES[table], params, stats)
    return definition, jax.tree.map(jnp.asarray, ported.params), jax.tree.map(jnp.asarray, ported.stats)


def assert_same_norms(arrays, table: str, names, norms):
    """Compares the norm of every tensor, each with its own magnitude and with the tolerance of the largest."""
    by_torch_name = to_torch(arrays, {}, TABLES[table])
    assert sorted(by_torch_name) == sorted(names)
    assert_close([np.linalg.norm(by_torch_name[name]) for name in names], norms)


def test_css_step():
    step = golden("css_step")
    build = lambda: DeepLabV3(dropout_rate=0.0, rng=np.random.default_rng(0))  # noqa: E731
    definition, params, stats = golden_network(build, "css_segmentation", "deeplabv3_resnet50")
    images = np.concatenate([channels_last(step[name]) for name in ("ed", "es", "clip")])
    num_ed, num_es, num_frames = (len(step[name]) for name in ("ed", "es", "clip"))
    masks = np.concatenate([step["mask_ed"], step["mask_es"]])

    def loss(params):
        outputs, new_stats = functional.apply(
            definition, params, stats, images, train=True, groups=(num_ed, num_es, num_frames)
        )
        segmentation = losses.segmentation_loss(outputs["logits"][: num_ed + num_es], masks).sum() / 2
        features = outputs["layer4"][num_ed + num_es :].sum(axis=(1, 2))
        cyclic = losses.cyclic_loss(step["feature_scale"].astype(np.float32) * features, step["start"])
        return segmentation + 0.01 * cyclic, (segmentation, cyclic, features, new_stats)

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=compiler_options())
    (_, (segmentation, cyclic, features, new_stats)), grads = gradient(params)
    assert_close(segmentation, step["loss_seg"])
    assert_close(features, step["features"])
    assert_close(cyclic, step["loss_cyc"])
    assert_same_norms(grads, "deeplabv3_resnet50", step["grad_names"], step["grad_norms"])
    assert_close(new_stats["backbone.layer4.2.bn3.mean"], step["bn_mean"])
    assert_close(new_stats["backbone.layer4.2.bn3.var"], step["bn_var"])


def video_network(in_channels: int):
    return lambda: VideoResNet(in_channels=in_channels, rng=np.random.default_rng(0))


def four_steps(loss, params, stats, batch) -> tuple[list[dict], dict, dict]:
    """Metrics of four steps on one batch, and parameters and statistics afterwards."""
    optimiser = make_optimiser(learning_rate=1e-4, momentum=0.9, weight_decay=1e-4)
    step = jax.jit(make_train_step(loss, optimiser), compiler_options=compiler_options())
    state, history = initial_state(params, stats, optimiser, seed=0), []
    for _ in range(4):
        state, metrics = step(state, {}, batch)
        history.append(metrics)
    return history, state.params, state.stats


def assert_trained_like(golden_steps, params, stats):
    assert_same_norms(params, "r2plus1d_18", golden_steps["names"], golden_steps["norms"])
    assert_close(stats["stem.spatial.bn.mean"], golden_steps["stem_mean"])
    assert_close(stats["stem.spatial.bn.var"], golden_steps["stem_var"])


def test_teacher_steps():
    steps = golden("teacher_steps")
    definition, params, stats = golden_network(video_network(MASKED), "ef_teacher", "r2plus1d_18")

    def loss(params, stats, constants, batch, step, key):
        outputs, stats = functional.apply(definition, params, stats, batch["x"], train=True)
        return losses.squared_error(outputs["ef"], batch["ef"]).mean(), (stats, {})

    batch = {"x": channels_last(steps["x"]), "ef": steps["ef"]}
    history, params, stats = four_steps(loss, params, stats, batch)
    assert_close([metrics["loss"] for metrics in history], steps["losses"])
    assert_trained_like(steps, params, stats)


def test_kd_steps():
    steps = golden("kd_steps")
    teacher = golden_network(video_network(MASKED), "ef_teacher", "r2plus1d_18")
    definition, _, _ = functional.abstract(video_network(RGB))
    labelled, unlabelled = channels_last(steps["labelled"]), channels_last(steps["unlabelled"])
    of_teacher = functional.apply(*teacher, unlabelled, train=False)[0]["ef"]

    def loss(params, stats, constants, batch, step, key):
        clips = jnp.concatenate([unlabelled, labelled])[..., :RGB]
        groups = (len(unlabelled), len(labelled))  # normalised apart, in this order
        outputs, stats = functional.apply(definition, params, stats, clips, train=True, groups=groups)
        of_unlabelled, of_labelled = outputs["ef"][: groups[0]], outputs["ef"][groups[0] :]
        l_lb = losses.squared_error(of_labelled, steps["ef"])
        l_ulb = losses.unlabelled_loss(of_unlabelled, of_teacher)
        metrics = {"labelled": l_lb.mean(), "unlabelled": l_ulb.mean()}
        return losses.distillation_loss(l_lb, l_ulb, float(steps["w_unlb"])), (stats, metrics)

    history, params, stats = four_steps(loss, *student_from_teacher(*teacher[1:]), batch={})
    assert_close([metrics["labelled"] for metrics in history], steps["loss_labelled"])
    assert_close([metrics["unlabelled"] for metrics in history], steps["loss_unlabelled_half_mse"])
    assert_trained_like(steps, params, stats)
    # The student started from copies: training it has left the teacher alone.
    for name, tensor in to_torch(*teacher[1:], TABLES["r2plus1d_18"]).items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(tensor, golden_state_dict("ef_teacher")[name], err_msg=name)


def test_invariant_13_sgd_step_is_pytorchs():
    rng = np.random.default_rng(0)
    weights = {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)}
    gradients = [{name: rng.normal(size=w.shape) for name, w in weights.items()} for _ in range(3)]
    optimiser = make_optimiser(learning_rate=1e-4, momentum=0.9, weight_decay=1e-4)
    params = jax.tree.map(jnp.asarray, weights)
    state = optimiser.init(params)
    velocity = {name: 0.0 for name in weights}
    for gradient in gradients:
        updates, state = optimiser.update(jax.tree.map(jnp.asarray, gradient), state, params)
        params = optax.apply_updates(params, updates)
        for name in weights:
            velocity[name] = 0.9 * velocity[name] + gradient[name] + 1e-4 * weights[name]
            weights[name] = weights[name] - 1e-4 * velocity[name]
            np.testing.assert_allclose(params[name], weights[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("epoch, expected", [(0, 1e-4), (14, 1e-4), (15, 1e-5), (24, 1e-5)])
def test_invariant_16_learning_rate_falls_after_epoch_14(epoch, expected):
    steps_per_epoch = 46
    rate = step_decay(1e-4, decay_steps=15 * steps_per_epoch, decay_factor=0.1)
    for step in (epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch - 1):
        assert rate(step) == pytest.approx(expected, rel=1e-6)
