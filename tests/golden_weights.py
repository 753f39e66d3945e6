"""Rebuilds the weights that the golden files were computed with, from the names and shapes of their tensors alone.

Files in tests/goldens hold what the PyTorch originals compute with these weights (PyTorch's layout). A tensor depends
on its own name only, so that a part of a network can be rebuilt by itself.
"""

import json
import pathlib
import zlib

import numpy as np

GOLDENS = pathlib.Path(__file__).parent / "goldens"


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of tests/goldens/<name>.npz; inputs stored as float16 become float32."""
    with np.load(GOLDENS / f"{name}.npz") as arrays:
        return {key: a.astype(np.float32) if a.dtype == np.float16 else a for key, a in arrays.items()}


def tensor_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors, in PyTorch's order."""
    return {name: tuple(shape) for name, shape in json.loads((GOLDENS / f"{network}_tensors.json").read_text())}


def golden_tensor(name: str, shape: tuple[int, ...], seed: int = 0, clip: bool = False) -> np.ndarray:
    """The tensor of this name and shape; `clip` for EchoCLIP's, whose embeddings and norms are drawn otherwise."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    leaf = name.rpartition(".")[2]
    if clip and name == "logit_scale":
        return np.float32(np.log(1 / 0.07))
    if clip and name in ("positional_embedding", "token_embedding.weight"):
        return (rng.standard_normal(shape) * 0.05).astype(np.float32)
    if clip and leaf == "gamma":
        return np.full(shape, 0.1, np.float32)
    if clip and (name.endswith("norm.weight") or name == "ln_final.weight" or (".ln_" in name and leaf == "weight")):
        return np.ones(shape, np.float32)
    if leaf == "num_batches_tracked":
        return np.array(100, np.int64)
    if leaf == "running_var":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) >= 2:
        return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    if leaf == "weight":
        return rng.uniform(0.25, 0.75, shape).astype(np.float32)
    return (0.1 * rng.standard_normal(shape)).astype(np.float32)


def golden_state_dict(network: str) -> dict[str, np.ndarray]:
    """All tensors of a network whose names and shapes are in tests/goldens."""
    is_clip = network == "echoclip"
    return {name: golden_tensor(name, shape, clip=is_clip) for name, shape in tensor_shapes(network).items()}
