"""One file to one clip, whatever its kind."""

import os
import pathlib
from collections.abc import Callable

from echojax.reading.clip import MAX_BYTES, Clip, ClipError, check_contrast, in_words
from echojax.reading.find import Source, name_of
from echojax.reading.kinds import recognise


def read_clip(source: Source | os.PathLike | str, keep_names: bool = False, max_bytes: int = MAX_BYTES) -> Clip:
    """Reads a video, DICOM, NIfTI or NumPy file.

    Args:
      source: a path, or what `find_clips` found, whose name is then kept.
      keep_names: name a DICOM after its file instead of a hash of its content.
      max_bytes: decoded size that is refused before decoding. Decoding may need twice as much memory.

    Raises:
      ClipError: the file gives no clip; `reason` is a word for programs, the text one line for people.
    """
    if not isinstance(source, Source):
        path = pathlib.Path(source)
        kind = recognise(path)
        source = Source(path, kind, name_of(path, kind, keep_names))
    path = source.path
    num_bytes = path.stat().st_size
    if num_bytes > max_bytes:
        raise ClipError(
            path,
            "too_large",
            f"the file has {in_words(num_bytes)}, more than the {in_words(max_bytes)} allowed; cut it",
        )
    try:
        clip = _reader(source.kind.reader)(path, source.name, source.kind.name, max_bytes)
    except (MemoryError, OSError) as error:
        text = "does not fit into memory" if isinstance(error, MemoryError) else "cannot be read from the disk"
        raise ClipError(path, "unreadable", text) from error
    check_contrast(path, clip.frames)
    return clip


def _reader(name: str) -> Callable[[pathlib.Path, str, str, int], Clip]:
    """Imports the reader that is needed: OpenCV and pydicom take a while to load."""
    if name == "video":
        from echojax.reading.containers import read_container

        return read_container
    if name == "dicom":
        from echojax.reading.dicom import read_dicom

        return read_dicom
    if name == "nifti":
        from echojax.reading.nifti import read_nifti

        return read_nifti
    from echojax.reading.npy import read_npy

    return read_npy
