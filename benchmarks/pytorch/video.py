"""The video networks of 18 layers in PyTorch; modules bear the names of torchvision's, so that a state dict fits."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


def conv2plus1d(num_in: int, num_mid: int, num_out: int, stride: int) -> nn.Module:
    """A 3x3 convolution in space, batch norm, ReLU, a convolution of 3 taps in time."""
    return nn.Sequential(
        nn.Conv3d(num_in, num_mid, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(num_mid),
        nn.ReLU(inplace=True),
        nn.Conv3d(num_mid, num_out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


class BasicBlock(nn.Module):
    """Two convolutions with batch norm, plus a shortcut; `kind` is "2plus1d", "3d" or "2d" (3x3 in space only)."""

    def __init__(self, num_in: int, num_out: int, stride: int, kind: str):
        super().__init__()
        num_mid = 27 * num_in * num_out // (9 * num_in + 3 * num_out)
        in_time = 1 if kind == "2d" else stride

        def conv(channels: int, steps: tuple[int, int]) -> nn.Module:
            if kind == "2plus1d":
                return conv2plus1d(channels, num_mid, num_out, steps[1])
            taps = 1 if kind == "2d" else 3
            strides, pads = (steps[0], steps[1], steps[1]), (taps // 2, 1, 1)
            return nn.Conv3d(channels, num_out, (taps, 3, 3), strides, pads, bias=False)

        norm = nn.BatchNorm3d
        self.conv1 = nn.Sequential(conv(num_in, (in_time, stride)), norm(num_out), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(conv(num_out, (1, 1)), norm(num_out))
        shortcut = [nn.Conv3d(num_in, num_out, 1, (in_time, stride, stride), bias=False), norm(num_out)]
        self.downsample = nn.Sequential(*shortcut) if stride != 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv2(self.conv1(x)) + self.downsample(x), inplace=True)


def stem(variant: str, in_channels: int, width: int) -> nn.Module:
    """The first layers, which halve the picture."""
    if variant != "r2plus1d_18":
        conv = nn.Conv3d(in_channels, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        return nn.Sequential(conv, nn.BatchNorm3d(width), nn.ReLU(inplace=True))
    num_mid = 45 * width // 64
    return nn.Sequential(
        nn.Conv3d(in_channels, num_mid, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
        nn.BatchNorm3d(num_mid),
        nn.ReLU(inplace=True),
        nn.Conv3d(num_mid, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )


class VideoResNet(nn.Module):
    """Clips (b, channels, t, h, w) -> EF (b,)."""

    def __init__(self, variant: str, in_channels: int, width: int, blocks: Sequence[int]):
        super().__init__()
        kinds = {"r2plus1d_18": ["2plus1d"] * 4, "mc3_18": ["3d", "2d", "2d", "2d"], "r3d_18": ["3d"] * 4}[variant]
        self.stem = stem(variant, in_channels, width)
        num_in = width
        for i, (kind, num_blocks) in enumerate(zip(kinds, blocks, strict=True)):
            num_out, stride = width * 2**i, 1 if i == 0 else 2
            layer = [BasicBlock(num_in, num_out, stride, kind)]
            layer += [BasicBlock(num_out, num_out, 1, kind) for _ in range(1, num_blocks)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*layer))
            num_in = num_out
        self.fc = nn.Linear(num_in, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.fc(x.mean(dim=(2, 3, 4)))[:, 0]
