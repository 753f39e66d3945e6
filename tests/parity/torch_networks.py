"""The networks of CSS in PyTorch, at any width and depth, to compare ours with.

Modules bear the names of the originals, so that a state dict reads the same. Outputs are those that the losses use.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

RATES = (12, 24, 36)


class Bottleneck(nn.Module):
    """1x1, 3x3 with stride or dilation, 1x1, each with batch norm, plus a shortcut."""

    def __init__(self, num_in: int, width: int, stride: int, dilation: int, changes: bool):
        super().__init__()
        num_out = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(num_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, num_out, 1, bias=False), nn.BatchNorm2d(num_out)
        shortcut = [nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out)]
        self.downsample = nn.Sequential(*shortcut) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class DilatedResNet(nn.Module):
    """ResNet of output stride 8: dilation takes the place of the strides of the last two stages."""

    def __init__(self, width: int, blocks: Sequence[int]):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        # Per stage: stride and dilation of the first block, dilation of the others.
        stages = ((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4))
        num_in = width
        for i, (stride, first, others) in enumerate(stages):
            layer = [Bottleneck(num_in, width * 2**i, stride, first, changes=True)]
            num_in = 4 * width * 2**i
            layer += [Bottleneck(num_in, width * 2**i, 1, others, changes=False) for _ in range(1, blocks[i])]
            self.add_module(f"layer{i + 1}", nn.Sequential(*layer))
        self.num_out = num_in

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), kernel_size=3, stride=2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class AtrousPyramid(nn.Module):
    """ASPP: a 1x1, three dilated 3x3 and the image's mean, concatenated and projected; no dropout."""

    def __init__(self, num_in: int, num_out: int):
        super().__init__()

        def conv_norm(channels: int, *conv_options) -> list[nn.Module]:
            return [nn.Conv2d(channels, num_out, *conv_options, bias=False), nn.BatchNorm2d(num_out), nn.ReLU()]

        dilated = [nn.Sequential(*conv_norm(num_in, 3, 1, rate, rate)) for rate in RATES]
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_norm(num_in, 1))
        self.convs = nn.ModuleList([nn.Sequential(*conv_norm(num_in, 1)), *dilated, pooled])
        self.project = nn.Sequential(*conv_norm(num_out * (2 + len(RATES)), 1))

    def forward(self, x: Tensor) -> Tensor:
        *maps, pooled = (branch(x) for branch in self.convs)
        return self.project(torch.cat([*maps, pooled.expand_as(maps[0])], dim=1))


class DeepLabV3(nn.Module):
    """Images (b, 3, h, w) -> logits (b, h, w) and the backbone's features (b, 32 width, h / 8, w / 8)."""

    def __init__(self, width: int, blocks: Sequence[int]):
        super().__init__()
        head = 4 * width
        self.backbone = DilatedResNet(width, blocks)
        self.classifier = nn.Sequential(
            AtrousPyramid(self.backbone.num_out, head),
            nn.Conv2d(head, head, 3, padding=1, bias=False),
            nn.BatchNorm2d(head),
            nn.ReLU(),
            nn.Conv2d(head, 1, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(x)
        logits = self.classifier(features)
        logits = functional.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return logits[:, 0], features


class Conv2Plus1D(nn.Sequential):
    """A 3x3 convolution in space, batch norm, ReLU, a convolution of 3 taps in time."""

    def __init__(self, num_in: int, num_mid: int, num_out: int, stride: int):
        super().__init__(
            nn.Conv3d(num_in, num_mid, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            nn.BatchNorm3d(num_mid),
            nn.ReLU(),
            nn.Conv3d(num_mid, num_out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        )


class BasicBlock(nn.Module):
    """Two (2+1)D convolutions with batch norm, plus a shortcut; both have the middle width of the first."""

    def __init__(self, num_in: int, num_out: int, stride: int):
        super().__init__()
        num_mid = 27 * num_in * num_out // (9 * num_in + 3 * num_out)
        norm = nn.BatchNorm3d
        self.conv1 = nn.Sequential(Conv2Plus1D(num_in, num_mid, num_out, stride), norm(num_out), nn.ReLU())
        self.conv2 = nn.Sequential(Conv2Plus1D(num_out, num_mid, num_out, 1), norm(num_out))
        shortcut = [nn.Conv3d(num_in, num_out, 1, stride, bias=False), norm(num_out)]
        self.downsample = nn.Sequential(*shortcut) if stride != 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv2(self.conv1(x)) + self.downsample(x))


class VideoResNet(nn.Module):
    """R(2+1)D: clips (b, channels, t, h, w) -> EF (b,)."""

    def __init__(self, in_channels: int, width: int, blocks: Sequence[int]):
        super().__init__()
        num_mid = 45 * width // 64
        self.stem = nn.Sequential(
            nn.Conv3d(in_channels, num_mid, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(num_mid),
            nn.ReLU(),
            nn.Conv3d(num_mid, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
        )
        num_in = width
        for i, num_blocks in enumerate(blocks):
            num_out, stride = width * 2**i, 1 if i == 0 else 2
            first, others = BasicBlock(num_in, num_out, stride), range(1, num_blocks)
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *(BasicBlock(num_out, num_out, 1) for _ in others)))
            num_in = num_out
        self.fc = nn.Linear(num_in, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.fc(x.mean(dim=(2, 3, 4)))[:, 0]
