"""Finds the networks in the content of a checkpoint file, and gives their tensors the names that the tables know.

Programs save a plain state dict, or one among other things: `state_dict` (CSS, EchoNet-Dynamic, Lightning), `model`,
and so on; CSS's distillation keeps its teacher as `state_dict_0` beside the student. Wrappers put their own name in
front of every tensor: `module.` (DataParallel), `model.` (Lightning), `backbone.`.
"""

import pathlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from echojax.errors import UserError
from echojax.porting.file_kinds import FileKind
from echojax.porting.torch_files import read_file

STUDENT, TEACHER = "state_dict", "state_dict_0"
PREFIXES = ("module.", "model.", "backbone.", "network.", "net.", "student.", "_orig_mod.")
_MAX_DEPTH = 3


class StateDict(NamedTuple):
    """The tensors of one network in a file.

    Attributes:
      key: where the file keeps them, for instance "state_dict"; "" when the file is nothing else.
      prefix: what was in front of the names.
      tensors: by name without prefix, in the file's order.
    """

    key: str
    prefix: str
    tensors: dict[str, np.ndarray]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def dtypes(self) -> Counter:
        """How many tensors have which type, batch counters aside."""
        return Counter(str(tensor.dtype) for tensor in self.tensors.values() if tensor.ndim)


class Source(NamedTuple):
    """A checkpoint file.

    Attributes:
      path: the file.
      kind: its format.
      entries: the numbers, strings and lists beside the networks, such as `epoch` and `frames`.
      state_dicts: the networks, in the file's order.
    """

    path: pathlib.Path
    kind: FileKind
    entries: dict[str, Any]
    state_dicts: list[StateDict]


def open_source(path: str | pathlib.Path) -> Source:
    """Reads a checkpoint file and finds the networks in it.

    Raises:
      UserError: it is no checkpoint, or there is no network in it; see also `read_file`.
    """
    path = pathlib.Path(path).expanduser()
    kind, content = read_file(path)
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} holds {_describe(content)} instead of a state dict; save model.state_dict() with torch.save"
        )
    found = [_without_prefix(key, tensors, path) for key, tensors in _find(content, "", _MAX_DEPTH)]
    if not found:
        inside = ", ".join(f"{key}: {_describe(value)}" for key, value in list(content.items())[:8]) or "nothing"
        raise UserError(f"{path} holds no network's tensors but {inside}; save model.state_dict() with torch.save")
    entries = {str(key): value for key, value in content.items() if isinstance(value, int | float | str | list)}
    return Source(path, kind, entries, found)


def _find(content: Mapping, key: str, depth: int) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """All state dicts in nested dictionaries: names with dots or without, most of them of floats."""
    tensors = {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
    if any(isinstance(name, str) and "." in name for name in tensors):
        yield key, {str(name): tensor for name, tensor in tensors.items()}
    elif depth:
        for name, value in content.items():
            if isinstance(value, Mapping) and isinstance(name, str) and "opt" not in name.lower():
                yield from _find(value, f"{key}.{name}" if key else name, depth - 1)


def _without_prefix(key: str, tensors: dict[str, np.ndarray], path: pathlib.Path) -> StateDict:
    """Takes off what wrappers put in front of names.

    `backbone.` is part of DeepLab's own names and goes only where everything has it; any other goes where most have it,
    so that a stray tensor is reported as one and does not hide the network.
    """
    whole = ""
    while prefix := next((prefix for prefix in PREFIXES if _is_prefix(prefix, tensors)), None):
        stripped = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        if len(stripped) != len(tensors):
            raise UserError(f"{path} holds some tensors twice, with and without {prefix!r} in front of their names")
        tensors, whole = stripped, whole + prefix
    return StateDict(key, whole, tensors)


def _is_prefix(prefix: str, tensors: Mapping[str, Any]) -> bool:
    num_having = sum(name.startswith(prefix) for name in tensors)
    return num_having == len(tensors) if prefix == "backbone." else num_having > len(tensors) / 2


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a tensor {value.shape}"
    if isinstance(value, Mapping):
        return f"a dictionary of {len(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"a {type(value).__name__}"
