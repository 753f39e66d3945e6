"""Which files of a heap of paths are clips, and what their results shall be called."""

import hashlib
import itertools
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from echojax.reading.clip import ClipError
from echojax.reading.kinds import DICOM, Kind, recognise

# A file so named is meant to be a clip: if it is none, that is a failure and not a bystander.
CLIP_SUFFIXES = (
    ".avi", ".mp4", ".m4v", ".mov", ".gif", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".dcm", ".dicom", ".nii", ".npy",
)  # fmt: skip
_HASH_DIGITS = 12


class Source(NamedTuple):
    """A file that holds a clip; `name` is unique among those found together and fit for a folder."""

    path: pathlib.Path
    kind: Kind
    name: str


class Skipped(NamedTuple):
    """A file that holds none, with its reason; a failure if it was asked for by name or by its extension."""

    path: pathlib.Path
    error: ClipError
    is_failure: bool


class Found(NamedTuple):
    sources: list[Source]
    skipped: list[Skipped]


def find_clips(paths: Iterable[str | os.PathLike], keep_names: bool = False) -> Found:
    """Finds the clips among files and folders, in the order of their paths; nothing is decoded.

    Folders are walked to their ends, links followed once; hidden files are passed over. Each file is recognised by its
    content, so that DICOMs without an extension are found. A file reached twice counts once.

    Args:
      paths: files and folders, in any mixture.
      keep_names: name DICOMs after their files instead of a hash of their content.
    """
    kinds: list[tuple[pathlib.Path, Kind]] = []
    skipped: list[Skipped] = []
    seen: set[tuple[int, int]] = set()
    for path, was_asked in _walk(paths, seen):
        try:
            kinds.append((path, _recognise_clip(path)))
        except ClipError as error:
            is_meant = was_asked or path.name.lower().removesuffix(".gz").endswith(CLIP_SUFFIXES)
            skipped.append(Skipped(path, error, is_meant))
    return Found(_name_sources(kinds, keep_names, skipped), skipped)


def name_of(path: pathlib.Path, kind: Kind, keep_names: bool = False) -> str:
    """The name of a clip's results: the file's stem, of a DICOM the beginning of its content's SHA-256."""
    if kind is DICOM and not keep_names:
        with open(path, "rb") as file:
            return f"dicom-{hashlib.file_digest(file, 'sha256').hexdigest()[:_HASH_DIGITS]}"
    return _folder_name(_stem(path.name))


def _recognise_clip(path: pathlib.Path) -> Kind:
    if path.name.upper() == "DICOMDIR":
        raise ClipError(path, "unknown", "is a disc's table of contents; the clips are beside it")
    return recognise(path)


def _walk(paths: Iterable[str | os.PathLike], seen: set[tuple[int, int]]) -> Iterator[tuple[pathlib.Path, bool]]:
    """Yields files, and whether each was named by the caller; `seen` holds devices and inodes."""
    for path in map(pathlib.Path, paths):
        if not path.is_dir():
            if _is_new(path, seen):
                yield path, True
            continue
        for entry in _walk_folder(path, seen):
            yield entry, False


def _walk_folder(folder: pathlib.Path, seen: set[tuple[int, int]]) -> Iterator[pathlib.Path]:
    # A link may lead back to a folder above it.
    if not _is_new(folder, seen):
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        # Reported as what it is when `recognise` is asked about it.
        yield folder
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk_folder(entry, seen)
        elif _is_new(entry, seen):
            yield entry


def _is_new(path: pathlib.Path, seen: set[tuple[int, int]]) -> bool:
    try:
        status = path.stat()
    except OSError:
        return True
    identity = status.st_dev, status.st_ino
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _name_sources(kinds: list[tuple[pathlib.Path, Kind]], keep_names: bool, skipped: list[Skipped]) -> list[Source]:
    named = []
    for path, kind in kinds:
        try:
            named.append(Source(path, kind, name_of(path, kind, keep_names)))
        except OSError:
            skipped.append(Skipped(path, ClipError(path, "unreadable", "cannot be read from the disk"), True))
    return _make_unique(named, keep_names)


def _make_unique(sources: list[Source], keep_names: bool) -> list[Source]:
    """Tells equal names apart by their extensions or folders, and numbers what is still equal, such as copies."""
    groups: dict[str, list[int]] = {}
    for number, source in enumerate(sources):
        groups.setdefault(source.name.lower(), []).append(number)
    names = [source.name for source in sources]
    for numbers in groups.values():
        # A DICOM's path stays out of its name.
        if len(numbers) > 1 and not (sources[numbers[0]].kind is DICOM and not keep_names):
            for number, name in zip(numbers, _tell_apart([sources[i].path for i in numbers]), strict=True):
                names[number] = name
    taken: set[str] = set()
    for number, name in enumerate(names):
        candidates = itertools.chain([name], (f"{name}-{count}" for count in itertools.count(2)))
        names[number] = next(candidate for candidate in candidates if candidate.lower() not in taken)
        taken.add(names[number].lower())
    return [source._replace(name=name) for source, name in zip(sources, names, strict=True)]


def _tell_apart(paths: list[pathlib.Path]) -> list[str]:
    """Stems with their extensions, or with as many of the folders above them as tell them apart."""
    parts = [path.absolute().parts for path in paths]
    names: list[str] = []
    for depth in range(1, max(map(len, parts))):
        whole = ["-".join(part[-depth:]) for part in parts]
        for names in ([_stem(name) for name in whole], [name.replace(".", "-") for name in whole]):
            names[:] = map(_folder_name, names)
            if len({name.lower() for name in names}) == len(names):
                return names
    return names


def _stem(name: str) -> str:
    return name.removesuffix(".gz").rsplit(".", 1)[0] or name


def _folder_name(text: str) -> str:
    """Letters, digits and -_. of any script; never hidden, empty or longer than file systems allow."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[-120:] or "clip"
