"""EchoDFKD's mask files: one per video, `<name>.seg.npz`, uint8 floor(255 sigmoid(logit)) under the key `arr_0`.

| shape               | written by                                             |
|---------------------|--------------------------------------------------------|
| `(t, 1, h, w)`      | the teacher's script                                   |
| `(1, t, 1, h, w)`   | the student's script                                   |
| `(t, h, w)`         | nobody; it is what the training script expects         |
| `(t, c, h, w)`      | older scripts, under the key `output`; channel 0 counts |
| `(t, h, w)`, `.npy` | older scripts: logits, or the mask itself (0 or 1)     |

All of them are read; axes of length one before height and width are dropped.
"""

import os
import pathlib
import zipfile
import zlib

import numpy as np

from echojax.errors import UserError
from echojax.files import replaced_file
from echojax.records.masks import MaskSet, encode_logits

SUFFIX = ".seg.npz"
# In the order in which the original looks for them, then the older scripts'.
READ_SUFFIXES = (SUFFIX, "_predictions.npz", ".npz", ".npy")


class MaskFileError(UserError):
    """A mask file cannot be used.

    Attributes:
      kind: `mask_unreadable` (damaged, or of another format) or `mask_unexpected` (another type or shape).
      text: what is wrong, without the path.
    """

    def __init__(self, path: pathlib.Path, kind: str, text: str):
        super().__init__(f"{path}: {text}")
        self.kind, self.text = kind, text


def list_seg_files(folder: os.PathLike | str) -> dict[str, pathlib.Path]:
    """Mask files of a folder by name of the video; of several for one video, the one that the original would read."""
    found: dict[str, tuple[int, pathlib.Path]] = {}
    for path in sorted(pathlib.Path(folder).iterdir()):
        rank = next((rank for rank, suffix in enumerate(READ_SUFFIXES) if path.name.endswith(suffix)), None)
        if rank is not None and not path.name.startswith("."):
            name = path.name.removesuffix(READ_SUFFIXES[rank])
            found[name] = min(found.get(name, (rank, path)), (rank, path))
    return {name: path for name, (_, path) in sorted(found.items())}


def read_seg_file(path: os.PathLike | str) -> np.ndarray:
    """Reads the masks of one video in any of the shapes above.

    Returns:
      `(t, h, w)`, uint8 probabilities times 255, or float32 logits. The 0 and 1 of a mask become 0 and 255.

    Raises:
      MaskFileError: the file is damaged, or holds something else.
    """
    path = pathlib.Path(path)
    key, array = _load(path)
    if key == "output" and array.ndim == 4:
        array = array[:, 0]
    if array.dtype == bool or (path.suffix == ".npy" and array.dtype == np.uint8 and array.max(initial=0) <= 1):
        array = array.astype(np.uint8) * 255
    lengths = [length for length in array.shape[:-2] if length != 1]
    if array.dtype not in (np.uint8, np.float32, np.float64) or array.ndim < 3 or len(lengths) > 1 or not array.size:
        text = f"holds {array.dtype} {array.shape}, expected uint8 masks or float logits (t, 1, h, w)"
        raise MaskFileError(path, "mask_unexpected", text)
    array = array.reshape(-1, *array.shape[-2:])
    if array.dtype == np.uint8:
        return array
    if not np.isfinite(array).all():
        raise MaskFileError(path, "mask_unexpected", "holds logits that are not finite")
    return array.astype(np.float32)


def write_seg_file(path: os.PathLike | str, masks: np.ndarray, layout: str = "teacher") -> None:
    """Writes the masks of one video as EchoDFKD does; the file appears whole or not at all.

    Args:
      path: named `<name>.seg.npz`.
      masks: `(t, h, w)`, uint8 as stored, or float logits, which are rounded down as the original does.
      layout: "teacher", `(t, 1, h, w)`, or "student", `(1, t, 1, h, w)`.
    """
    if layout not in ("teacher", "student"):
        raise UserError(f"layout of {SUFFIX} files is {layout!r}, expected 'teacher' or 'student'")
    masks = masks if masks.dtype == np.uint8 else encode_logits(masks, "floor")
    array = masks[:, None] if layout == "teacher" else masks[None, :, None]
    with replaced_file(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, array)


def export_seg_files(masks: MaskSet, folder: os.PathLike | str, layout: str = "teacher") -> int:
    """Writes every video's masks as `<name>.seg.npz`; files that are there are kept. Returns how many were written.

    Masks stored as `uint8` are rounded, not rounded down: choose the encoding `floor` to get the original's numbers.
    """
    written = 0
    for name in map(str, masks.name):
        path = pathlib.Path(folder) / f"{name}{SUFFIX}"
        if not path.is_file():
            write_seg_file(path, masks.record(name).frames, layout)
            written += 1
    return written


def _load(path: pathlib.Path) -> tuple[str, np.ndarray]:
    """Key and array of a file; the key of an `.npy` is empty."""
    try:
        # Opened here: NumPy leaves the file of a broken zip open.
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return "", content
            key = next((key for key in ("arr_0", "output") if key in content.files), None)
            if key is not None:
                return key, content[key]
            text = f"holds the arrays {', '.join(content.files) or 'none'}, expected arr_0 or output"
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MaskFileError(path, "mask_unreadable", f"is no readable mask file ({error})") from error
    raise MaskFileError(path, "mask_unexpected", text)
