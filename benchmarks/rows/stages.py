"""The steps of CSS: segmentation with the cyclic loss, and distillation, each as its stage builds it."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import pytorch
from benchmarks.data import Data
from benchmarks.measuring import Clock, Row, Work, program_flops, program_mb, relative_deviation
from benchmarks.rows.networks import DEEPLAB_STEP_TOLERANCE, STEP_TOLERANCE, build_lively, video_description
from benchmarks.sizes import Sizes
from configs import css as css_config
from configs import kd as kd_config
from echojax.stages import css, kd
from echojax.train.loop import Stage
from echojax.train.mesh import make_mesh, put_batch, replicated
from echojax.train.optimiser import make_optimiser
from echojax.train.state import TrainState, initial_state
from echojax.train.step import compile_step, make_train_step


class OurStep(NamedTuple):
    """A stage's compiled step on its first batch.

    Attributes:
      metrics: of the first step, which has been taken.
      stats: the running statistics after it.
      memory_mb: see `Row`.
    """

    work: Work
    metrics: Mapping[str, float]
    stats: Mapping[str, np.ndarray]
    flops: float | None
    memory_mb: float


def css_row(data: Data, sizes: Sizes, clock: Clock) -> Row:
    """ED and ES frames of labelled videos and an unlabelled clip: L_seg + 0.01 L_css.

    Dropout draws differ, so that both are compared before it: in the cyclic loss, and in the backbone's running
    statistics.
    """
    config = css_config.get_config()
    config.data_dir, config.init_from = str(data.records), "random"
    config.labels.num_labelled, config.labels.num_unlabelled = data.num_labelled, data.num_unlabelled
    config.network.width, config.network.blocks, config.network.dtype = sizes.width, sizes.blocks, sizes.dtype
    config.train.batch_size = sizes.css_labelled
    config.css.num_frames, config.css.template, config.css.period = sizes.css_frames, sizes.css_template, 1
    stage = css.build(config)
    batch = stage.batches.batch(0)
    ours = _our_step(stage, batch, config)
    names = pytorch.usable(("channels-last", "channels-first", "channels-last, compiled"))
    forms = {name: lambda name=name: _torch_css_step(stage, batch, config, name)[0] for name in names}
    deviation = None
    if forms:
        step, module, parts = _torch_css_step(stage, batch, config, names[0])
        step()
        deviation = _deviation(stage, ours, module, parts, "backbone.")
    what = f"2 x {sizes.css_labelled} frames and a clip of {sizes.css_frames}, 112x112"
    tolerance = DEEPLAB_STEP_TOLERANCE[sizes.dtype]
    row = clock.against("CSS step", ours.work, forms, what, deviation, tolerance, ours.flops)
    return dataclasses.replace(row, frames=2 * sizes.css_labelled + sizes.css_frames, memory_mb=ours.memory_mb)


def kd_row(data: Data, sizes: Sizes, clock: Clock) -> Row:
    """Labelled clips with their EF, unlabelled ones with the teacher's: L_lb + 5 L_ulb.

    Both are compared in the losses and in the student's running statistics.
    """
    teacher = build_lively(video_description("r2plus1d_18", 4, sizes))
    config = kd_config.get_config()
    config.data_dir, config.masks_dir = str(data.records), str(data.masks_dir)
    config.labels.num_labelled, config.labels.num_unlabelled = data.num_labelled, data.num_unlabelled
    config.teacher_dir = str(data.save_teacher(teacher))
    config.clip.num_frames, config.clip.period = sizes.clip_frames, 1
    config.train.batch_size, config.kd.unlabelled_batch_size = sizes.kd_labelled, sizes.kd_unlabelled
    stage = kd.build(config)
    batch = stage.batches.batch(0)
    ours = _our_step(stage, batch, config)
    names = pytorch.usable(("channels-first", "channels-last", "channels-last, compiled"))
    forms = {name: lambda name=name: _torch_kd_step(stage, teacher, batch, config, name)[0] for name in names}
    deviation = None
    if forms:
        step, student, parts = _torch_kd_step(stage, teacher, batch, config, names[0])
        step()
        deviation = _deviation(stage, ours, student, parts)
    what = f"{sizes.kd_labelled} labelled and {sizes.kd_unlabelled} unlabelled clips of {sizes.clip_frames}x112x112"
    tolerance = STEP_TOLERANCE[sizes.dtype]
    row = clock.against("distillation step", ours.work, forms, what, deviation, tolerance, ours.flops)
    num_frames = (sizes.kd_labelled + sizes.kd_unlabelled) * sizes.clip_frames
    return dataclasses.replace(row, frames=num_frames, memory_mb=ours.memory_mb)


def _our_step(stage: Stage, batch: dict, config) -> OurStep:
    mesh, settings = make_mesh(), config.optimiser
    optimiser = make_optimiser(settings.learning_rate, settings.momentum, settings.weight_decay)
    train_step = make_train_step(stage.loss, optimiser)
    # Copies, because a step gives its state away.
    state = jax.tree.map(jnp.array, initial_state(stage.network.params, stage.network.stats, optimiser, seed=0))
    state, constants = jax.device_put((state, stage.constants), replicated(mesh))
    batch = put_batch(mesh, batch)
    flops = program_flops(jax.jit(train_step).lower(state, constants, batch))
    step = compile_step(train_step, mesh, state, constants, batch).run
    state, metrics = step(state, constants, batch)
    stats = {name: np.array(array) for name, array in state.stats.items()}

    def work() -> TrainState:
        nonlocal state
        state, _ = step(state, constants, batch)
        return jax.block_until_ready(state)

    return OurStep(work, {name: float(value) for name, value in metrics.items()}, stats, flops, program_mb(step))


def _deviation(stage: Stage, ours: OurStep, module, parts: Mapping[str, object], prefix: str = "") -> float:
    """The largest deviation of parts of the loss, and of the running statistics whose names begin with `prefix`."""
    from benchmarks.pytorch import running

    network = stage.network
    theirs = running.weights_of(module, network.description, network.params, network.stats).stats
    # A cyclic loss may be next to nothing: below 1 the difference itself counts.
    deviations = [abs(ours.metrics[name] - float(part)) / max(1, abs(float(part))) for name, part in parts.items()]
    names = [name for name in theirs if name.startswith(prefix)]
    return float(np.max(deviations + [relative_deviation(ours.stats[name], theirs[name]) for name in names]))


def _torch_css_step(stage: Stage, batch: dict, config, form_name: str):
    """PyTorch's step, its module, and the parts of the last loss; three passes, as the original."""
    import torch
    from torch.nn import functional as F

    from benchmarks.pytorch import running
    from benchmarks.pytorch.losses import cyclic_loss, normalise

    form = running.form_named(form_name)
    network, labelled, unlabelled = stage.network, batch["labelled"], batch["unlabelled"]
    module = running.build_module(network.description, network.params, network.stats, form)
    # To the device once, as ours.
    ed, es, clip = (running.to_tensor(x, form) for x in (labelled["ed"], labelled["es"], unlabelled["cycle_clip"][0]))
    masks = [torch.tensor(labelled[f"{phase}_mask"]).float().to(running.device()) for phase in ("ed", "es")]
    start, parts = int(unlabelled["template_start"][0]), {}

    def loss():
        segmentation = 0
        for images, mask in zip((ed, es), masks, strict=True):
            logits, _ = module(normalise(images, stage.preprocessing))
            segmentation = segmentation + F.binary_cross_entropy_with_logits(logits.float(), mask, reduction="sum") / 2
        _, features = module(normalise(clip, stage.preprocessing))
        cyclic = cyclic_loss(features.float().sum(dim=(2, 3)), start, config.css)
        parts["loss_cyc"] = cyclic.detach()
        return segmentation + config.css.loss_weight * cyclic

    return running.make_training_step(module, loss, config.optimiser.learning_rate), module, parts


def _torch_kd_step(stage: Stage, teacher, batch: dict, config, form_name: str):
    """PyTorch's step, its student, and the parts of the last loss: the teacher without gradients, then the student on
    unlabelled and on labelled clips, as the original.
    """
    import torch
    from torch.nn import functional as F

    from benchmarks.pytorch import running
    from benchmarks.pytorch.losses import normalise, shift

    form = running.form_named(form_name)
    student = running.build_module(stage.network.description, stage.network.params, stage.network.stats, form)
    teacher = running.build_module(teacher.description, teacher.params, teacher.stats, form)
    labelled, unlabelled = batch["labelled"], batch["unlabelled"]
    x, x_unlabelled = (running.to_tensor(part["clip"], form) for part in (labelled, unlabelled))
    masks = running.to_tensor(unlabelled["mask"][..., None], form)
    ef, pad = torch.tensor(labelled["ef"]).to(running.device()), config.clip.pad
    parts = {}

    def loss():
        pictures = shift(normalise(x, stage.preprocessing), labelled["crop"], pad, 0)
        unlabelled_pictures = shift(normalise(x_unlabelled, stage.preprocessing), unlabelled["crop"], pad, 0)
        channel = shift(masks.float() * (2 / 255) - 1, unlabelled["crop"], pad, config.clip.mask_pad)
        with torch.no_grad():
            wanted = teacher(torch.cat([unlabelled_pictures, channel], dim=1)).float()
        unlabelled_loss = 0.5 * F.mse_loss(student(unlabelled_pictures).float(), wanted)
        labelled_loss = F.mse_loss(student(pictures).float(), ef)
        parts.update(loss_unlabelled=unlabelled_loss.detach(), loss_labelled=labelled_loss.detach())
        return labelled_loss + config.kd.unlabelled_weight * unlabelled_loss

    return running.make_training_step(student, loss, config.optimiser.learning_rate), student, parts
