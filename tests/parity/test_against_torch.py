"""Forward passes and training steps of narrow networks against PyTorch, in float64 on both sides.

In float32 no implementation repeats a training step to better than a percent, PyTorch itself included: a ReLU whose
input is within rounding of zero switches (docs/fidelity.md). In float64 none does, and both agree to the last digits.
"""

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_weights import golden_tensor

from echojax import losses
from echojax.models import functional
from echojax.models.deeplab import DeepLabV3
from echojax.models.surgery import student_from_teacher
from echojax.models.video_resnet import VideoResNet
from echojax.porting.names import TABLES, from_torch
from echojax.train.mesh import compiler_options
from echojax.train.optimiser import make_optimiser
from echojax.train.state import initial_state
from echojax.train.step import make_train_step

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed: pip install .[port]")

import torch_networks  # noqa: E402

# A share of the largest magnitude in each array.
TOLERANCE = 1e-9
RGB, MASKED = 3, 4  # channels
WIDTH, SEGMENTATION_BLOCKS, VIDEO_BLOCKS = 8, (3, 4, 6, 3), (2, 2, 2, 2)
SGD = dict(momentum=0.9, weight_decay=1e-4)
LEARNING_RATE, NUM_STEPS = 1e-4, 4


@pytest.fixture(autouse=True)
def float64():
    """float64 in JAX for the length of a test."""
    with jax.enable_x64(True):
        yield


class Pair(NamedTuple):
    """One network on both sides, with the same weights."""

    theirs: torch.nn.Module
    definition: functional.Definition
    params: dict
    stats: dict
    table: str


def make_pair(theirs: torch.nn.Module, build: Callable, table: str) -> Pair:
    weights = {name: golden_tensor(name, tuple(tensor.shape)) for name, tensor in theirs.state_dict().items()}
    theirs.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    definition, params, stats = functional.abstract(build)
    ported = from_torch(weights, TABLES[table], params, stats)
    ours = [{name: jnp.asarray(a, jnp.float64) for name, a in part.items()} for part in (ported.params, ported.stats)]
    return Pair(theirs.double(), definition, *ours, table)


def segmentation_pair() -> Pair:
    def build():
        rng = np.random.default_rng(0)
        return DeepLabV3(WIDTH, SEGMENTATION_BLOCKS, dropout_rate=0.0, dtype=jnp.float64, rng=rng)

    return make_pair(torch_networks.DeepLabV3(WIDTH, SEGMENTATION_BLOCKS), build, "deeplabv3_resnet50")


def video_network(in_channels: int) -> VideoResNet:
    rng = np.random.default_rng(0)
    return VideoResNet("r2plus1d_18", in_channels, WIDTH, VIDEO_BLOCKS, dtype=jnp.float64, rng=rng)


def teacher_pair() -> Pair:
    theirs = torch_networks.VideoResNet(MASKED, WIDTH, VIDEO_BLOCKS)
    return make_pair(theirs, lambda: video_network(MASKED), "r2plus1d_18")


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.moveaxis(x, -1, 1))


def assert_close(ours: jax.Array, theirs: torch.Tensor | np.ndarray):
    expected = np.asarray(theirs)
    assert ours.dtype == expected.dtype == np.float64
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def assert_same_tensors(ours: Mapping[str, jax.Array], theirs: Mapping[str, torch.Tensor], table: str):
    """Compares all of our arrays, element by element, with those that the table names."""
    compared = set()
    for row in TABLES[table].rows(ours):
        for leaf in row.leaves:
            name = f"{row.ours}.{leaf.ours}"
            if name in ours:
                tensor = theirs[f"{row.torch}.{leaf.torch}"].detach()
                kernel_order = (*range(2, tensor.ndim), 1, 0)
                assert_close(ours[name], tensor.permute(kernel_order) if leaf.ours == "kernel" else tensor)
                compared.add(name)
    assert compared == ours.keys()


@torch.no_grad()
def test_deeplab_in_eval_mode():
    pair = segmentation_pair()
    x = np.random.default_rng(1).standard_normal((2, 51, 116, RGB))
    ours = jax.jit(lambda x: functional.apply(pair.definition, pair.params, pair.stats, x, train=False)[0])(x)
    logits, features = pair.theirs.eval()(channels_first(x))
    assert_close(ours["logits"], logits)
    assert_close(ours["layer4"], features.movedim(1, -1))


@torch.no_grad()
def test_video_network_in_eval_mode():
    pair = teacher_pair()
    x = np.random.default_rng(1).standard_normal((2, 9, 37, 30, MASKED))
    ours = jax.jit(lambda x: functional.apply(pair.definition, pair.params, pair.stats, x, train=False)[0])(x)
    assert_close(ours["ef"], pair.theirs.eval()(channels_first(x)))


def torch_cyclic_loss(e: torch.Tensor, start: int) -> torch.Tensor:
    """L_css of features (40, d): template of 15 frames, chunk 3, offset 2, temperature 10."""
    template, chunk, offset = 15, 3, 2
    scale = 10 / (e.shape[1] * chunk)
    search = e[template:]
    phase = e[start : start + chunk]
    positions = range(len(search) - chunk - offset + 1)
    match = torch.softmax(-scale * torch.stack([((search[k : k + chunk] - phase) ** 2).sum() for k in positions]), 0)
    shifted = sum(match[k] * search[k + offset : k + offset + chunk] for k in positions)
    back = range(offset, template - chunk + 1)
    logits = -scale * torch.stack([((e[r : r + chunk] - shifted) ** 2).sum() for r in back])
    return torch.nn.functional.cross_entropy(logits[None], torch.tensor([start]))


def test_css_step():
    """Three forward passes in PyTorch, one grouped pass here: losses, all gradients, all running statistics."""
    sizes, start, cyclic_weight, feature_scale = (3, 2, 40), 4, 10.0, 0.1
    rng, pair = np.random.default_rng(2), segmentation_pair()
    ed, es, clip = (rng.standard_normal((size, 48, 112, RGB)) for size in sizes)
    mask_ed, mask_es = (rng.random((size, 48, 112)) < 0.3 for size in sizes[:2])

    def loss(params):
        images, masks = jnp.concatenate([ed, es, clip]), jnp.concatenate([mask_ed, mask_es])
        outputs, stats = functional.apply(pair.definition, params, pair.stats, images, train=True, groups=sizes)
        segmentation = losses.segmentation_loss(outputs["logits"][: len(masks)], masks).sum() / 2
        features = outputs["layer4"][len(masks) :].sum(axis=(1, 2))
        cyclic = losses.cyclic_loss(feature_scale * features, start)
        return segmentation + cyclic_weight * cyclic, (segmentation, cyclic, stats)

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=compiler_options())
    (_, (segmentation, cyclic, stats)), grads = gradient(pair.params)

    def torch_segmentation_loss(images, masks):
        logits, _ = pair.theirs(channels_first(images))
        targets = torch.tensor(masks, dtype=torch.float64)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")

    pair.theirs.train()
    expected_segmentation = (torch_segmentation_loss(ed, mask_ed) + torch_segmentation_loss(es, mask_es)) / 2
    _, features = pair.theirs(channels_first(clip))
    expected_cyclic = torch_cyclic_loss(feature_scale * features.sum(dim=(2, 3)), start)
    (expected_segmentation + cyclic_weight * expected_cyclic).backward()

    assert_close(segmentation, expected_segmentation.detach())
    assert_close(cyclic, expected_cyclic.detach())
    expected_grads = {name: parameter.grad for name, parameter in pair.theirs.named_parameters()}
    assert_same_tensors(grads, expected_grads, pair.table)
    assert_same_tensors(stats, pair.theirs.state_dict(), pair.table)


def torch_steps(network: torch.nn.Module, loss: Callable) -> np.ndarray:
    """Trains on the first value of `loss()`; returns the others, one row per step."""
    optimiser, history = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, **SGD), []
    for _ in range(NUM_STEPS):
        total, *parts = loss()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        history.append([part.item() for part in parts])
    return np.array(history)


def our_steps(loss: Callable, params: dict, stats: dict, batch: dict, metrics: tuple[str, ...]) -> tuple:
    """Returns the metrics, one row per step; the movement of the parameters; the running statistics afterwards."""
    optimiser = make_optimiser(LEARNING_RATE, **SGD)
    step = jax.jit(make_train_step(loss, optimiser), compiler_options=compiler_options())
    state, history = initial_state(params, stats, optimiser, seed=0), []
    for _ in range(NUM_STEPS):
        state, values = step(state, {}, batch)
        history.append(jnp.stack([values[metric] for metric in metrics]))
    return jnp.stack(history), movement(state.params, params), state.stats


def movement(after: Mapping, before: Mapping) -> dict:
    """What training added: beside the parameters themselves, weight decay would be lost."""
    return {name: after[name] - before[name] for name in before}


def test_teacher_steps():
    rng, pair = np.random.default_rng(3), teacher_pair()
    batch = {"x": rng.standard_normal((3, 9, 37, 30, MASKED)), "ef": rng.uniform(20, 80, 3)}

    def loss(params, stats, constants, batch, step, key):
        outputs, stats = functional.apply(pair.definition, params, stats, batch["x"], train=True)
        return losses.squared_error(outputs["ef"], batch["ef"]).mean(), (stats, {})

    history, moved, stats = our_steps(loss, pair.params, pair.stats, batch, ("loss",))

    before, x, ef = copy.deepcopy(pair.theirs.state_dict()), channels_first(batch["x"]), torch.tensor(batch["ef"])

    def torch_loss():
        total = ((pair.theirs(x) - ef) ** 2).mean()
        return total, total

    pair.theirs.train()
    assert_close(history, torch_steps(pair.theirs, torch_loss))
    assert_same_tensors(moved, movement(pair.theirs.state_dict(), before), pair.table)
    assert_same_tensors(stats, pair.theirs.state_dict(), pair.table)


def test_distillation_steps():
    """The student is made from the teacher; unlabelled and labelled clips pass apart in PyTorch, as groups here."""
    unlabelled_weight = 5.0
    rng, teacher = np.random.default_rng(4), teacher_pair()
    x, x_unlabelled = (rng.standard_normal((size, 9, 37, 30, MASKED)) for size in (3, 2))
    batch = {"labelled": x, "unlabelled": x_unlabelled, "ef": rng.uniform(20, 80, 3)}
    definition = functional.abstract(lambda: video_network(RGB))[0]

    def loss(params, stats, constants, batch, step, key):
        clips = jnp.concatenate([batch["unlabelled"], batch["labelled"]])[..., :RGB]
        outputs, stats = functional.apply(definition, params, stats, clips, train=True, groups=(2, 3))
        f_teacher = functional.apply(
            teacher.definition, teacher.params, teacher.stats, batch["unlabelled"], train=False
        )[0]["ef"]
        labelled = losses.squared_error(outputs["ef"][2:], batch["ef"])
        unlabelled = losses.unlabelled_loss(outputs["ef"][:2], f_teacher)
        total = losses.distillation_loss(labelled, unlabelled, unlabelled_weight)
        return total, (stats, {"labelled": labelled.mean(), "unlabelled": unlabelled.mean()})

    student = student_from_teacher(teacher.params, teacher.stats)
    history, moved, stats = our_steps(loss, *student, batch, ("labelled", "unlabelled"))

    weights = teacher.theirs.state_dict()
    weights["stem.0.weight"] = weights["stem.0.weight"][:, :RGB]
    theirs = torch_networks.VideoResNet(RGB, WIDTH, VIDEO_BLOCKS).double()
    theirs.load_state_dict(weights)
    before, ef = copy.deepcopy(theirs.state_dict()), torch.tensor(batch["ef"])
    x, x_unlabelled = channels_first(x), channels_first(x_unlabelled)
    with torch.no_grad():
        f_teacher = teacher.theirs.eval()(x_unlabelled)

    def torch_loss():
        f_unlabelled, f_labelled = theirs(x_unlabelled[:, :RGB]), theirs(x[:, :RGB])
        labelled, unlabelled = ((f_labelled - ef) ** 2).mean(), 0.5 * ((f_unlabelled - f_teacher) ** 2).mean()
        return labelled + unlabelled_weight * unlabelled, labelled, unlabelled

    theirs.train()
    assert_close(history, torch_steps(theirs, torch_loss))
    assert_same_tensors(moved, movement(theirs.state_dict(), before), teacher.table)
    assert_same_tensors(stats, theirs.state_dict(), teacher.table)
