"""Training steps of narrow networks, computed here in float64, and how they are compared with PyTorch's.

test_against_torch.py compares all arrays with what PyTorch computes (torch_steps.py), at full depth, wherever it is
installed. test_float64_steps.py compares digests with what PyTorch computed (tests/goldens/float64_steps.npz), with
fewer blocks, everywhere. Weights follow from the tensors' names and inputs from seeds: only results are stored.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from golden_weights import golden, golden_tensor

from echojax import losses
from echojax.models import functional
from echojax.models.deeplab import DeepLabV3
from echojax.models.surgery import student_from_teacher
from echojax.models.video_resnet import VideoResNet
from echojax.porting.names import from_torch, to_torch
from echojax.porting.residual import TABLES
from echojax.train.mesh import compiler_options
from echojax.train.optimiser import make_optimiser
from echojax.train.state import initial_state
from echojax.train.step import make_train_step

# A share of the largest magnitude in each array.
TOLERANCE = 1e-9
# Elements of each tensor in a digest.
NUM_SAMPLES = 16

RGB, MASKED = 3, 4  # channels
WIDTH = 8
# Blocks of the four stages. Compiling takes most of the time: the recorded cases have every kind of block, but few.
FULL_DEPTH = {"css_step": (3, 4, 6, 3), "teacher_steps": (2, 2, 2, 2), "distillation_steps": (2, 2, 2, 2)}
RECORDED_DEPTH = {"css_step": (1, 1, 2, 2), "teacher_steps": (1, 1, 1, 1), "distillation_steps": (1, 1, 1, 1)}
CASES = tuple(FULL_DEPTH)

CYCLIC_START, CYCLIC_WEIGHT, FEATURE_SCALE = 4, 10.0, 0.1
UNLABELLED_WEIGHT = 5.0
SGD = dict(momentum=0.9, weight_decay=1e-4)
LEARNING_RATE, NUM_STEPS = 1e-4, 4


class Outcome(NamedTuple):
    """What training computed: NumPy arrays of float64 by name, tensors under our names and in our layout."""

    losses: Mapping[str, np.ndarray]  # (steps,)
    change: Mapping[str, np.ndarray]  # of the parameters: gradients of one step, movement over several
    stats: Mapping[str, np.ndarray]  # running statistics afterwards


class Network(NamedTuple):
    """A network with the goldens' weights in float64; `table` names its tensors in PyTorch."""

    definition: functional.Definition
    params: dict
    stats: dict
    table: str


# --- Inputs -----------------------------------------------------------------------------------------------------------


class CssBatch(NamedTuple):
    """Images (b, h, w, c) of ED and ES with masks (b, h, w), and the frames of one clip, each of another size."""

    ed: np.ndarray
    es: np.ndarray
    clip: np.ndarray
    mask_ed: np.ndarray
    mask_es: np.ndarray


def css_batch() -> CssBatch:
    sizes, rng = (3, 2, 40), np.random.default_rng(2)
    images = [rng.standard_normal((size, 48, 112, RGB)) for size in sizes]
    return CssBatch(*images, *(rng.random((size, 48, 112)) < 0.3 for size in sizes[:2]))


def teacher_batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {"x": rng.standard_normal((3, 9, 37, 30, MASKED)), "ef": rng.uniform(20, 80, 3)}


def distillation_batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    labelled, unlabelled = (rng.standard_normal((size, 9, 37, 30, MASKED)) for size in (3, 2))
    return {"labelled": labelled, "unlabelled": unlabelled, "ef": rng.uniform(20, 80, 3)}


# --- Networks ---------------------------------------------------------------------------------------------------------


def segmentation_network(blocks: Sequence[int]) -> Network:
    def build():
        rng = np.random.default_rng(0)
        return DeepLabV3(WIDTH, blocks, dropout_rate=0.0, dtype=jnp.float64, rng=rng)

    return golden_network(build, "deeplabv3_resnet50")


def video_network(blocks: Sequence[int], in_channels: int) -> Network:
    def build():
        rng = np.random.default_rng(0)
        return VideoResNet("r2plus1d_18", in_channels, WIDTH, blocks, dtype=jnp.float64, rng=rng)

    return golden_network(build, "r2plus1d_18")


def golden_network(build: Callable, table: str) -> Network:
    definition, *parts = functional.abstract(build)
    empty = [{name: np.empty(a.shape, np.float32) for name, a in part.items()} for part in parts]
    names = to_torch(*empty, TABLES[table])
    weights = {name: golden_tensor(name, tensor.shape) for name, tensor in names.items()}
    ported = from_torch(weights, TABLES[table], *parts)
    arrays = [{name: jnp.asarray(a, jnp.float64) for name, a in part.items()} for part in (ported.params, ported.stats)]
    return Network(definition, *arrays, table)


# --- Steps ------------------------------------------------------------------------------------------------------------


def css_step(blocks: Sequence[int]) -> Outcome:
    """The gradients of one step: images of ED, of ES and the clip are groups of one pass."""
    batch, network = css_batch(), segmentation_network(blocks)
    groups = tuple(len(images) for images in batch[:3])
    num_masks = sum(groups[:2])

    def loss(params):
        images, masks = jnp.concatenate(batch[:3]), jnp.concatenate(batch[3:])
        outputs, stats = functional.apply(network.definition, params, network.stats, images, train=True, groups=groups)
        segmentation = losses.segmentation_loss(outputs["logits"][:num_masks], masks).sum() / 2
        features = outputs["layer4"][num_masks:].sum(axis=(1, 2))
        cyclic = losses.cyclic_loss(FEATURE_SCALE * features, CYCLIC_START)
        return segmentation + CYCLIC_WEIGHT * cyclic, (segmentation, cyclic, stats)

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=compiler_options())
    (_, (segmentation, cyclic, stats)), grads = gradient(network.params)
    return Outcome({"segmentation": segmentation[None], "cyclic": cyclic[None]}, grads, stats)


def teacher_steps(blocks: Sequence[int]) -> Outcome:
    network = video_network(blocks, MASKED)

    def loss(params, stats, constants, batch, step, key):
        outputs, stats = functional.apply(network.definition, params, stats, batch["x"], train=True)
        return losses.squared_error(outputs["ef"], batch["ef"]).mean(), (stats, {})

    return train(loss, network.params, network.stats, teacher_batch(), ("loss",))


def distillation_steps(blocks: Sequence[int]) -> Outcome:
    """The student is made from the teacher; unlabelled and labelled clips are groups of one pass, in this order."""
    teacher, student = video_network(blocks, MASKED), video_network(blocks, RGB).definition

    def loss(params, stats, constants, batch, step, key):
        clips = jnp.concatenate([batch["unlabelled"], batch["labelled"]])[..., :RGB]
        outputs, stats = functional.apply(student, params, stats, clips, train=True, groups=(2, 3))
        f_teacher = functional.apply(
            teacher.definition, teacher.params, teacher.stats, batch["unlabelled"], train=False
        )[0]["ef"]
        labelled = losses.squared_error(outputs["ef"][2:], batch["ef"])
        unlabelled = losses.unlabelled_loss(outputs["ef"][:2], f_teacher)
        total = losses.distillation_loss(labelled, unlabelled, UNLABELLED_WEIGHT)
        return total, (stats, {"labelled": labelled.mean(), "unlabelled": unlabelled.mean()})

    params, stats = student_from_teacher(teacher.params, teacher.stats)
    return train(loss, params, stats, distillation_batch(), ("labelled", "unlabelled"))


def train(loss: Callable, params: dict, stats: dict, batch: dict, metrics: tuple[str, ...]) -> Outcome:
    optimiser = make_optimiser(LEARNING_RATE, **SGD)
    state, history = initial_state(params, stats, optimiser, seed=0), []
    # Once: the state after a step lies elsewhere than the first, for which it would be compiled again.
    step = jax.jit(make_train_step(loss, optimiser), compiler_options=compiler_options())
    step = step.lower(state, {}, batch).compile()
    for _ in range(NUM_STEPS):
        state, values = step(state, {}, batch)
        history.append(values)
    by_metric = {metric: jnp.stack([values[metric] for values in history]) for metric in metrics}
    # In NumPy: JAX would compile one subtraction for each shape.
    moved = movement(*(jax.tree.map(np.asarray, part) for part in (state.params, params)))
    return Outcome(by_metric, moved, state.stats)


def movement(after: Mapping, before: Mapping) -> dict:
    """What training added: beside the parameters themselves, weight decay would be lost."""
    return {name: after[name] - before[name] for name in before}


def our_outcome(case: str, blocks: Sequence[int]) -> Outcome:
    steps = {"css_step": css_step, "teacher_steps": teacher_steps, "distillation_steps": distillation_steps}
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, steps[case](blocks))


# --- Comparison -------------------------------------------------------------------------------------------------------


class Digest(NamedTuple):
    """What is kept of n named arrays: norms (n,) and elements (n, 16), evenly spaced, all of the arrays up to 16."""

    names: np.ndarray
    norms: np.ndarray
    samples: np.ndarray


def digest(arrays: Mapping[str, np.ndarray]) -> Digest:
    names = sorted(arrays)
    tensors = [arrays[name].ravel() for name in names]
    positions = [np.linspace(0, tensor.size - 1, NUM_SAMPLES).round().astype(int) for tensor in tensors]
    samples = [tensor[at] for tensor, at in zip(tensors, positions, strict=True)]
    return Digest(np.array(names), np.array([np.linalg.norm(tensor) for tensor in tensors]), np.array(samples))


def recorded_arrays(case: str, outcome: Outcome) -> dict[str, np.ndarray]:
    """The digests of an outcome, as tests/goldens/float64_steps.npz holds them."""
    digests = {part: digest(arrays)._asdict() for part, arrays in outcome._asdict().items()}
    return {f"{case}.{part}.{field}": a for part, fields in digests.items() for field, a in fields.items()}


def assert_as_recorded(case: str, outcome: Outcome):
    """Compares norms and samples of all arrays with what PyTorch computed when the file was written."""
    recorded = golden("float64_steps")
    for part, arrays in outcome._asdict().items():
        ours = digest(arrays)
        expected = Digest(*(recorded[f"{case}.{part}.{field}"] for field in Digest._fields))
        assert list(ours.names) == list(expected.names)
        for row, expected_row in zip(zip(*ours, strict=True), zip(*expected, strict=True), strict=True):
            name, norm, samples = row
            assert_close(norm, expected_row[1], f"norm of {part} {name}")
            assert_close(samples, expected_row[2], f"samples of {part} {name}")


def assert_close(ours: np.ndarray, expected: np.ndarray, name: str):
    assert ours.dtype == expected.dtype == np.float64, name
    np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max(), err_msg=name)


def assert_same_outcome(ours: Outcome, expected: Outcome):
    """Compares all arrays, element by element."""
    for our_arrays, expected_arrays in zip(ours, expected, strict=True):
        assert our_arrays.keys() == expected_arrays.keys()
        for name, array in our_arrays.items():
            assert_close(array, expected_arrays[name], name)
