"""Checkpoint directories to PyTorch's files, under the names, in the order and in the place of the original programs.

    export("runs/css", "css.pt")           # torch.load("css.pt")["state_dict"] goes into the original's network

What was ported returns as it was: same tensors, types, names and batch counters. What was trained here is float32, in
the place where the original program keeps it. Beside the tensors stand what a PyTorch program must know to use them:
`mean`, `std`, `size`, and `frames` and `period` of a video network. Files of one flat state dict hold tensors alone.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from echojax.errors import UserError
from echojax.networks import abstract_network
from echojax.porting.families import Wrapping, family_of
from echojax.porting.names import to_torch
from echojax.porting.port import TEACHER_FOLDER
from echojax.porting.source import STUDENT, TEACHER
from echojax.porting.torch_files import write_file
from echojax.preprocessing import Preprocessing
from echojax.train import checkpoint


class Exported(NamedTuple):
    """One network as PyTorch has it: where a file keeps it, its tensors, and what is to be known of its input."""

    key: str
    tensors: dict[str, np.ndarray]
    preprocessing: Preprocessing
    stage: str


def export(checkpoint_dir: str | pathlib.Path, file: str | pathlib.Path) -> list[Exported]:
    """Writes the network of a checkpoint directory for PyTorch.

    Args:
      checkpoint_dir: a run, a `best` or a step; a ported student's teacher beside it goes into the same file.
      file: where to; a name that ends in .safetensors gets that format.

    Returns:
      What was written.

    Raises:
      UserError: there is no checkpoint, or PyTorch's originals have no such network.
    """
    file = pathlib.Path(file).expanduser()
    if file.is_dir():
        raise UserError(f"{file} is a folder; expected the name of a file such as {file / 'weights.pt'}")
    student = _read(checkpoint_dir)
    if file.suffix == ".safetensors":
        write_file(file, student.tensors, _entries(student.preprocessing))
        return [student]
    if not student.key:
        write_file(file, student.tensors, {})
        return [student]
    networks = [student]
    beside = pathlib.Path(checkpoint_dir).expanduser() / TEACHER_FOLDER
    if student.key == STUDENT and student.stage == "port" and (beside / "best").is_dir():
        networks.append(_read(beside))
    else:
        # A teacher by itself is what the original's other programs look for under this name.
        networks = [student._replace(key=STUDENT if student.key == TEACHER else student.key)]
    write_file(file, _nest({network.key: network.tensors for network in networks}), _entries(student.preprocessing))
    return networks


def _read(checkpoint_dir: str | pathlib.Path) -> Exported:
    path = checkpoint.find_checkpoint(checkpoint_dir, "any stage, or echojax port")
    metadata = checkpoint.load_metadata(path)
    if metadata.network.get("variant") == "improved":
        raise UserError(f"{checkpoint_dir} holds the improved ConvLSTM student, which PyTorch's EchoDFKD cannot run")
    network = abstract_network(metadata.network)
    params, stats = checkpoint.load_weights(path, network.params, network.stats)
    family = family_of(metadata.network)
    ported = metadata.config.get("port", {}) if metadata.stage == "port" else {}
    tensors = to_torch(params, stats, family.table, ported.get("num_batches", metadata.step))
    wrapping = Wrapping(ported["key"], ported["prefix"]) if ported else family.wrapping
    types = ported.get("dtypes", {})
    named = {f"{wrapping.prefix}{name}": _as_type(tensor, types.get(name)) for name, tensor in tensors.items()}
    return Exported(wrapping.key, named, metadata.preprocessing, metadata.stage)


def _as_type(tensor: np.ndarray, dtype: str | None) -> np.ndarray:
    if dtype is None:
        return tensor
    return tensor.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype))


def _entries(preprocessing: Preprocessing) -> dict[str, Any]:
    entries = {"mean": list(preprocessing.mean), "std": list(preprocessing.std), "size": list(preprocessing.size)}
    if preprocessing.num_frames:
        entries |= {"frames": preprocessing.num_frames, "period": preprocessing.period}
    return entries | ({"decimate": preprocessing.decimate} if preprocessing.decimate != 1 else {})


def _nest(networks: Mapping[str, dict]) -> dict:
    """Keys such as "ema.model" are dictionaries in one another."""
    content: dict = {}
    for key, tensors in networks.items():
        *outer, last = key.split(".")
        place = content
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = tensors
    return content
