"""EchoCLIP's towers in PyTorch, at any width and depth, to compare ours with.

Modules bear open_clip's and timm's names, so that a state dict reads the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, norm over the channels, two linear layers with GELU between, layer scale, shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.conv_dw = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv_dw(x).permute(0, 2, 3, 1))
        y = self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](y)))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (n, c, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Norm and strided convolution where the width changes, then blocks."""

    def __init__(self, num_in: int, num_out: int, depth: int):
        super().__init__()
        halving = [LayerNorm2d(num_in, eps=1e-6), nn.Conv2d(num_in, num_out, 2, 2)]
        self.downsample = nn.Sequential(*halving) if num_in != num_out else nn.Identity()
        self.blocks = nn.Sequential(*[ConvNextBlock(num_out) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class ImageTower(nn.Module):
    """ConvNeXt `trunk`, mean over space, norm, and the projection `head`."""

    def __init__(self, width: int, depths: Sequence[int], embedding: int):
        super().__init__()
        widths = [width * 2**stage for stage in range(len(depths))]
        stages = [Stage(*sizes) for sizes in zip([width, *widths], widths, depths, strict=False)]
        self.trunk = nn.ModuleDict(
            {
                "stem": nn.Sequential(nn.Conv2d(3, width, 4, 4), LayerNorm2d(width, eps=1e-6)),
                "stages": nn.Sequential(*stages),
                "head": nn.ModuleDict({"norm": nn.LayerNorm(widths[-1], eps=1e-6)}),
            }
        )
        self.head = nn.ModuleDict({"proj": nn.Linear(widths[-1], embedding, bias=False)})

    def forward(self, images: Tensor) -> Tensor:
        maps = self.trunk["stages"](self.trunk["stem"](images))
        return self.head["proj"](self.trunk["head"]["norm"](maps.mean((2, 3))))


class ResidualBlock(nn.Module):
    """One layer of CLIP's text Transformer."""

    def __init__(self, width: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp["c_proj"](nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x))))


class EchoClip(nn.Module):
    """Both towers; parameters of the network itself come first in its state dict, as in open_clip."""

    def __init__(
        self,
        width: int,
        blocks: Sequence[int],
        embedding: int,
        text_width: int,
        text_depth: int,
        vocabulary: int,
        context_length: int,
    ):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(context_length, text_width))
        self.text_projection = nn.Parameter(torch.zeros(text_width, embedding))
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.visual = ImageTower(width, blocks, embedding)
        layers = nn.ModuleList([ResidualBlock(text_width) for _ in range(text_depth)])
        self.transformer = nn.ModuleDict({"resblocks": layers})
        self.token_embedding = nn.Embedding(vocabulary, text_width)
        self.ln_final = nn.LayerNorm(text_width)

    def encode_text(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        mask = torch.full((length, length), -torch.inf, dtype=self.text_projection.dtype).triu(1)
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        for layer in self.transformer["resblocks"]:
            x = layer(x, mask)
        x = self.ln_final(x)
        return x[torch.arange(len(x)), tokens.argmax(-1)] @ self.text_projection
