"""The training steps of float64_steps.py in PyTorch, from the same weights and inputs."""

import copy
from collections.abc import Callable, Mapping, Sequence

import float64_steps as ours
import jax
import numpy as np
import torch
from float64_steps import Network, Outcome, movement
from golden_weights import golden_tensor

from benchmarks.pytorch.segmentation import DeepLabV3
from benchmarks.pytorch.video import VideoResNet
from echojax.porting.residual import TABLES


def golden_module(module: torch.nn.Module) -> torch.nn.Module:
    """The module with the goldens' weights, in float64."""
    weights = {name: golden_tensor(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()}
    module.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return module.double()


def segmentation_network(blocks: Sequence[int]) -> torch.nn.Module:
    return golden_module(DeepLabV3(ours.WIDTH, blocks, dropout_rate=0.0))


def teacher_network(blocks: Sequence[int]) -> torch.nn.Module:
    return golden_module(VideoResNet("r2plus1d_18", ours.MASKED, ours.WIDTH, blocks))


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.moveaxis(x, -1, 1))


def cyclic_loss(e: torch.Tensor, start: int) -> torch.Tensor:
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


def css_step(blocks: Sequence[int]) -> Outcome:
    """Three forward passes where we have one of three groups."""
    batch, network = ours.css_batch(), segmentation_network(blocks)

    def segmentation_loss(images, masks):
        logits, _ = network(channels_first(images))
        targets = torch.tensor(masks, dtype=torch.float64)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")

    network.train()
    segmentation = (segmentation_loss(batch.ed, batch.mask_ed) + segmentation_loss(batch.es, batch.mask_es)) / 2
    _, features = network(channels_first(batch.clip))
    cyclic = cyclic_loss(ours.FEATURE_SCALE * features.sum(dim=(2, 3)), ours.CYCLIC_START)
    (segmentation + ours.CYCLIC_WEIGHT * cyclic).backward()
    losses = {"segmentation": [segmentation.item()], "cyclic": [cyclic.item()]}
    grads = {name: parameter.grad for name, parameter in network.named_parameters()}
    return outcome(losses, grads, network, ours.segmentation_network(blocks))


def teacher_steps(blocks: Sequence[int]) -> Outcome:
    batch, network = ours.teacher_batch(), teacher_network(blocks)
    x, ef = channels_first(batch["x"]), torch.tensor(batch["ef"])

    def loss():
        total = ((network(x) - ef) ** 2).mean()
        return total, {"loss": total}

    return train(loss, network, ours.video_network(blocks, ours.MASKED))


def distillation_steps(blocks: Sequence[int]) -> Outcome:
    """The student starts from the teacher's weights; unlabelled and labelled clips pass one after the other."""
    batch, teacher = ours.distillation_batch(), teacher_network(blocks)
    x, x_unlabelled = channels_first(batch["labelled"]), channels_first(batch["unlabelled"])
    ef = torch.tensor(batch["ef"])
    weights = teacher.state_dict()
    weights["stem.0.weight"] = weights["stem.0.weight"][:, : ours.RGB]
    student = VideoResNet("r2plus1d_18", ours.RGB, ours.WIDTH, blocks).double()
    student.load_state_dict(weights)
    with torch.no_grad():
        f_teacher = teacher.eval()(x_unlabelled)

    def loss():
        f_unlabelled, f_labelled = student(x_unlabelled[:, : ours.RGB]), student(x[:, : ours.RGB])
        labelled, unlabelled = ((f_labelled - ef) ** 2).mean(), 0.5 * ((f_unlabelled - f_teacher) ** 2).mean()
        return labelled + ours.UNLABELLED_WEIGHT * unlabelled, {"labelled": labelled, "unlabelled": unlabelled}

    return train(loss, student, ours.video_network(blocks, ours.RGB))


def train(loss: Callable, network: torch.nn.Module, named_as: Network) -> Outcome:
    """Descends the first value of `loss()`; the second is what goes down in history."""
    optimiser = torch.optim.SGD(network.parameters(), lr=ours.LEARNING_RATE, **ours.SGD)
    before, history = copy.deepcopy(network.state_dict()), []
    network.train()
    for _ in range(ours.NUM_STEPS):
        total, metrics = loss()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        history.append({name: value.item() for name, value in metrics.items()})
    losses = {name: [metrics[name] for metrics in history] for name in history[0]}
    return outcome(losses, movement(network.state_dict(), before), network, named_as)


def outcome(losses: Mapping[str, list], change: Mapping, network: torch.nn.Module, named_as: Network) -> Outcome:
    return Outcome(
        {name: np.array(values) for name, values in losses.items()},
        in_our_layout(change, named_as.params, named_as.table),
        in_our_layout(network.state_dict(), named_as.stats, named_as.table),
    )


def in_our_layout(tensors: Mapping[str, torch.Tensor], names: Mapping, table: str) -> dict[str, np.ndarray]:
    """The tensors of these names (ours), kernels as (*taps, in, out)."""
    arrays = {}
    for row in TABLES[table].rows(names):
        for leaf in row.leaves:
            name = f"{row.ours}.{leaf.ours}"
            if name in names:
                tensor = tensors[f"{row.torch}.{leaf.torch}"].detach()
                kernel_order = (*range(2, tensor.ndim), 1, 0)
                arrays[name] = (tensor.permute(kernel_order) if leaf.ours == "kernel" else tensor).numpy()
    return arrays


def torch_outcome(case: str, blocks: Sequence[int]) -> Outcome:
    steps = {"css_step": css_step, "teacher_steps": teacher_steps, "distillation_steps": distillation_steps}
    with jax.enable_x64(True):
        return steps[case](blocks)
