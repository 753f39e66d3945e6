"""EchoDFKD's ConvLSTM student in PyTorch; modules bear the original's names, so that a state dict fits.

The original convolves input and hidden state of a frame together, step by step. Here the input's part of that
convolution is done for all frames at once, and the gates are one function that `torch.compile` may fuse.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Advance = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def advance(z: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden and cell state of a frame, from the sum z that the gates are taken of and the cell state before."""
    i, f, o, g = z.chunk(4, dim=1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


class Wrapped(nn.Module):
    """A layer that is applied frame by frame."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        batch, time = x.shape[:2]
        return self.layer(x.flatten(0, 1)).unflatten(0, (batch, time))


class Cell(nn.Module):
    """One convolution over input and hidden state; input, forget and output gate and candidate, in this order."""

    def __init__(self, num_in: int, num_hidden: int):
        super().__init__()
        self.conv = nn.Conv2d(num_in + num_hidden, 4 * num_hidden, 3, padding=1)


class ConvLSTM(nn.Module):
    """A recurrent layer over sequences (n, t, c, h, w), from the zero state."""

    def __init__(self, num_in: int, num_hidden: int, advance: Advance = advance):
        super().__init__()
        self.cell = Cell(num_in, num_hidden)
        self.num_in, self.num_hidden, self.advance = num_in, num_hidden, advance

    def forward(self, x: Tensor) -> Tensor:
        batch, time = x.shape[:2]
        of_input, of_hidden = self.cell.conv.weight.split([self.num_in, self.num_hidden], dim=1)
        from_input = functional.conv2d(x.flatten(0, 1), of_input, self.cell.conv.bias, padding=1)
        hidden = cell = x.new_zeros(batch, self.num_hidden, *x.shape[3:])
        outputs = []
        for step, z in enumerate(from_input.unflatten(0, (batch, time)).unbind(1)):
            if step:
                z = z + functional.conv2d(hidden, of_hidden, padding=1)
            hidden, cell = self.advance(z, cell)
            outputs.append(hidden)
        return torch.stack(outputs, dim=1)


class Block(nn.Module):
    """Layers one after the other."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.conv_lstm_layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_lstm_layers(x)


class Student(nn.Module):
    """Grey levels (n, t, 1, h, w) -> logits (n, t, h, w), with k blocks of n layers.

    `make_layer` takes the numbers of channels of input and hidden state and gives a recurrent layer.
    """

    def __init__(
        self, num_blocks: int, num_layers: int, width: int, make_layer: Callable[[int, int], nn.Module] = ConvLSTM
    ):
        super().__init__()
        widths = [width * 2**block for block in range(num_blocks)]
        blocks, num_in = [], 1
        for block, num_hidden in enumerate(widths):
            layers = []
            for _ in range(num_layers):
                layers += [make_layer(num_in, num_hidden), Wrapped(nn.BatchNorm2d(num_hidden))]
                num_in = num_hidden
            blocks.append(Block(*layers, *([Wrapped(nn.MaxPool2d(2))] if block < num_blocks - 1 else [])))
        self.conv_lstm_blocks = nn.Sequential(*blocks)
        steps = [
            Block(
                Wrapped(nn.Upsample(scale_factor=2, mode="nearest")),
                Wrapped(nn.Conv2d(2 * num_out, num_out, 3, padding=1)),
                Wrapped(nn.BatchNorm2d(num_out)),
            )
            for num_out in reversed(widths[:-1])
        ]
        self.conv_lstm_upsampling = nn.Sequential(*steps)
        self.output_layer = Wrapped(nn.Conv2d(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.output_layer(self.conv_lstm_upsampling(self.conv_lstm_blocks(x)))[:, :, 0]
