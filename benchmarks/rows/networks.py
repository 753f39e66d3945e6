"""Forward pass and training step of single networks: same weights, same input, same optimiser."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import pytorch
from benchmarks.measuring import Clock, Row, Work, program_flops, program_mb, relative_deviation
from benchmarks.sizes import Sizes
from echojax import losses
from echojax.models import functional
from echojax.networks import Network, build_network, make_apply
from echojax.train.mesh import make_mesh, put_batch, replicated
from echojax.train.optimiser import make_optimiser
from echojax.train.state import TrainState, initial_state
from echojax.train.step import compile_step, make_train_step

# Relative to the largest output; a step's movement is compared in norm, because a ReLU whose input is within rounding
# of zero switches and moves single parameters by a percent (docs/fidelity.md).
FORWARD_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}
STEP_TOLERANCE = {"float32": 0.02, "bfloat16": 0.3}
# DeepLab's many layers multiply such switches: PyTorch's own two layouts move its random weights 2.8 % apart. Ours
# lies, with Winograd's algorithm or without, 2.2 % from channels first and 3.2 % from channels last.
DEEPLAB_STEP_TOLERANCE = STEP_TOLERANCE | {"float32": 0.05}
RATE = 1e-5


class Subject(NamedTuple):
    """A network with its input and what it is to predict, channels last.

    Attributes:
      output: the name of the network's output that is trained.
      forms: of PyTorch; the quick suite takes the first.
    """

    title: str
    network: Network
    x: np.ndarray
    target: np.ndarray
    output: str
    what: str
    forms: tuple[str, ...]

    @property
    def num_frames(self) -> int:
        """Images, or frames of all clips."""
        return math.prod(self.x.shape[:-3])


def build_lively(description: dict) -> Network:
    """A network of random weights whose outputs depend on its input, as a trained one's do, and on no bias alone.

    Kernels are sqrt(6) times PyTorch's default, which makes their variance 2 / n: with that of the default signals fade
    from layer to layer in eval mode, and the results of any two networks would agree.
    """
    network = build_network(description, initial_ef=0.0)
    kernels = {name: math.sqrt(6) * array for name, array in network.params.items() if name.endswith("kernel")}
    return network._replace(params=network.params | kernels)


def build_subject(name: str, sizes: Sizes) -> Subject:
    """One of `SUBJECTS` at the sizes of a suite, with random weights and input."""
    return SUBJECTS[name](name, sizes)


def _video(variant: str, sizes: Sizes) -> Subject:
    network = build_lively(video_description(variant, 3, sizes))
    x = _noise(sizes.clips, sizes.clip_frames, sizes.side_px, sizes.side_px, 3)
    target = np.random.default_rng(1).uniform(20, 80, sizes.clips).astype(np.float32)
    forms = ("channels-first", "channels-last", "channels-last, compiled", "channels-first, compiled")
    return Subject(VIDEO_TITLES[variant], network, x, target, "ef", _shape(x, "clip"), forms)


def _segmentation(name: str, sizes: Sizes) -> Subject:
    # No dropout, so that both sides compute the same.
    network = build_lively(segmentation_description(sizes) | {"dropout_rate": 0.0})
    x = _noise(sizes.images, sizes.side_px, sizes.side_px, 3)
    target = (x[..., 0] > 1).astype(np.float32)
    forms = ("channels-last", "channels-first", "channels-last, compiled", "channels-first, compiled")
    return Subject("DeepLabV3-ResNet50", network, x, target, "logits", _shape(x, "image"), forms)


def _student(name: str, sizes: Sizes) -> Subject:
    network = build_network(student_description(sizes))
    x = _noise(sizes.student_clips, sizes.student_frames, sizes.side_px, sizes.side_px, 1)
    x = np.clip(40 + 40 * x, 0, 255)
    target = (x[..., 0] > 80).astype(np.float32)
    forms = ("channels-first, compiled", "channels-last, compiled", "channels-first", "channels-last")
    return Subject("ConvLSTM 33", network, x, target, "logits", _shape(x, "clip"), forms)


VIDEO_TITLES = {"r2plus1d_18": "R(2+1)D-18", "mc3_18": "MC3-18", "r3d_18": "R3D-18"}
SUBJECTS: Mapping[str, Callable[[str, Sizes], Subject]] = {
    **dict.fromkeys(VIDEO_TITLES, _video),
    "deeplabv3": _segmentation,
    "convlstm": _student,
}


def video_description(variant: str, in_channels: int, sizes: Sizes) -> dict:
    """Description of a video network of a suite."""
    size = {"width": sizes.width, "blocks": list(sizes.video_blocks), "in_channels": in_channels}
    return {"family": "video_resnet", "variant": variant, **size, "dtype": sizes.dtype}


def segmentation_description(sizes: Sizes) -> dict:
    """Description of the DeepLabV3 of a suite."""
    size = {"width": sizes.width, "blocks": list(sizes.blocks), "in_channels": 3}
    return {"family": "deeplabv3", **size, "dtype": sizes.dtype}


def student_description(sizes: Sizes) -> dict:
    """Description of the ConvLSTM student of a suite."""
    size = {"num_blocks": sizes.student_blocks, "num_layers": sizes.student_layers, "width": sizes.student_width}
    return {"family": "convlstm", "variant": "reference", **size, "in_channels": 1, "dtype": sizes.dtype}


def forward_row(name: str, sizes: Sizes, clock: Clock) -> Row:
    """A forward pass in eval mode."""
    subject = build_subject(name, sizes)
    network = subject.network
    apply, x = make_apply(network), jax.device_put(subject.x)
    arguments = (network.params, network.stats, x)
    flops = program_flops(apply.lower(*arguments))

    def ours() -> dict:
        return jax.block_until_ready(apply(*arguments))

    forms = {form: lambda form=form: _torch_forward(subject, form) for form in pytorch.usable(subject.forms)}
    deviation = None
    if forms:
        theirs = next(iter(forms.values()))()()
        deviation = relative_deviation(ours()[subject.output], theirs.float().cpu().numpy())
    tolerance = FORWARD_TOLERANCE[sizes.dtype]
    row = clock.against(f"{subject.title} forward", ours, forms, subject.what, deviation, tolerance, flops)
    return dataclasses.replace(row, frames=subject.num_frames)


def training_row(name: str, sizes: Sizes, clock: Clock) -> Row:
    """A training step: loss, gradients and SGD with momentum and weight decay."""
    subject = build_subject(name, sizes)
    forms = {form: lambda form=form: _torch_step(subject, form)[0] for form in pytorch.usable(subject.forms)}
    step = compile_training_step(subject)
    ours = step_work(step)
    deviation = movement_deviation(subject, ours().params, next(iter(forms))) if forms else None
    is_deeplab = subject.network.description["family"] == "deeplabv3"
    tolerance = (DEEPLAB_STEP_TOLERANCE if is_deeplab else STEP_TOLERANCE)[sizes.dtype]
    row = clock.against(f"{subject.title} training step", ours, forms, subject.what, deviation, tolerance, step.flops)
    return dataclasses.replace(row, frames=subject.num_frames, memory_mb=program_mb(step.run))


class OurStep(NamedTuple):
    """A compiled step with its first state and its batch."""

    run: Callable
    compile_seconds: float
    state: TrainState
    batch: dict
    flops: float | None


def compile_training_step(subject: Subject) -> OurStep:
    """Our step as training runs it."""
    network = subject.network

    def loss(params, stats, constants, batch, step, key):
        del constants, step
        outputs, stats = functional.apply(network.definition, params, stats, batch["x"], train=True, key=key)
        return our_loss(subject, outputs[subject.output], batch["target"]), (stats, {})

    mesh = make_mesh()
    optimiser = make_optimiser(RATE, momentum=0.9, weight_decay=1e-4)
    train_step = make_train_step(loss, optimiser)
    # Copies, because a step gives its state away.
    state = jax.tree.map(jnp.array, initial_state(network.params, network.stats, optimiser, seed=0))
    state = jax.device_put(state, replicated(mesh))
    batch = put_batch(mesh, {"x": subject.x, "target": subject.target})
    flops = program_flops(jax.jit(train_step).lower(state, {}, batch))
    return OurStep(*compile_step(train_step, mesh, state, {}, batch), state, batch, flops)


def step_work(step: OurStep) -> Callable[[], TrainState]:
    """Takes the next step and returns the state after it."""
    state = step.state

    def work() -> TrainState:
        nonlocal state
        state, _ = step.run(state, {}, step.batch)
        return jax.block_until_ready(state)

    return work


def our_loss(subject: Subject, output: jax.Array, target: jax.Array) -> jax.Array:
    """Squared error of EF; cross-entropy of masks, summed over an image (CSS) or averaged (EchoDFKD)."""
    if subject.output == "ef":
        return jnp.mean(losses.squared_error(output, target))
    if subject.network.description["family"] == "deeplabv3":
        return jnp.sum(losses.segmentation_loss(output, target))
    return jnp.mean(losses.binary_cross_entropy(output, target))


def movement_deviation(subject: Subject, stepped: functional.Arrays, form: str) -> float:
    """How far the parameters' first movements lie apart, |ours - theirs| / |theirs| over all of them."""
    from benchmarks.pytorch import running

    step, module = _torch_step(subject, form)
    step()
    network = subject.network
    theirs = running.weights_of(module, network.description, network.params, network.stats).params
    start = {name: np.asarray(array) for name, array in network.params.items()}
    moved = [(np.asarray(stepped[name]) - start[name], theirs[name] - start[name]) for name in start]
    difference, size = (
        np.sqrt(sum(float(np.sum(np.square(part, dtype=np.float64))) for part in parts))
        for parts in ([ours - theirs for ours, theirs in moved], [theirs for _, theirs in moved])
    )
    return difference / size


def _torch_input(subject: Subject, form):
    from benchmarks.pytorch import running

    x = running.to_tensor(subject.x, form)
    return x.movedim(1, 2).contiguous() if subject.network.description["family"] == "convlstm" else x


def _torch_module(subject: Subject, form):
    from benchmarks.pytorch import running

    network = subject.network
    return running.build_module(network.description, network.params, network.stats, form)


def _torch_forward(subject: Subject, form_name: str) -> Work:
    from benchmarks.pytorch import running

    form = running.form_named(form_name)
    forward = running.make_forward(_torch_module(subject, form), _torch_input(subject, form))

    def work():
        outputs = forward()
        return outputs[0] if isinstance(outputs, tuple) else outputs

    return work


def _torch_step(subject: Subject, form_name: str):
    """PyTorch's step, and the module that it trains."""
    import torch
    from torch.nn import functional as F

    from benchmarks.pytorch import running

    form = running.form_named(form_name)
    module, x = _torch_module(subject, form), _torch_input(subject, form)
    target = torch.tensor(subject.target).to(running.device())

    def loss():
        if subject.output == "ef":
            return F.mse_loss(module(x).float(), target)
        if subject.network.description["family"] == "deeplabv3":
            return F.binary_cross_entropy_with_logits(module(x)[0].float(), target, reduction="sum")
        return F.binary_cross_entropy_with_logits(module(x).float(), target)

    return running.make_training_step(module, loss, RATE), module


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _shape(x: np.ndarray, what: str) -> str:
    number = f"{len(x)} {what}" + ("s" if len(x) > 1 else "")
    return f"{number} of {'x'.join(map(str, x.shape[1:-1]))}"
