"""What surrounds the networks in the steps of CSS, in PyTorch: normalising, shifting, the cyclic loss."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from echojax.preprocessing import Preprocessing


def normalise(x: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(x - mean) / std per channel of uint8 pictures or clips, channels first."""
    ones = (1,) * (x.ndim - 2)
    mean, std = (torch.tensor(values, device=x.device) for values in (preprocessing.mean, preprocessing.std))
    return (x.float() - mean.view(-1, *ones)) / std.view(-1, *ones)


def shift(clips: Tensor, offsets: Sequence[Sequence[int]], pad: int, fill: float) -> Tensor:
    """Cuts each clip's own size out of itself with `pad` pixels of `fill` around it, at its offset."""
    height, width = clips.shape[-2:]
    canvas = functional.pad(clips, (pad,) * 4, value=fill)
    return torch.stack([clip[..., i : i + height, j : j + width] for clip, (i, j) in zip(canvas, offsets, strict=True)])


def cyclic_loss(e: Tensor, start: int, settings) -> Tensor:
    """L_css of the features (t, d) of a clip; see `echojax.losses.cyclic_loss`."""
    template, chunk, offset = settings.template, settings.chunk, settings.offset
    scale = settings.temperature / (e.shape[1] * chunk)
    search, phase = e[template:].unfold(0, chunk, 1), e[start : start + chunk].T
    match = torch.softmax(-scale * (search[:-offset] - phase).square().sum(dim=(1, 2)), dim=0)
    shifted = (match[:, None, None] * search[offset:]).sum(dim=0)
    back = e[offset:template].unfold(0, chunk, 1)
    logits = -scale * (back - shifted).square().sum(dim=(1, 2))
    return functional.cross_entropy(logits[None], torch.tensor([start], device=e.device))
