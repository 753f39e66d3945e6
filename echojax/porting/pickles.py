"""What a pickle asks for, read without running it.

A pickle is a small program, and may call any function by its name. A PyTorch checkpoint needs a few names that rebuild
tensors, and may mention some harmless ones (numpy's scalars, Lightning's bookkeeping) that we can do without.
Everything else means code: such a file is not opened.
"""

import pathlib
import pickletools
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from echojax.errors import UserError
from echojax.porting.file_kinds import FileKind

# Names that rebuild tensors; PyTorch's own restricted reader decides over each of them.
_TENSORS = ("torch._utils._rebuild_", "torch._tensor._rebuild_", "torch.storage.", "torch.serialization._get_layout")
_PLAIN = {
    "collections.OrderedDict",
    "collections.Counter",
    "torch.Size",
    "torch.Tensor",
    "torch.device",
    "torch.nn.parameter.Parameter",
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.set",
    "builtins.complex",
    "__builtin__.bytearray",
    "__builtin__.set",
    "__builtin__.complex",
}
# Modules whose objects hold nothing that we want: they are replaced by empty ones, and none of their code runs.
_REPLACED = ("numpy.", "argparse.Namespace", "pathlib.", "pytorch_lightning.", "lightning.", "omegaconf.")
# A legacy file is a row of pickles: magic number, protocol, system, content, names of storages.
_LEGACY_PICKLES = 5


def names_to_replace(path: pathlib.Path, kind: FileKind) -> list[str]:
    """Names of a PyTorch file's pickle that must be replaced by something empty before it is opened.

    Raises:
      UserError: the pickle asks for code, or is damaged.
    """
    names, damage = set(), None
    try:
        for name in _names(path, kind):
            names.add(name)
    except (ValueError, EOFError, KeyError, IndexError, zipfile.BadZipFile) as error:
        damage = error
    code = sorted(name for name in names if not _is_tensor_name(name) and not name.startswith(_REPLACED))
    if code:
        shown = ", ".join(code[:5]) + (f" and {len(code) - 5} more" if len(code) > 5 else "")
        raise UserError(
            f"{path} is refused, and nothing of it was run: opening it would call {shown}, and weights need no such "
            "code. If you trust who made it, save its tensors alone where those names exist: "
            "torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'weights.pt'), or model.state_dict() of a "
            "whole saved model"
        )
    if damage:
        raise UserError(
            f"{path} is truncated or damaged: its list of tensors cannot be read ({damage}); download it again"
        ) from damage
    return sorted(name for name in names if name.startswith(_REPLACED))


def _is_tensor_name(name: str) -> bool:
    module, _, last = name.rpartition(".")
    is_dtype_or_storage = module in ("torch", "torch.cuda") and (last.endswith("Storage") or last.islower())
    return name in _PLAIN or name.startswith(_TENSORS) or is_dtype_or_storage


def _names(path: pathlib.Path, kind: FileKind) -> Iterator[str]:
    if kind is FileKind.TORCH_LEGACY:
        with open(path, "rb") as file:
            for _ in range(_LEGACY_PICKLES):
                yield from _names_of_pickle(file)
        return
    with zipfile.ZipFile(path) as archive:
        member = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
        with archive.open(member) as file:
            yield from _names_of_pickle(file)


def _names_of_pickle(file: BinaryIO) -> Iterator[str]:
    """Every `module.name` that one pickle mentions."""
    strings: list[str] = []  # the last two, which STACK_GLOBAL takes
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            yield argument.replace(" ", ".", 1)
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings)
        elif opcode.name.startswith("EXT"):
            yield f"copyreg extension {argument}"
        if isinstance(argument, str):
            strings = [*strings[-1:], argument]
