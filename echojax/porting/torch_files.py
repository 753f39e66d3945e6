"""PyTorch's and safetensors' files <-> NumPy arrays: the one place that imports torch.

Files are opened with `weights_only=True`, and what they are and ask for is looked at before (`file_kinds`, `pickles`),
so that most wrong files are explained without torch. Tensors stay mapped from the file until they are used.
"""

import json
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors.numpy

from echojax.errors import UserError
from echojax.files import replaced_file
from echojax.porting.file_kinds import FileKind, identify
from echojax.porting.pickles import names_to_replace


class Replaced:
    """Stands for an object of a checkpoint that is no tensor and whose class is not loaded: it holds nothing."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def read_file(path: pathlib.Path) -> tuple[FileKind, Any]:
    """Reads a checkpoint file: its kind, and its content with NumPy arrays in place of tensors.

    Tensors on a GPU come to the CPU; bfloat16 becomes ml_dtypes.bfloat16.

    Raises:
      UserError: the file is of another kind, damaged, asks for code, or torch is needed and not installed.
    """
    kind = identify(path)
    if kind is FileKind.SAFETENSORS:
        return kind, _read_safetensors(path)
    replaced = names_to_replace(path, kind)
    return kind, _read_torch(path, kind, replaced)


def write_file(path: pathlib.Path, tensors: Mapping[str, Any], entries: Mapping[str, Any]) -> None:
    """Writes a checkpoint file whole or not at all.

    Args:
      path: a name that ends in .safetensors gets that format, any other torch.save's.
      tensors: arrays by name, or such dictionaries by name; safetensors holds the former alone.
      entries: numbers, strings and lists beside them; metadata (as JSON) in safetensors.
    """
    if path.suffix == ".safetensors":
        texts = {key: json.dumps(value) for key, value in entries.items()}
        contiguous = {name: np.asarray(array, order="C") for name, array in tensors.items()}
        with replaced_file(path) as temporary:
            safetensors.numpy.save_file(contiguous, temporary, texts)
        return
    torch = _import_torch(f"writing {path}")
    with replaced_file(path) as temporary:
        torch.save(_to_torch({**tensors, **entries}, torch), temporary)


def _import_torch(purpose: str):
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f'{purpose} needs PyTorch, which is not installed: pip install "echojax[port]" (safetensors needs none)'
        ) from error
    return torch


def _read_safetensors(path: pathlib.Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, "np") as file:
            entries = {key: _parse_entry(text) for key, text in (file.metadata() or {}).items()}
            return entries | {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (safetensors.SafetensorError, TypeError) as error:
        raise UserError(
            f"{path} is truncated or damaged: it begins as safetensors, but {str(error).strip()}; download it again"
        ) from error


def _parse_entry(text: str) -> Any:
    """Metadata that we wrote is JSON; that of others is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_torch(path: pathlib.Path, kind: FileKind, replaced: list[str]) -> Any:
    torch = _import_torch(f"{path} is in {kind.value}; reading it")
    # The old format cannot be mapped.
    mmap = kind is FileKind.TORCH_ZIP
    try:
        with torch.serialization.safe_globals([(Replaced, name) for name in replaced]):
            content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused, and nothing of it was run: PyTorch's restricted reader says "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"{path} is truncated or damaged: {reason or type(error).__name__}; download it again"
        ) from error
    return _to_numpy(content, torch, str(path))


def _to_numpy(content: Any, torch, where: str) -> Any:
    if isinstance(content, dict):
        return {key: _to_numpy(value, torch, where) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_to_numpy(value, torch, where) for value in content]
    if not isinstance(content, torch.Tensor):
        return content
    if content.layout != torch.strided or content.is_quantized:
        raise UserError(f"{where} holds sparse or quantised tensors; expected plain ones")
    content = content.detach()
    if content.dtype == torch.bfloat16:
        return content.contiguous().view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return content.numpy()


def _to_torch(content: Any, torch) -> Any:
    if isinstance(content, Mapping):
        return {key: _to_torch(value, torch) for key, value in content.items()}
    if not isinstance(content, np.ndarray):
        return content
    if content.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(content.view(np.uint16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(content, order="C"))
