"""EchoNet-Dynamic's layout to TFRecord shards: parallel, resumable, and nothing is lost without a line in the report.

    python -m data_prep echonet --source=EchoNet-Dynamic --data_dir=data/echonet

Work is cut into shards of consecutive rows of one split. A shard's sidecar in `.shards/` holds a fingerprint of
everything that went into it (table rows, tracings, sizes and times of the video files, options); a run keeps the shards
whose fingerprint still holds and makes the others. Killed at any moment, it goes on where it stopped; after a file was
mended, only that file's shard is made anew.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import multiprocessing
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import cv2
import numpy as np
import tqdm

from data_prep import problems as problems_lib
from data_prep import source as source_lib
from data_prep import tracings
from data_prep.problems import KEPT, LEFT_OUT, Problem
from echojax import records, video
from echojax.errors import UserError
from echojax.records import example, index, videos

T = TypeVar("T")

DATASET = "echonet"
MANIFEST_NAME = "manifest.json"
VIDEOS_PER_SHARD = 32
CHANNELS = {"rgb": 3, "gray": 1}
_FORMAT = 1
_SIDECARS = ".shards"
# The largest protocol buffer, less room for the other features.
_MAX_RECORD_BYTES = 2**31 - 2**24


class StrictError(UserError):
    """`--strict`, and something of the input cannot be converted."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One unit of work: consecutive rows of one split."""

    path: pathlib.Path
    split: str
    rows: tuple[source_lib.SourceRow, ...]
    pixels: str

    @property
    def sidecar(self) -> pathlib.Path:
        return self.path.parent / _SIDECARS / f"{self.path.name}.json"


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What became of a shard; kept as its sidecar."""

    fingerprint: str
    num_videos: int
    num_bytes: int
    sha256: str
    problems: tuple[Problem, ...]


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a conversion did.

    Attributes:
      data_dir: where the records are.
      num_videos: per split, videos stored.
      num_listed: rows of the source's list.
      num_bytes: of all shards.
      num_shards, num_resumed: shards in all, and those kept from an earlier run.
      problems: every finding; also in `report.csv`.
    """

    data_dir: pathlib.Path
    num_videos: dict[str, int]
    num_listed: int
    num_bytes: int
    num_shards: int
    num_resumed: int
    problems: tuple[Problem, ...]

    @property
    def num_failures(self) -> int:
        """Findings through which something of the input is not in the records."""
        return sum(problem.is_failure for problem in self.problems)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {split}" for split, count in self.num_videos.items())
        resumed = f" ({self.num_resumed} kept from an earlier run)" if self.num_resumed else ""
        lines = [
            f"{sum(self.num_videos.values())} of {self.num_listed} listed videos: {counts}",
            f"{self.num_shards} shards{resumed}, {self.num_bytes / 1e6:.1f} MB, in {self.data_dir}",
        ]
        lines += [f"  {count:6d} {outcome}: {kind}" for outcome, kind, count in problems_lib.count_kinds(self.problems)]
        if self.problems:
            lines.append(f"each of them with its reason in {self.data_dir / problems_lib.REPORT_NAME}")
        return "\n".join(lines)


def convert(
    source: os.PathLike | str,
    data_dir: os.PathLike | str,
    pixels: str = "rgb",
    workers: int | None = None,
    strict: bool = False,
    progress: bool = True,
    videos_per_shard: int = VIDEOS_PER_SHARD,
) -> Summary:
    """Converts a source directory into records.

    Args:
      source: the folder that holds `FileList.csv`, `VolumeTracings.csv` and `Videos/`.
      data_dir: where to; made if need be. An unfinished conversion there is continued.
      pixels: `rgb` stores the decoder's pixels as they are. `gray` stores one channel by OpenCV's weights, a third of
        the size: where JPEG's chroma or a coloured mark makes a pixel's channels differ (about 2 % of the pixels of
        EchoNet-Dynamic, by 2 levels in the median), their difference is lost.
      workers: processes; by default one per core.
      strict: fail at the first input that cannot be stored whole, instead of reporting it and going on.
      progress: show a bar on stderr.
      videos_per_shard: how many rows a shard covers.

    Raises:
      UserError: the source has another layout, or `data_dir` holds something else.
      StrictError: see `strict`; `report.csv` is written, the conversion is not finished.
    """
    if pixels not in CHANNELS:
        raise UserError(f"--pixels is {pixels!r}, expected one of {', '.join(CHANNELS)}")
    if videos_per_shard < 1:
        raise UserError(f"--videos_per_shard is {videos_per_shard}, expected at least 1")
    found = source_lib.read_source(pathlib.Path(source))
    directory = pathlib.Path(data_dir).absolute()
    options = {
        "format": _FORMAT,
        "source": str(found.directory.absolute()),
        "pixels": pixels,
        "videos_per_shard": videos_per_shard,
    }
    _claim(directory, options)
    _refuse_if_strict(strict, directory, found.problems)
    shards = plan_shards(directory, found.rows, pixels, videos_per_shard)
    done = {shard: result for shard in shards if (result := _load_finished(shard)) is not None}
    num_resumed = len(done)
    if num_resumed < len(shards):
        # Its presence says that a directory is complete.
        (directory / "dataset_info.json").unlink(missing_ok=True)
    _refuse_if_strict(strict, directory, [*found.problems, *(p for r in done.values() for p in r.problems)])
    with tqdm.tqdm(total=len(found.rows), unit="video", disable=not progress, desc="converting") as bar:
        bar.update(sum(len(shard.rows) for shard in done))
        for shard, result in map_shards(
            make_shard, [s for s in shards if s not in done], workers or os.cpu_count() or 1
        ):
            done[shard] = result
            bar.update(len(shard.rows))
            _refuse_if_strict(strict, directory, [*found.problems, *result.problems])
    return _finish(directory, found, [(shard, done[shard]) for shard in shards], options, num_resumed)


def plan_shards(
    directory: pathlib.Path, rows: Sequence[source_lib.SourceRow], pixels: str, videos_per_shard: int
) -> list[Shard]:
    """Cuts each split's rows, in the order of the list, into shards."""
    shards = []
    for split in source_lib.SPLITS:
        members = [row for row in rows if row.split == split]
        count = math.ceil(len(members) / videos_per_shard)
        for number in range(count):
            part = tuple(members[number * videos_per_shard : (number + 1) * videos_per_shard])
            shards.append(Shard(directory / example.shard_name(DATASET, split, number, count), split, part, pixels))
    return shards


def make_shard(shard: Shard) -> ShardResult:
    """Decodes the videos of a shard and writes it with its sidecar."""
    cv2.setNumThreads(1)
    fingerprint = _fingerprint(shard)
    found: list[Problem] = []
    summary = records.write_video_shard(shard.path, _read_records(shard, found), CHANNELS[shard.pixels])
    result = ShardResult(fingerprint, summary.num_records, summary.num_bytes, summary.sha256, tuple(found))
    _write_json(shard.sidecar, dataclasses.asdict(result))
    return result


def read_record(row: source_lib.SourceRow, pixels: str, problems: list[Problem]) -> records.VideoRecord | None:
    """Decodes one video and compares it with its row; None if it cannot be stored, which is then among the problems."""
    try:
        frames, container_fps = video.read_video(row.path)
    except (video.VideoError, cv2.error) as error:
        kind = f"video_{getattr(error, 'reason', 'unreadable')}"
        problems.append(Problem(row.name, kind, str(error), LEFT_OUT, "fetch the file again; the rest is converted"))
        return None
    if pixels == "gray":
        frames = video.to_gray(frames)
    if frames.nbytes > _MAX_RECORD_BYTES:
        text = f"{frames.nbytes / 2**30:.1f} GiB of pixels, a record holds less than 2"
        problems.append(
            Problem(row.name, "video_too_large", text, LEFT_OUT, "shorten or shrink it, or use --pixels=gray")
        )
        return None
    num_frames, height, width = frames.shape[:3]
    _compare_with_row(row, frames.shape, container_fps, problems)
    return records.VideoRecord(
        name=row.name,
        split=row.split,
        row=row.row,
        frames=frames,
        fps=row.fps if row.fps > 0 else container_fps or math.nan,
        ef_percent=row.ef_percent,
        edv_ml=row.edv_ml,
        esv_ml=row.esv_ml,
        tracings=tracings.keep_inside(row.name, row.tracings, num_frames, height, width, problems),
    )


def _compare_with_row(row: source_lib.SourceRow, shape, container_fps: float, problems: list[Problem]) -> None:
    num_frames, height, width = shape[:3]
    if abs(container_fps - row.fps) > 0.5:
        text = f"the video file says {container_fps:g} frames per second, {source_lib.FILE_LIST} says {row.fps:g}"
        problems.append(Problem(row.name, "fps_differs", text, KEPT, f"{source_lib.FILE_LIST} is trusted"))
    if row.num_frames is not None and row.num_frames != num_frames:
        text = f"the video has {num_frames} frames, {source_lib.FILE_LIST} says {row.num_frames}"
        problems.append(Problem(row.name, "num_frames_differs", text, KEPT, "all frames of the video are stored"))
    if None not in (row.height, row.width) and (row.height, row.width) != (height, width):
        text = f"the video is {width}x{height}, {source_lib.FILE_LIST} says {row.width}x{row.height}"
        problems.append(Problem(row.name, "size_differs", text, KEPT, "stored at the video's size"))


def _read_records(shard: Shard, problems: list[Problem]) -> Iterator[records.VideoRecord]:
    for row in shard.rows:
        record = read_record(row, shard.pixels, problems)
        if record is not None:
            yield record


def map_shards(function: Callable[[Shard], T], shards: Sequence[Shard], workers: int) -> Iterator[tuple[Shard, T]]:
    """Applies a function to shards in several processes; yields in the order in which they finish."""
    if min(workers, len(shards)) <= 1:
        for shard in shards:
            yield shard, function(shard)
        return
    # Forking a process that runs JAX's or OpenCV's threads may deadlock.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(workers, len(shards)), context) as pool:
        futures = {pool.submit(function, shard): shard for shard in shards}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise UserError(
                "a worker process died, perhaps for lack of memory; run again with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _claim(directory: pathlib.Path, options: dict) -> None:
    """Makes the directory ours, or refuses to mix two conversions."""
    path = directory / _SIDECARS / "options.json"
    if path.is_file():
        begun = json.loads(path.read_text())
        if other := [f"{key}={begun.get(key)}" for key in options if begun.get(key) != options[key]]:
            raise UserError(
                f"{directory}: holds a conversion with {', '.join(other)}; remove it or choose another --data_dir"
            )
        return
    if directory.is_dir() and any(not entry.name.startswith(".") for entry in directory.iterdir()):
        raise UserError(f"{directory}: is not empty and no conversion of ours; choose another --data_dir")
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_json(path, options)


def _refuse_if_strict(strict: bool, directory: pathlib.Path, found: Sequence[Problem]) -> None:
    failures = [problem for problem in found if problem.is_failure]
    if strict and failures:
        report = problems_lib.write_report(directory, found)
        raise StrictError(f"--strict: {failures[0]} ({len(failures)} so far, listed in {report})")


def _fingerprint(shard: Shard) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {shard.pixels} {shard.path.name}".encode())
    for row in shard.rows:
        stat = row.path.stat()
        values = [
            row.name,
            row.row,
            row.fps,
            row.ef_percent,
            row.edv_ml,
            row.esv_ml,
            row.num_frames,
            row.height,
            row.width,
        ]
        digest.update(repr([*values, stat.st_size, stat.st_mtime_ns]).encode())
        for tracing in row.tracings:
            digest.update(repr(tracing.frame).encode() + tracing.points.tobytes())
    return digest.hexdigest()


def _load_finished(shard: Shard) -> ShardResult | None:
    """What an earlier run made of this shard, if it still holds."""
    try:
        values = json.loads(shard.sidecar.read_text())
        size = shard.path.stat().st_size
    except (FileNotFoundError, ValueError):
        return None
    if values["fingerprint"] != _fingerprint(shard) or values["num_bytes"] != size:
        return None
    return ShardResult(**values | {"problems": tuple(Problem(**p) for p in values["problems"])})


def _finish(directory, found, results, options, num_resumed) -> Summary:
    """Writes index, report, manifest and TFDS's description, in this order."""
    _remove_leftovers(directory, [shard for shard, _ in results])
    videos.write_source_list(directory, found.listed)
    channels = CHANNELS[options["pixels"]]
    records.build_video_index(directory, DATASET, channels)
    all_problems = [*found.problems, *(p for _, result in results for p in result.problems), *_unusual_sizes(directory)]
    counts = {split: sum(r.num_videos for s, r in results if s.split == split) for split in source_lib.SPLITS}
    summary = Summary(
        data_dir=directory,
        num_videos=counts,
        num_listed=len(found.listed),
        num_bytes=sum(result.num_bytes for _, result in results),
        num_shards=len(results),
        num_resumed=num_resumed,
        problems=tuple(sorted(all_problems)),
    )
    problems_lib.write_report(directory, all_problems)
    _write_json(directory / MANIFEST_NAME, _manifest(summary, results, options))
    shards = {
        split: [(r.num_videos, r.num_bytes) for s, r in results if s.split == split] for split in source_lib.SPLITS
    }
    description = (
        f"Echocardiograms from {options['source']}, {options['pixels']} pixels as decoded, with EF and tracings."
    )
    example.write_dataset_info(directory, DATASET, example.video_codec(channels), shards, description)
    return summary


def _unusual_sizes(directory: pathlib.Path) -> list[Problem]:
    arrays = index.load_arrays(directory, index.RECORD_KEYS)
    sizes, inverse, counts = np.unique(arrays["frames_shape"][:, 1:3], axis=0, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return []
    usual = int(np.argmax(counts))
    usual_text = "x".join(map(str, sizes[usual][::-1]))
    found = []
    for name, size in zip(arrays["name"], inverse.ravel(), strict=True):
        if size != usual:
            text = f"the video is {sizes[size][1]}x{sizes[size][0]}, most are {usual_text}"
            found.append(Problem(str(name), "size_unusual", text, KEPT, "stored at its own size"))
    return found


def _manifest(summary: Summary, results, options: dict) -> dict:
    versions = {"python": platform.python_version(), "opencv": cv2.__version__, "numpy": np.__version__}
    for package in ("echojax", "tensorflow-datasets"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "options": options,
        "versions": versions,
        "num_listed": summary.num_listed,
        "num_videos": summary.num_videos,
        "num_problems": {kind: count for _, kind, count in problems_lib.count_kinds(summary.problems)},
        "shards": [
            {"file": s.path.name, "num_videos": r.num_videos, "num_bytes": r.num_bytes, "sha256": r.sha256}
            for s, r in results
        ],
    }


def _remove_leftovers(directory: pathlib.Path, shards: Sequence[Shard]) -> None:
    """Removes shards of an earlier plan and the unfinished files of killed runs."""
    planned = {shard.path.name for shard in shards}
    for path in directory.glob(f"{DATASET}-*.tfrecord-*"):
        if path.name not in planned:
            path.unlink()
            (directory / _SIDECARS / f"{path.name}.json").unlink(missing_ok=True)
    for path in [*directory.glob(".*.tmp"), *(directory / _SIDECARS).glob(".*.tmp")]:
        path.unlink()


def _write_json(path: pathlib.Path, value: dict) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(temporary, path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line of `python -m data_prep echonet`."""
    parser.add_argument("--source", required=True, help="folder with FileList.csv, VolumeTracings.csv and Videos/")
    parser.add_argument("--data_dir", required=True, help="where the records go; run again to continue")
    parser.add_argument(
        "--pixels",
        choices=tuple(CHANNELS),
        default="rgb",
        help="rgb: as decoded, lossless; gray: one channel, a third of the size (default: rgb)",
    )
    parser.add_argument("--strict", action="store_true", help="fail at the first input that cannot be stored whole")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per core)")
    parser.add_argument("--videos_per_shard", type=int, default=VIDEOS_PER_SHARD, help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns 0, or 1 if some of the input failed."""
    try:
        summary = convert(
            args.source, args.data_dir, args.pixels, args.workers, args.strict, True, args.videos_per_shard
        )
    except StrictError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary)
    return 1 if summary.num_failures else 0
