"""Networks of every family, narrow enough to be built in a moment, and their weights as PyTorch programs save them."""

import pathlib

import numpy as np
from safetensors.numpy import save_file

from echojax.networks import abstract_network
from echojax.porting.families import family_of
from echojax.porting.names import to_torch

BLOCKS = [1, 2, 1, 1]
DEEPLAB = {"family": "deeplabv3", "width": 4, "blocks": BLOCKS, "in_channels": 3, "dtype": "float32"}
RESNET = {**DEEPLAB, "family": "resnet"}


def video(variant: str = "r2plus1d_18", in_channels: int = 3, **arguments) -> dict:
    return {**RESNET, "family": "video_resnet", "variant": variant, "in_channels": in_channels, **arguments}


def convlstm(num_blocks: int = 2, num_layers: int = 2) -> dict:
    return {
        "family": "convlstm",
        "variant": "reference",
        "num_blocks": num_blocks,
        "num_layers": num_layers,
        "width": 2,
        "in_channels": 1,
        "dtype": "float32",
    }


ECHOCLIP = {
    "family": "echoclip",
    "width": 4,
    "blocks": [1, 1, 2, 1],
    "embedding": 8,
    "text_width": 64,
    "text_depth": 2,
    "vocabulary": 50,
    "context_length": 7,
    "dtype": "float32",
}

DESCRIPTIONS = {
    "segmentation": DEEPLAB,
    "coco": {**DEEPLAB, "num_outputs": 21},
    "imagenet": RESNET,
    "ef": video(),
    "teacher": video(in_channels=4),
    "r3d": video("r3d_18"),
    "mc3": video("mc3_18"),
    "kinetics": video(num_outputs=400),
    "convlstm_11": convlstm(1, 1),
    "convlstm_23": convlstm(2, 3),
    "convlstm_41": convlstm(4, 1),
    "echoclip": ECHOCLIP,
}


def narrow_state_dict(description: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict in PyTorch's order; variances positive, batch counters 100."""
    rng = np.random.default_rng(seed)
    network = abstract_network(description)
    params, stats = (
        {name: rng.uniform(0.05, 0.4, a.shape).astype(np.float32) for name, a in part.items()}
        for part in (network.params, network.stats)
    )
    return to_torch(params, stats, family_of(description).table, num_batches=100)


def save_weights(path: pathlib.Path, state_dict: dict[str, np.ndarray], prefix: str = "module.") -> pathlib.Path:
    """Writes a safetensors file, for which PyTorch is not needed."""
    save_file({f"{prefix}{name}": np.asarray(tensor, order="C") for name, tensor in state_dict.items()}, path)
    return path
