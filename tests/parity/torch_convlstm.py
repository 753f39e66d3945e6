"""The recurrent layer of EchoDFKD's student as the original computes it: input and hidden state of a frame together."""

import torch
from torch import Tensor, nn

from benchmarks.pytorch.convlstm import Cell


class ConvLSTM(nn.Module):
    """A recurrent layer over sequences (n, t, c, h, w), from the zero state."""

    def __init__(self, num_in: int, num_hidden: int):
        super().__init__()
        self.cell = Cell(num_in, num_hidden)
        self.num_hidden = num_hidden

    def forward(self, x: Tensor) -> Tensor:
        hidden = cell = x.new_zeros(x.shape[0], self.num_hidden, *x.shape[3:])
        outputs = []
        for frame in x.unbind(1):
            gates = self.cell.conv(torch.cat([frame, hidden], dim=1)).chunk(4, dim=1)
            input_gate, forget, output = (torch.sigmoid(gate) for gate in gates[:3])
            cell = forget * cell + input_gate * torch.tanh(gates[3])
            hidden = output * torch.tanh(cell)
            outputs.append(hidden)
        return torch.stack(outputs, dim=1)
