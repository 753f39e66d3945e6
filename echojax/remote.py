"""Folders in a bucket, gs://..., and their copies on this machine: the one place that knows of remote files.

Programs read and write local folders alone. What a remote place means for each of them:

- `data_dir`, `masks_dir`: `local_folder` copies what is missing or has changed into the cache, then everything is read
  from there; records are mapped into memory, which no bucket offers.
- `workdir`: `working_folder` copies the run into the cache, so that it can be resumed, and gives that folder to every
  writer, Orbax included. `publish` copies what changed back: at each checkpoint, at each finished shard of masks, and
  at the end. The run in the bucket is the run; its copy is made equal to it at the start.

Objects of a bucket appear whole or not at all. So do folders: the file that says of one that it is complete goes last,
and is taken away while another changes; a checkpoint goes after the best one that it speaks of, and what it replaces is
removed after that. A machine that is lost leaves the run one checkpoint behind at most, from where it repeats its bits.

    remote.use_cache("~/.cache/echojax/data")
    folder = remote.local_folder("gs://bucket/echonet")         # ~/.cache/echojax/data/gs/bucket/echonet
    with remote.working_folder("gs://bucket/runs/css") as workdir:
        ...
        remote.publish(workdir)
"""

import concurrent.futures
import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tqdm import tqdm

from echojax.errors import UserError
from echojax.files import replaced_file

Place = str | os.PathLike

# Files that say of their folder that it is complete: a checkpoint, a data set of records, a run.
_MARKERS = ("_CHECKPOINT_METADATA", "dataset_info.json", "metrics.json")
_NUM_THREADS = 16
_COPY_BYTES = 16 << 20

_cache = pathlib.Path("~/.cache/echojax/data")
_working: dict[pathlib.Path, "_Mirror"] = {}


class _State(NamedTuple):
    """A file as it was when both sides were the same: bytes, and nanoseconds of its last change on this side."""

    size: int
    changed_ns: int


def is_remote(place: Place) -> bool:
    """Whether a place is in a bucket."""
    return "://" in os.fspath(place)


def use_cache(directory: Place) -> None:
    """Says where copies of remote folders are kept."""
    global _cache
    _cache = pathlib.Path(directory)


def local_folder(place: Place, leave_out: Sequence[str] = ()) -> pathlib.Path:
    """A folder on this machine with the files of a place; a local place is returned as it is.

    Args:
      leave_out: folders of the place that are not needed.

    Raises:
      UserError: nothing is there, the bucket cannot be reached, or the disk has too little space.
    """
    if not is_remote(place):
        return pathlib.Path(place)
    mirror = _Mirror(os.fspath(place))
    if not any(mirror.folder.is_relative_to(folder) for folder in _working) and not mirror.fetch(leave_out):
        raise UserError(f"{place}: holds no files; expected a folder of records, masks or a checkpoint")
    return mirror.folder


@contextlib.contextmanager
def working_folder(place: Place) -> Iterator[pathlib.Path]:
    """A folder on this machine to run in; what is in it at the end goes to the place, where that is remote."""
    if not is_remote(place):
        yield pathlib.Path(place).expanduser()
        return
    mirror = _Mirror(os.fspath(place))
    mirror.fetch()
    _working[mirror.folder] = mirror
    try:
        yield mirror.folder
    finally:
        del _working[mirror.folder]
        mirror.publish(mirror.folder)
        print(f"Published at {place}")


def publish(path: pathlib.Path) -> None:
    """Copies what changed at or beneath a path to where its run lives; nothing to do for a local run."""
    for folder, mirror in _working.items():
        if path.is_relative_to(folder):
            mirror.publish(path)


class _Mirror:
    """A remote folder and its copy in the cache."""

    def __init__(self, place: str):
        from etils import epath

        scheme, _, rest = place.partition("://")
        parts = [part for part in rest.split("/") if part not in ("", ".", "..")]
        self.place = place
        self.folder = _cache.expanduser().absolute().joinpath(scheme, *parts)
        with self._reaching():
            self._root = epath.Path(place)
        self._known: dict[str, _State] = {}

    def fetch(self, leave_out: Sequence[str] = ()) -> int:
        """Makes the copy equal to the place, but for some folders of it; returns the number of files."""
        with self._reaching():
            there = self._list_remote(leave_out)
        here = {name: state for name, state in _list_local(self.folder).items() if name.split("/")[0] not in leave_out}
        for name in here.keys() - there.keys():
            (self.folder / name).unlink()
        # Seconds are all that a bucket tells of times.
        needed = [
            name
            for name, (size, changed) in there.items()
            if name not in here or here[name].size != size or here[name].changed_ns // 10**9 != changed
        ]
        self._check_space(sum(there[name][0] for name in needed))
        self._each(lambda name: self._download(name, there[name][1]), needed, "copying")
        self._known = _list_local(self.folder)
        return len(there)

    def publish(self, path: pathlib.Path) -> None:
        """Copies changed files at or beneath a path of the copy to the place, and removes there what is gone here."""
        here, known = (
            {name: state for name, state in states.items() if (self.folder / name).is_relative_to(path)}
            for states in (_list_local(self.folder), self._known)
        )
        changed = {name for name, state in here.items() if known.get(name) != state}
        gone = known.keys() - here.keys()
        folders = {pathlib.PurePath(name).parent for name in here if _is_marker(name)}
        changing = folders & {parent for name in changed | gone for parent in pathlib.PurePath(name).parents}
        markers = {name for name in here if _is_marker(name) and pathlib.PurePath(name).parent in changing}
        self._each(self._remove, sorted(markers & known.keys()))
        self._each(self._upload, sorted(changed - markers), "publishing")
        for name in sorted(markers):  # one after the other: best comes before checkpoints
            self._each(self._upload, [name])
        self._each(self._remove, sorted(filter(_is_marker, gone)))
        self._each(self._remove, sorted(name for name in gone if not _is_marker(name)))

    def _list_remote(self, leave_out: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Size and time of the last change, in seconds, of every file."""
        found = {}
        inside = [path for path in self._root.iterdir() if path.name not in leave_out] if self._root.exists() else []
        with concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as pool:
            while inside:
                states = dict(zip(inside, pool.map(lambda path: path.stat(), inside), strict=True))
                files = [path for path, state in states.items() if not state.is_directory]
                found |= {
                    path.relative_to(self._root).as_posix(): (states[path].length, states[path].mtime) for path in files
                }
                inside = [each for path, state in states.items() if state.is_directory for each in path.iterdir()]
        return found

    def _download(self, name: str, changed: int) -> None:
        with replaced_file(self.folder / name) as temporary:
            with (self._root / name).open("rb") as source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            os.utime(temporary, (changed, changed))

    def _upload(self, name: str) -> None:
        path, target = self.folder / name, self._root / name
        state = _state(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, _COPY_BYTES)
        if state == _state(path):  # a log may have grown meanwhile: it has changed, then, for the next time
            changed = target.stat().mtime
            os.utime(path, (changed, changed))
            state = _state(path)
        self._known[name] = state

    def _remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)
        del self._known[name]

    def _check_space(self, needed: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"{self.place}: {needed / 1e9:.1f} GB are to be copied to {self.folder}, which has {free / 1e9:.1f} GB "
                "free; give another disk with --config.data.cache_dir=DIR"
            )

    def _each(self, act: Callable[[str], None], names: list[str], verb: str = "") -> None:
        """Acts on files, several at a time."""
        show = tqdm(total=len(names), desc=f"{verb} {self.place}", unit="file", disable=not (verb and names))
        with self._reaching(), show, concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as pool:
            for _ in pool.map(act, names):
                show.update()

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Says in one line why a bucket cannot be read or written."""
        try:
            yield
        except ImportError as error:
            raise UserError(f"{self.place}: needs a library ({error}); install echojax[gcs]") from error
        except Exception as error:  # the clients of buckets raise kinds of their own
            raise UserError(f"{self.place}: cannot be reached or copied ({error!r})") from error


def _list_local(folder: pathlib.Path) -> dict[str, _State]:
    """Every file of a folder except those that are being written (`files.replaced_file`)."""
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    whole = [name for name in names if not any(part[0] == "." and part.endswith(".tmp") for part in name.parts)]
    return {name.as_posix(): _state(folder / name) for name in whole}


def _state(path: pathlib.Path) -> _State:
    found = path.stat()
    return _State(found.st_size, found.st_mtime_ns)


def _is_marker(name: str) -> bool:
    return name.rpartition("/")[2] in _MARKERS
