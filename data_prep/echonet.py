"""EchoNet-Dynamic's layout to TFRecord shards: parallel, resumable, and nothing is lost without a line in the report.

    python -m data_prep echonet --source=EchoNet-Dynamic --data_dir=data/echonet

Work is cut into shards of consecutive rows of one split. A shard's sidecar in `.shards/` holds a fingerprint of
everything that went into it (table rows, tracings, sizes and times of the video files, options); a run keeps the shards
whose fingerprint still holds and makes the others. Killed at any moment, it goes on where it stopped; after a file was
mended, only that file's shard is made anew. With `--shard=I/N` a machine makes every N-th shard, and the command
without it finishes; `data_prep.beam` leaves the distribution to Apache Beam.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from data_prep import problems as problems_lib
from data_prep import shards as shards_lib
from data_prep import source as source_lib
from data_prep.problems import KEPT, Problem
from data_prep.shards import CHANNELS, DATASET
from echojax import records, video
from echojax.errors import UserError
from echojax.files import remove_leftovers, write_json
from echojax.records import example, index, videos

MANIFEST_NAME = "manifest.json"
VIDEOS_PER_SHARD = 32
_TABLES = (source_lib.FILE_LIST, source_lib.VOLUME_TRACINGS)


class StrictError(UserError):
    """`--strict`, and something of the input cannot be converted."""


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
        # What concerns a whole table is said here, too, in words.
        lines += [f"{p.name}: {p.problem}: {p.action}" for p in self.problems if p.name in _TABLES]
        if self.problems:
            lines.append(f"each of them with its reason in {self.data_dir / problems_lib.REPORT_NAME}")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class PartSummary:
    """What the conversion of a part did.

    Attributes:
      part: (i, n), the part and how many there are.
      num_shards, num_all_shards: of the part and of the whole conversion.
      num_resumed: shards of the part kept from an earlier run.
      num_videos: stored in the part.
      num_failures: findings through which something of the part is not in the records.
    """

    part: tuple[int, int]
    num_shards: int
    num_all_shards: int
    num_resumed: int
    num_videos: int
    num_failures: int

    def __str__(self) -> str:
        number, count = self.part
        resumed = f" ({self.num_resumed} kept from an earlier run)" if self.num_resumed else ""
        failed = f", {self.num_failures} failures" if self.num_failures else ""
        return (
            f"part {number}/{count}: {self.num_shards} of {self.num_all_shards} shards{resumed}, {self.num_videos} "
            f"videos{failed}; when every part from 0 to {count - 1} is done, the same command without --shard finishes"
        )


class Conversion(NamedTuple):
    """A conversion that has begun.

    Attributes:
      found: what the source's tables say.
      directory: where the records go.
      options: what the shards depend on besides the source.
      shards: all of them, made or not.
    """

    found: source_lib.Source
    directory: pathlib.Path
    options: dict
    shards: list[shards_lib.Shard]


def convert(
    source: os.PathLike | str,
    data_dir: os.PathLike | str,
    pixels: str = "rgb",
    workers: int | None = None,
    strict: bool = False,
    progress: bool = True,
    videos_per_shard: int = VIDEOS_PER_SHARD,
    layout: source_lib.Layout = source_lib.ECHONET,
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
      layout: how the source differs from EchoNet-Dynamic.

    Raises:
      UserError: the source has another layout, or `data_dir` holds something else.
      StrictError: see `strict`; `report.csv` is written, the conversion is not finished.
    """
    conversion = begin(source, data_dir, pixels, videos_per_shard, layout)
    results, num_resumed = _make_missing(conversion, conversion.shards, workers, strict, progress)
    return _finish(conversion, results, num_resumed)


def convert_part(
    source: os.PathLike | str,
    data_dir: os.PathLike | str,
    part: tuple[int, int],
    pixels: str = "rgb",
    workers: int | None = None,
    strict: bool = False,
    progress: bool = True,
    videos_per_shard: int = VIDEOS_PER_SHARD,
    layout: source_lib.Layout = source_lib.ECHONET,
) -> PartSummary:
    """Makes every n-th shard of a conversion, beginning with shard i: the work of one machine of n.

    The parts may run at once and in any order, on machines that see both directories, and each may be run again. When
    all are done, `convert` finds every shard made and finishes.

    Args:
      part: (i, n), with i from 0 to n - 1.
      others: as for `convert`.

    Raises:
      UserError, StrictError: as `convert`.
    """
    number, count = part
    conversion = begin(source, data_dir, pixels, videos_per_shard, layout)
    shards = conversion.shards[number::count]
    results, num_resumed = _make_missing(conversion, shards, workers, strict, progress)
    return PartSummary(
        part=part,
        num_shards=len(shards),
        num_all_shards=len(conversion.shards),
        num_resumed=num_resumed,
        num_videos=sum(result.num_videos for _, result in results),
        num_failures=sum(problem.is_failure for _, result in results for problem in result.problems),
    )


def begin(
    source: os.PathLike | str,
    data_dir: os.PathLike | str,
    pixels: str,
    videos_per_shard: int,
    layout: source_lib.Layout,
) -> Conversion:
    """Reads the source's tables, claims the directory and plans the shards; see `convert`."""
    if pixels not in CHANNELS:
        raise UserError(f"--pixels is {pixels!r}, expected one of {', '.join(CHANNELS)}")
    if videos_per_shard < 1:
        raise UserError(f"--videos_per_shard is {videos_per_shard}, expected at least 1")
    found = source_lib.read_source(pathlib.Path(source), layout)
    directory = pathlib.Path(data_dir).absolute()
    options = {
        "format": shards_lib.FORMAT,
        "command": layout.command,
        "source": str(found.directory.absolute()),
        "pixels": pixels,
        "videos_per_shard": videos_per_shard,
    }
    _claim(directory, options)
    shards = shards_lib.plan_shards(directory, found.rows, pixels, videos_per_shard)
    return Conversion(found, directory, options, shards)


def _make_missing(
    conversion: Conversion, shards: Sequence[shards_lib.Shard], workers: int | None, strict: bool, progress: bool
) -> tuple[list[tuple[shards_lib.Shard, shards_lib.ShardResult]], int]:
    """Makes those of the shards that are not made yet; returns what became of each, and how many were there already."""
    directory, found = conversion.directory, conversion.found
    _refuse_if_strict(strict, directory, found.problems)
    done = {shard: result for shard in shards if (result := shards_lib.load_finished(shard)) is not None}
    num_resumed = len(done)
    if num_resumed < len(shards):
        # Its presence says that a directory is complete.
        (directory / "dataset_info.json").unlink(missing_ok=True)
    _refuse_if_strict(strict, directory, [*found.problems, *(p for r in done.values() for p in r.problems)])
    num_rows = sum(len(shard.rows) for shard in shards)
    with tqdm.tqdm(total=num_rows, unit="video", disable=not progress, desc="converting") as bar:
        bar.update(sum(len(shard.rows) for shard in done))
        pending = [shard for shard in shards if shard not in done]
        for shard, result in shards_lib.map_shards(shards_lib.make_shard, pending, workers or os.cpu_count() or 1):
            done[shard] = result
            bar.update(len(shard.rows))
            _refuse_if_strict(strict, directory, [*found.problems, *result.problems])
    return [(shard, done[shard]) for shard in shards], num_resumed


def _claim(directory: pathlib.Path, options: dict) -> None:
    """Makes the directory ours, or refuses to mix two conversions."""
    path = directory / shards_lib.SIDECARS / "options.json"
    if path.is_file():
        begun = json.loads(path.read_text())
        if other := [f"{key}={begun.get(key)}" for key in options if begun.get(key) != options[key]]:
            raise UserError(
                f"{directory}: holds a conversion with {', '.join(other)}; remove it or choose another --data_dir"
            )
        return
    # Another part of the same conversion may have claimed the directory meanwhile, and have written a shard.
    foreign = directory.is_dir() and any(not entry.name.startswith(".") for entry in directory.iterdir())
    if foreign and not path.is_file():
        raise UserError(f"{directory}: is not empty and no conversion of ours; choose another --data_dir")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, options)


def _refuse_if_strict(strict: bool, directory: pathlib.Path, found: Sequence[Problem]) -> None:
    failures = [problem for problem in found if problem.is_failure]
    if strict and failures:
        report = problems_lib.write_report(directory, found)
        raise StrictError(f"--strict: {failures[0]} ({len(failures)} so far, listed in {report})")


def _finish(conversion: Conversion, results, num_resumed: int) -> Summary:
    """Writes index, report, manifest and TFDS's description, in this order."""
    found, directory, options, _ = conversion
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
    write_json(directory / MANIFEST_NAME, _manifest(found.kind, summary, results, options))
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


def _manifest(kind: str, summary: Summary, results, options: dict) -> dict:
    versions = {"python": platform.python_version(), "opencv": video.OPENCV_VERSION, "numpy": np.__version__}
    for package in ("echojax", "tensorflow-datasets"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "kind": kind,
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


def _remove_leftovers(directory: pathlib.Path, shards: Sequence[shards_lib.Shard]) -> None:
    """Removes shards of an earlier plan and the unfinished files of killed runs."""
    planned = {shard.path.name for shard in shards}
    for path in directory.glob(f"{DATASET}-*.tfrecord-*"):
        if path.name not in planned:
            path.unlink()
            (directory / shards_lib.SIDECARS / f"{path.name}.json").unlink(missing_ok=True)
    remove_leftovers(directory)
    remove_leftovers(directory / shards_lib.SIDECARS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line of `python -m data_prep echonet`, and of other commands in its layout."""
    parser.add_argument("--source", required=True, help="folder with FileList.csv, Videos/ and VolumeTracings.csv")
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
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="convert part I of N (0/N ... N-1/N, on as many machines as you like); without it, all that is missing",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns 0, or 1 if some of the input failed."""
    return run_conversion(args, source_lib.ECHONET)


def run_conversion(args: argparse.Namespace, layout: source_lib.Layout) -> int:
    """Converts as the arguments of `add_arguments` say and prints what was done; returns the exit code."""
    options = (args.pixels, args.workers, args.strict, True, args.videos_per_shard, layout)
    try:
        if args.shard is None:
            summary = convert(args.source, args.data_dir, *options)
        else:
            summary = convert_part(args.source, args.data_dir, parse_part(args.shard), *options)
    except StrictError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary)
    return 1 if summary.num_failures else 0


def parse_part(text: str) -> tuple[int, int]:
    """`"2/8"` to (2, 8), the third of eight parts."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise UserError(f"--shard is {text!r}, expected I/N with I from 0 to N-1, such as 0/8 ... 7/8 for eight parts")
    return int(number), int(count)
