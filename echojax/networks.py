"""A network by its description: the JSON that a checkpoint carries, and the three things it becomes."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from echojax.errors import UserError
from echojax.models import functional
from echojax.models.deeplab import DeepLabV3
from echojax.models.video_resnet import VideoResNet
from echojax.preprocessing import Preprocessing
from echojax.train import checkpoint


class Network(NamedTuple):
    """A network and its weights.

    Attributes:
      description: JSON: `family`, and the arguments of that family's class.
      definition: structure, as `echojax.models.functional.split` gives it.
      params, stats: flat dictionaries of arrays.
    """

    description: dict
    definition: Any
    params: functional.Arrays
    stats: functional.Arrays


def describe_segmentation(network_config) -> dict:
    """Description of the DeepLabV3-ResNet50 that a config asks for."""
    return {
        "family": "deeplabv3",
        "width": network_config.width,
        "blocks": _blocks(network_config.blocks, (3, 4, 6, 3)),
        "in_channels": 3,
        "dtype": network_config.dtype,
    }


def describe_video(network_config, in_channels: int) -> dict:
    """Description of the video network that a config asks for."""
    return {
        "family": "video_resnet",
        "variant": network_config.variant,
        "width": network_config.width,
        "blocks": _blocks(network_config.blocks, (2, 2, 2, 2)),
        "in_channels": in_channels,
        "dtype": network_config.dtype,
    }


def build_network(description: dict, seed: int = 0, initial_ef: float = 55.6) -> Network:
    """Builds a network with freshly drawn weights.

    Raises:
      UserError: for an unknown family or variant, a dtype or a width that cannot be.
    """
    arguments = {**description, "dtype": _dtype(description["dtype"])}
    family = arguments.pop("family")
    if arguments["width"] < 1:
        raise UserError(f"network.width is {arguments['width']}, expected a positive number of channels (papers: 64)")
    rng = np.random.default_rng(seed)
    try:
        if family == "deeplabv3":
            model = DeepLabV3(**arguments, rng=rng)
        elif family == "video_resnet":
            model = VideoResNet(**arguments, ef_bias=initial_ef, rng=rng)
        else:
            raise UserError(f"unknown network family {family!r}, expected deeplabv3 or video_resnet")
    except ValueError as error:
        raise UserError(f"network: {error}") from error
    return Network(description, *functional.split(model))


def load_network(directory: str, made_by: str) -> tuple[Network, Preprocessing]:
    """Reads the network of a checkpoint directory, with its weights.

    Raises:
      UserError: when there is no checkpoint; `made_by` is the command that makes one.
    """
    path = checkpoint.find_checkpoint(directory, made_by)
    metadata = checkpoint.load_metadata(path)
    network = build_network(metadata.network)
    params, stats = checkpoint.load_weights(path, network.params, network.stats)
    return network._replace(params=params, stats=stats), metadata.preprocessing


def _blocks(blocks, own: tuple[int, ...]) -> list[int]:
    return list(own if tuple(blocks) == (0,) else blocks)


def _dtype(name: str):
    if name not in ("float32", "bfloat16"):
        raise UserError(f"network.dtype is {name!r}, expected float32 or bfloat16")
    return jnp.dtype(name)
