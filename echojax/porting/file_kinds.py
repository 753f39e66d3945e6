"""What a file is, told by its bytes before anything tries to open it.

Only three kinds can be ported: PyTorch's zip, PyTorch's format before version 1.6, and safetensors. Whatever else
people happen to have under a name like `best.pt` is refused with what it is and what to do.
"""

import enum
import json
import pathlib
import struct
import zipfile
from typing import NamedTuple

from echojax.errors import UserError


class FileKind(enum.Enum):
    """A file that holds weights."""

    TORCH_ZIP = "PyTorch's format (zip)"
    TORCH_LEGACY = "PyTorch's format before 1.6"
    SAFETENSORS = "safetensors"


class Signature(NamedTuple):
    """Bytes at a place in a file (from its end where negative) that tell what it is, and what to do about it."""

    offset: int
    magic: bytes
    what: str
    advice: str


WANTED = "expected a checkpoint written by torch.save (.pt, .pth, .ckpt, .bin) or a .safetensors file"
_CONVERT = "convert it to PyTorch or safetensors with the library that wrote it"
_UNPACK = "unpack it first"
_NOT_WEIGHTS = "it holds no weights"
SIGNATURES = (
    Signature(0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it", _CONVERT),
    Signature(0, b"\x93NUMPY", "one NumPy array (.npy)", _CONVERT),
    Signature(0, b"GGUF", "a GGUF file", _CONVERT),
    Signature(4, b"TFL3", "a TensorFlow Lite model", _CONVERT),
    Signature(-8, b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "the index of a TensorFlow checkpoint", _CONVERT),
    Signature(0, b"\x1f\x8b", "compressed with gzip", _UNPACK),
    Signature(0, b"BZh", "compressed with bzip2", _UNPACK),
    Signature(0, b"\xfd7zXZ\x00", "compressed with xz", _UNPACK),
    Signature(0, b"\x28\xb5\x2f\xfd", "compressed with zstandard", _UNPACK),
    Signature(0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    Signature(0, b"Rar!", "a RAR archive", _UNPACK),
    Signature(257, b"ustar", "a tar archive", _UNPACK),
    Signature(0, b"RIFF", "a video (AVI)", _NOT_WEIGHTS),
    Signature(4, b"ftyp", "a video (MP4)", _NOT_WEIGHTS),
    Signature(128, b"DICM", "a DICOM file", _NOT_WEIGHTS),
    Signature(0, b"%PDF", "a PDF", _NOT_WEIGHTS),
    Signature(0, b"\x89PNG", "a picture (PNG)", _NOT_WEIGHTS),
    Signature(0, b"\xff\xd8\xff", "a picture (JPEG)", _NOT_WEIGHTS),
)
# How torch.save begins a file before version 1.6: a pickle of this very number.
_LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_HEAD_BYTES = 4096


def identify(path: pathlib.Path) -> FileKind:
    """Tells which of the formats with weights a file has.

    Raises:
      UserError: it has none of them, is damaged or is no file; the text says what it is instead.
    """
    if path.is_dir():
        raise UserError(_describe_folder(path))
    if not path.exists():
        raise UserError(f"{path}: no such file")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path} is empty (0 bytes); download it again")
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(max(0, size - _HEAD_BYTES))
        tail = file.read()
    if head.startswith(b"PK\x03\x04"):
        return _identify_zip(path, size)
    if head[:1] == b"\x80" and _LEGACY_MAGIC in head[:20]:
        return FileKind.TORCH_LEGACY
    if _is_safetensors(head):
        return FileKind.SAFETENSORS
    raise UserError(f"{path} is {_describe(head, tail, path)}; {WANTED}")


def _identify_zip(path: pathlib.Path, size: int) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        raise UserError(
            f"{path} is truncated: it begins as PyTorch's zip format, but its end is missing ({size:,} bytes are "
            "here); download it again and compare the size"
        ) from None
    endings = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in endings:
        what = "a TorchScript program, weights and code in one; save its state_dict() with torch.save instead"
    elif "data.pkl" in endings:
        return FileKind.TORCH_ZIP
    elif names and all(name.endswith(".npy") for name in names):
        what = f"a NumPy archive (.npz); {_CONVERT}"
    elif "model.weights.h5" in endings:
        what = f"a Keras model; {_CONVERT}"
    else:
        what = f"a zip archive of {len(names)} files (first: {', '.join(names[:3])}); {_UNPACK}"
    raise UserError(f"{path} is {what}; {WANTED}")


def _is_safetensors(head: bytes) -> bool:
    """The format begins with the length of a JSON header, and that header."""
    return len(head) > 8 and head[8:9] == b"{" and 0 < struct.unpack("<Q", head[:8])[0] < 100_000_000


def _describe(head: bytes, tail: bytes, path: pathlib.Path) -> str:
    for signature in SIGNATURES:
        place = head[signature.offset :] if signature.offset >= 0 else tail[signature.offset :]
        if place.startswith(signature.magic):
            return f"{signature.what}; {signature.advice}"
    text = _as_text(head)
    if text is not None:
        return _describe_text(text)
    if _is_onnx(head):
        return f"an ONNX model; {_CONVERT}"
    if path.suffix in (".pb", ".meta") or ".data-0000" in path.name:
        return f"part of a TensorFlow model; {_CONVERT}"
    if head[:1] == b"\x80" and head[1] <= 5:
        return (
            "a plain Python pickle, which can run any code when it is opened and is not opened here; where it was "
            "made, save its weights with torch.save"
        )
    return f"of no known kind (it begins with {head[:8].hex(' ')})"


def _as_text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character in "\r\n\t" for character in text) else None


def _describe_text(text: str) -> str:
    lowered = text.lstrip("\ufeff \r\n\t").lower()
    if lowered.startswith("version https://git-lfs"):
        size = next((line.split()[1] for line in text.splitlines() if line.startswith("size ")), "?")
        return f"a Git LFS pointer, not the file of {size} bytes that it stands for; fetch that with: git lfs pull"
    if "<html" in lowered or lowered.startswith("<!doctype html"):
        return "an HTML page: the download was a web page (a login or a confirmation), not the file; download it again"
    if lowered.startswith(("c", "(")) and lowered.rstrip().endswith("."):
        return "a Python pickle in text form, which can run any code when it is opened and is not opened here"
    if lowered.startswith("<"):
        return "an XML file, perhaps a server's error message; download it again"
    if _is_json(text):
        return "a JSON file (a config, an index or a server's error message), not the weights beside it"
    return f"text ({text.strip().splitlines()[0][:60]!r})" if text.strip() else "blank text"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return text.lstrip().startswith('{"') or text.lstrip().startswith("{\n")
    return True


def _is_onnx(head: bytes) -> bool:
    """ONNX is a protocol buffer that begins with its version and the name of what made it."""
    return len(head) > 4 and head[0] == 0x08 and head[1] < 0x40 and head[2] in (0x12, 0x3A)


def _describe_folder(path: pathlib.Path) -> str:
    found = sorted(p.name for p in path.iterdir() if p.suffix in (".pt", ".pth", ".ckpt", ".bin", ".safetensors"))
    if (path / "saved_model.pb").exists():
        return f"{path} is a TensorFlow SavedModel folder; {_CONVERT}; {WANTED}"
    if (path / "data.pkl").exists():
        return f"{path} is the unpacked zip of a PyTorch file; give the file itself"
    if (path / "best").is_dir() or (path / "checkpoints").is_dir():
        return f"{path} is a folder with an echojax checkpoint already; open it with echojax.load({str(path)!r})"
    inside = f"one of those in it ({', '.join(found)})" if found else "which none in it is"
    return f"{path} is a folder; give the checkpoint file itself, {inside}"
