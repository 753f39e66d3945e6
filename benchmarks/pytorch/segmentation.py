"""DeepLabV3 with a dilated ResNet-50 in PyTorch; modules bear the names of torchvision's, so that a state dict fits."""

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
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        return functional.relu(self.bn3(self.conv3(y)) + self.downsample(x), inplace=True)


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
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class AtrousPyramid(nn.Module):
    """ASPP: a 1x1, three dilated 3x3 and the image's mean, concatenated and projected."""

    def __init__(self, num_in: int, num_out: int, dropout_rate: float):
        super().__init__()

        def conv_norm(channels: int, *conv_options) -> list[nn.Module]:
            conv = nn.Conv2d(channels, num_out, *conv_options, bias=False)
            return [conv, nn.BatchNorm2d(num_out), nn.ReLU(inplace=True)]

        dilated = [nn.Sequential(*conv_norm(num_in, 3, 1, rate, rate)) for rate in RATES]
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_norm(num_in, 1))
        self.convs = nn.ModuleList([nn.Sequential(*conv_norm(num_in, 1)), *dilated, pooled])
        self.project = nn.Sequential(*conv_norm(num_out * (2 + len(RATES)), 1), nn.Dropout(dropout_rate))

    def forward(self, x: Tensor) -> Tensor:
        *maps, pooled = (branch(x) for branch in self.convs)
        return self.project(torch.cat([*maps, pooled.expand_as(maps[0])], dim=1))


class DeepLabV3(nn.Module):
    """Images (b, 3, h, w) -> logits (b, h, w) and the backbone's features (b, 32 width, h / 8, w / 8)."""

    def __init__(self, width: int, blocks: Sequence[int], dropout_rate: float):
        super().__init__()
        head = 4 * width
        self.backbone = DilatedResNet(width, blocks)
        self.classifier = nn.Sequential(
            AtrousPyramid(self.backbone.num_out, head, dropout_rate),
            nn.Conv2d(head, head, 3, padding=1, bias=False),
            nn.BatchNorm2d(head),
            nn.ReLU(inplace=True),
            nn.Conv2d(head, 1, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(x)
        logits = self.classifier(features)
        logits = functional.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return logits[:, 0], features
