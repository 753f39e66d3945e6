"""A network by its description: the JSON that a checkpoint carries, and the three things it becomes."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from echojax.errors import UserError
from echojax.models import functional
from echojax.models.convlstm import ConvLSTMNet
from echojax.models.deeplab import DeepLabV3
from echojax.models.echoclip import EchoClip
from echojax.models.mean import MeanNetwork
from echojax.models.resnet import ResNetBackbone
from echojax.models.video_resnet import VideoResNet
from echojax.preprocessing import Preprocessing
from echojax.train import checkpoint
from echojax.train.mesh import compiler_options


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
    """Description of the DeepLabV3-ResNet50 that a config asks for; a decoder is only spoken of where there is one."""
    return {
        "family": "deeplabv3",
        "width": network_config.width,
        "blocks": _blocks(network_config.blocks, (3, 4, 6, 3)),
        "in_channels": 3,
        "dtype": network_config.dtype,
    } | ({"decoder": network_config.decoder} if network_config.decoder else {})


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


def describe_student(student_config, dtype: str) -> dict:
    """Description of the ConvLSTM student that a config asks for."""
    return {
        "family": "convlstm",
        "variant": student_config.variant,
        "num_blocks": student_config.num_blocks,
        "num_layers": student_config.num_layers,
        "width": student_config.width,
        "in_channels": 1,
        "dtype": dtype,
    }


def describe_kind(description: dict) -> str:
    """The family in words, such as "mean of 2 deeplabv3"."""
    if description["family"] != "mean":
        return description["family"]
    members = description["members"]
    return f"mean of {len(members)} {members[0]['family']}"


def average(members: Sequence[tuple[Network, Preprocessing]]) -> Network:
    """Segmentation networks as one network, the mean of their logits, that wants the first one's preprocessing."""
    first = members[0][1]
    mean, std = np.array(first.mean), np.array(first.std)
    scales = [(std / np.array(own.std)).tolist() for _, own in members]
    offsets = [((mean - np.array(own.mean)) / np.array(own.std)).tolist() for _, own in members]
    networks = [network for network, _ in members]
    description = {
        "family": "mean",
        "members": [network.description for network in networks],
        "scales": scales,
        "offsets": offsets,
        "dtype": networks[0].description["dtype"],
    }
    params, stats = (
        {f"members.{i}.{name}": array for i, network in enumerate(networks) for name, array in part(network).items()}
        for part in (lambda network: network.params, lambda network: network.stats)
    )
    return abstract_network(description)._replace(params=params, stats=stats)


def build_network(description: dict, seed: int = 0, initial_ef: float = 55.6) -> Network:
    """Builds a network with freshly drawn weights.

    Raises:
      UserError: for an unknown family or variant, a dtype or a width that cannot be.
    """
    return Network(description, *functional.split(_build_module(description, seed, initial_ef)))


def abstract_network(description: dict) -> Network:
    """The network with `jax.ShapeDtypeStruct` in place of weights: for filling it, and for counting."""
    return Network(description, *functional.abstract(lambda: _build_module(description, 0, None)))


def _build_module(description: dict, seed: int, initial_ef: float | None) -> nnx.Module:
    arguments = {**description, "dtype": _dtype(description["dtype"])}
    family = arguments.pop("family")
    if family == "mean":
        members = [_build_module(member, seed + i, initial_ef) for i, member in enumerate(arguments["members"])]
        return MeanNetwork(members, arguments["scales"], arguments["offsets"])
    if arguments["width"] < 1:
        raise UserError(f"network.width is {arguments['width']}, expected a positive number of channels (papers: 64)")
    rng = np.random.default_rng(seed)
    try:
        if family == "deeplabv3":
            return DeepLabV3(**arguments, rng=rng)
        if family == "resnet":
            return ResNetBackbone(**arguments, rng=rng)
        if family == "video_resnet":
            return VideoResNet(**arguments, ef_bias=initial_ef, rng=rng)
        if family == "convlstm":
            return ConvLSTMNet(**arguments, rng=rng)
        if family == "echoclip":
            return EchoClip(**arguments, rng=rng)
    except ValueError as error:
        raise UserError(f"network: {error}") from error
    raise UserError(
        f"unknown network family {family!r}, expected deeplabv3, resnet, video_resnet, convlstm, echoclip or mean"
    )


def load_network(directory: str, made_by: str) -> tuple[Network, Preprocessing]:
    """Reads the network of a checkpoint directory, with its weights.

    Raises:
      UserError: when there is no checkpoint; `made_by` is the command that makes one.
    """
    path = checkpoint.find_checkpoint(directory, made_by)
    metadata = checkpoint.load_metadata(path)
    network = abstract_network(metadata.network)
    params, stats = checkpoint.load_weights(path, network.params, network.stats)
    return network._replace(params=params, stats=stats), metadata.preprocessing


def make_apply(network: Network) -> Callable:
    """The function (params, stats, x) -> the network's outputs; one and the same for networks of one description."""
    return _make_apply(network.definition, network.description["family"])


@functools.cache
def _make_apply(definition: functional.Definition, family: str) -> Callable:
    # EchoCLIP's forward pass is twice as fast without them.
    options = None if family == "echoclip" else compiler_options()

    @functools.partial(jax.jit, compiler_options=options)
    def apply(params, stats, x):
        return functional.apply(definition, params, stats, x, train=False)[0]

    return apply


def _blocks(blocks, own: tuple[int, ...]) -> list[int]:
    return list(own if tuple(blocks) == (0,) else blocks)


def _dtype(name: str):
    if name not in ("float32", "bfloat16"):
        raise UserError(f"network.dtype is {name!r}, expected float32 or bfloat16")
    return jnp.dtype(name)
