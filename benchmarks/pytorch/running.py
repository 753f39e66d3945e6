"""Weights, memory layouts, precision and training steps of the PyTorch side."""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.pytorch import convlstm, segmentation, video
from echojax.models.functional import Arrays
from echojax.porting.families import family_of
from echojax.porting.names import Ported, from_torch, to_torch


class Form(NamedTuple):
    """How PyTorch is used: layout of its arrays, and whether `torch.compile` rewrites what it can."""

    channels_last: bool
    compiled: bool

    @property
    def name(self) -> str:
        layout = "channels-last" if self.channels_last else "channels-first"
        return f"{layout}, compiled" if self.compiled else layout


FORMS = tuple(Form(channels_last, compiled) for compiled in (False, True) for channels_last in (True, False))


def form_named(name: str) -> Form:
    return next(form for form in FORMS if form.name == name)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Returns when the device has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def precision() -> contextlib.AbstractContextManager:
    """bfloat16 where ours is, by PyTorch's own rules; float32 on a CPU."""
    if torch.cuda.is_available():
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


def build_module(description: Mapping, params: Arrays, stats: Arrays, form: Form) -> nn.Module:
    """The network of one of our descriptions with our weights, in eval mode."""
    if description["family"] == "deeplabv3":
        rate = description.get("dropout_rate", 0.5)
        module = segmentation.DeepLabV3(description["width"], description["blocks"], rate)
    elif description["family"] == "video_resnet":
        arguments = (description[name] for name in ("variant", "in_channels", "width", "blocks"))
        module = video.VideoResNet(*arguments)
    else:
        # Unrolled over frames and layers a compiler would see hundreds of steps: it gets the gates of one.
        advance = torch.compile(convlstm.advance, dynamic=False) if form.compiled else convlstm.advance
        sizes = (description[name] for name in ("num_blocks", "num_layers", "width"))
        module = convlstm.Student(*sizes, partial(convlstm.ConvLSTM, advance=advance))
    tensors = to_torch(params, stats, family_of(description).table)
    module.load_state_dict({name: torch.tensor(array) for name, array in tensors.items()})
    module = module.to(device()).eval()
    # Of several kernels for a convolution the fastest is found by trying; shapes here do not change.
    torch.backends.cudnn.benchmark = True
    if form.channels_last:
        is_video = description["family"] == "video_resnet"
        module = module.to(memory_format=torch.channels_last_3d if is_video else torch.channels_last)
    if form.compiled and description["family"] != "convlstm":
        module.compile(dynamic=False)
    return module


def to_tensor(x: np.ndarray, form: Form) -> Tensor:
    """Our channels-last pictures or clips on the device as (b, c, h, w), (b, c, t, h, w)."""
    tensor = torch.tensor(np.asarray(x)).to(device()).movedim(-1, 1)
    return tensor if form.channels_last else tensor.contiguous()


def make_forward(module: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """Runs the module on x."""

    def forward() -> Tensor:
        with torch.inference_mode(), precision():
            y = module(x)
        wait()
        return y

    return forward


def make_training_step(module: nn.Module, loss: Callable[[], Tensor], learning_rate: float) -> Callable[[], Tensor]:
    """Takes a step down `loss()` with the papers' optimiser; returns the loss."""
    optimiser = torch.optim.SGD(module.parameters(), learning_rate, momentum=0.9, weight_decay=1e-4, fused=True)
    module.train()

    def step() -> Tensor:
        with precision():
            value = loss()
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        wait()
        return value.detach()

    return step


def weights_of(module: nn.Module, description: Mapping, params: Arrays, stats: Arrays) -> Ported:
    """Parameters and statistics of a module under our names."""
    state = {name: tensor.float().cpu().numpy() for name, tensor in module.state_dict().items()}
    return from_torch(state, family_of(description).table, params, stats)
