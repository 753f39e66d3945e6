"""The networks that can be ported: how each is recognised by names and shapes, and what its input is to be.

A description is the JSON of `echojax.networks` from which the network is built. Where the tensor that would give an
argument is missing, the paper's value stands in, so that the accounting of `from_torch` can list what is missing.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

from echojax.porting.convlstm import CONVLSTM
from echojax.porting.echoclip import ECHOCLIP
from echojax.porting.names import Table
from echojax.porting.residual import DEEPLAB, MC3, R2PLUS1D, R3D, RESNET

Shapes = Mapping[str, tuple[int, ...]]


class Wrapping(NamedTuple):
    """How the original program keeps a network's tensors: under which key, and with what in front of their names."""

    key: str
    prefix: str


class Family(NamedTuple):
    """A kind of network.

    Attributes:
      name: as --network takes it.
      title: for people.
      table: its names.
      describe: the network's description from the shapes of a state dict without prefixes; None if it is another.
      wrapping: the original program's.
    """

    name: str
    title: str
    table: Table
    describe: Callable[[Shapes], dict | None]
    wrapping: Wrapping


def _size(shapes: Shapes, name: str, axis: int, default: int) -> int:
    shape = shapes.get(name, ())
    return shape[axis] if axis < len(shape) else default


def _count(shapes: Shapes, template: str) -> int:
    """How many numbers, from 0 on, stand at the `{}` of a module's name."""
    modules = {name[:end] for name in shapes for end, character in enumerate(name) if character == "."}
    return next(number for number in itertools.count() if template.format(number) not in modules)


def _describe_residual(shapes: Shapes, prefix: str, family: str, usual: tuple[int, ...], **arguments) -> dict:
    blocks = [_count(shapes, f"{prefix}layer{layer}.{{}}") for layer in range(1, 5)]
    return {"family": family, **arguments, "blocks": blocks if all(blocks) else list(usual), "dtype": "float32"}


def _num_outputs(shapes: Shapes, name: str) -> dict[str, int]:
    """The argument `num_outputs`, where it is not the 1 of our own networks."""
    found = _size(shapes, name, 0, 1)
    return {} if found == 1 else {"num_outputs": found}


def _describe_deeplab(shapes: Shapes) -> dict | None:
    if not any(name.startswith("classifier.0.convs.") for name in shapes):
        return None
    width = _size(shapes, "backbone.conv1.weight", 0, 64)
    outputs = _num_outputs(shapes, "classifier.4.weight")
    return _describe_residual(shapes, "backbone.", "deeplabv3", (3, 4, 6, 3), width=width, in_channels=3, **outputs)


def _describe_resnet(shapes: Shapes) -> dict | None:
    if "layer1.0.conv3.weight" not in shapes or len(shapes["layer1.0.conv3.weight"]) != 4:
        return None
    width = _size(shapes, "conv1.weight", 0, 64)
    return _describe_residual(shapes, "", "resnet", (3, 4, 6, 3), width=width, in_channels=3)


def _video_variant(shapes: Shapes) -> str | None:
    if "layer1.0.conv1.0.0.weight" in shapes:
        return "r2plus1d_18"
    if len(shapes.get("layer1.0.conv1.0.weight", ())) != 5:
        return None
    # All stages of R3D have taps in time, of MC3 the first alone.
    return "r3d_18" if _size(shapes, "layer2.0.conv1.0.weight", 2, 1) == 3 else "mc3_18"


def _describe_video(variant: str) -> Callable[[Shapes], dict | None]:
    def describe(shapes: Shapes) -> dict | None:
        if _video_variant(shapes) != variant:
            return None
        width = _size(shapes, "stem.3.weight" if variant == "r2plus1d_18" else "stem.0.weight", 0, 64)
        channels = _size(shapes, "stem.0.weight", 1, 3)
        return _describe_residual(
            shapes,
            "",
            "video_resnet",
            (2, 2, 2, 2),
            variant=variant,
            width=width,
            in_channels=channels if channels in (3, 4) else 3,
            **_num_outputs(shapes, "fc.weight"),
        )

    return describe


def _describe_convlstm(shapes: Shapes) -> dict | None:
    blocks, layers = "conv_lstm_blocks.{}", "conv_lstm_blocks.0.conv_lstm_layers.{}"
    if not any(name.startswith(layers.format(0)) for name in shapes):
        return None
    width = _size(shapes, f"{layers.format(0)}.cell.conv.weight", 0, 48) // 4
    finest = _count(shapes, "conv_lstm_upsampling.{}") - 1
    seen = _size(shapes, f"conv_lstm_upsampling.{finest}.conv_lstm_layers.1.layer.weight", 1, 2 * width)
    return {
        "family": "convlstm",
        # With skip connections the decoder sees three widths instead of two.
        "variant": "improved" if seen == 3 * width else "reference",
        "num_blocks": _count(shapes, blocks),
        # Recurrent layers and norms are counted through; the pooling between blocks has no tensors.
        "num_layers": -(-_count(shapes, layers) // 2),
        "width": width,
        "in_channels": 1,
        "dtype": "float32",
    }


def _describe_echoclip(shapes: Shapes) -> dict | None:
    stages = "visual.trunk.stages.{}"
    if not any(name.startswith(stages.format(0)) for name in shapes) or "token_embedding.weight" not in shapes:
        return None
    return {
        "family": "echoclip",
        "width": _size(shapes, "visual.trunk.stem.0.weight", 0, 128),
        "blocks": [_count(shapes, f"visual.trunk.stages.{stage}.blocks.{{}}") for stage in range(4)],
        "embedding": _size(shapes, "visual.head.proj.weight", 0, 512),
        "text_width": _size(shapes, "token_embedding.weight", 1, 512),
        "text_depth": _count(shapes, "transformer.resblocks.{}"),
        "vocabulary": _size(shapes, "token_embedding.weight", 0, 49408),
        "context_length": _size(shapes, "positional_embedding", 0, 77),
        "dtype": "float32",
    }


_PARALLEL = Wrapping("state_dict", "module.")
_PLAIN = Wrapping("", "")
_EF = "ejection fraction from video (EchoNet-Dynamic, CSS) or Kinetics"

FAMILIES = {
    family.name: family
    for family in (
        Family("deeplabv3", "DeepLabV3-ResNet50, segmentation", DEEPLAB, _describe_deeplab, _PARALLEL),
        Family("r2plus1d_18", f"R(2+1)D-18, {_EF}", R2PLUS1D, _describe_video("r2plus1d_18"), _PARALLEL),
        Family("r3d_18", f"R3D-18, {_EF}", R3D, _describe_video("r3d_18"), _PARALLEL),
        Family("mc3_18", f"MC3-18, {_EF}", MC3, _describe_video("mc3_18"), _PARALLEL),
        Family("resnet50", "ResNet-50 of ImageNet, to start segmentation from", RESNET, _describe_resnet, _PLAIN),
        Family(
            "convlstm", "ConvLSTM student of EchoDFKD", CONVLSTM, _describe_convlstm, Wrapping("state_dict", "model.")
        ),
        Family("echoclip", "EchoCLIP", ECHOCLIP, _describe_echoclip, _PLAIN),
    )
}


class Recognised(NamedTuple):
    """A network by its names and shapes."""

    family: Family
    description: dict

    @property
    def is_start(self) -> bool:
        """Whether it has a head of another task (ImageNet, COCO, Kinetics) and can only be trained from."""
        return self.family.name == "resnet50" or "num_outputs" in self.description


def recognise(shapes: Shapes, network: str = "auto") -> Recognised | None:
    """The network that a state dict without prefixes holds; `network` asks for one family. None if it is no such."""
    families = FAMILIES.values() if network == "auto" else [FAMILIES[network]]
    for family in families:
        description = family.describe(shapes)
        if description is not None:
            return Recognised(family, description)
    return None


def family_of(description: Mapping) -> Family:
    """The family of a network's description."""
    name = {"resnet": "resnet50"}.get(description["family"], description.get("variant"))
    return FAMILIES[name if name in FAMILIES else description["family"]]
