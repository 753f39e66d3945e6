"""The unit of conversion: a shard of consecutive rows, made in one piece and recognised again by its fingerprint."""

import concurrent.futures
import dataclasses
import hashlib
import json
import math
import multiprocessing
import pathlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from data_prep import tracings
from data_prep.problems import KEPT, LEFT_OUT, Problem
from data_prep.source import FILE_LIST, SPLITS, SourceRow
from echojax import records, video
from echojax.errors import UserError
from echojax.files import write_json
from echojax.records import example

T = TypeVar("T")

DATASET = "echonet"
CHANNELS = {"rgb": 3, "gray": 1}
FORMAT = 2
SIDECARS = ".shards"
# The largest protocol buffer, less room for the other features.
_MAX_RECORD_BYTES = 2**31 - 2**24


@dataclasses.dataclass(frozen=True)
class Shard:
    """One unit of work: consecutive rows of one split."""

    path: pathlib.Path
    split: str
    rows: tuple[SourceRow, ...]
    pixels: str

    @property
    def sidecar(self) -> pathlib.Path:
        """Where its `ShardResult` is kept."""
        return self.path.parent / SIDECARS / f"{self.path.name}.json"


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What became of a shard; kept as its sidecar."""

    fingerprint: str
    num_videos: int
    num_bytes: int
    sha256: str
    problems: tuple[Problem, ...]


def plan_shards(directory: pathlib.Path, rows: Sequence[SourceRow], pixels: str, videos_per_shard: int) -> list[Shard]:
    """Cuts each split's rows, in the order of the list, into shards."""
    shards = []
    for split in SPLITS:
        members = [row for row in rows if row.split == split]
        count = math.ceil(len(members) / videos_per_shard)
        for number in range(count):
            part = tuple(members[number * videos_per_shard : (number + 1) * videos_per_shard])
            shards.append(Shard(directory / example.shard_name(DATASET, split, number, count), split, part, pixels))
    return shards


def make_shard(shard: Shard) -> ShardResult:
    """Decodes the videos of a shard and writes it with its sidecar."""
    fingerprint = _fingerprint(shard)
    found: list[Problem] = []
    summary = records.write_video_shard(shard.path, _read_records(shard, found), CHANNELS[shard.pixels])
    result = ShardResult(fingerprint, summary.num_records, summary.num_bytes, summary.sha256, tuple(found))
    write_json(shard.sidecar, dataclasses.asdict(result))
    return result


def read_record(row: SourceRow, pixels: str, problems: list[Problem]) -> records.VideoRecord | None:
    """Decodes one video and compares it with its row; None if it cannot be stored, which is then among the problems."""
    try:
        frames, container_fps = video.read_video(row.path)
    except video.VideoError as error:
        action = "fetch the file again; the rest is converted"
        problems.append(Problem(row.name, f"video_{error.reason}", str(error), LEFT_OUT, action))
        return None
    if pixels == "gray":
        frames = video.to_gray(frames)
    if frames.nbytes > _MAX_RECORD_BYTES:
        text = f"{frames.nbytes / 2**30:.1f} GiB of pixels, a record holds less than 2"
        action = "shorten or shrink it, or use --pixels=gray"
        problems.append(Problem(row.name, "video_too_large", text, LEFT_OUT, action))
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


def _compare_with_row(row: SourceRow, shape, container_fps: float, problems: list[Problem]) -> None:
    num_frames, height, width = shape[:3]
    if abs(container_fps - row.fps) > 0.5 and container_fps != row.wrong_container_fps:
        text = f"the video file says {container_fps:g} frames per second, {FILE_LIST} says {row.fps:g}"
        problems.append(Problem(row.name, "fps_differs", text, KEPT, f"{FILE_LIST} is trusted"))
    if row.num_frames is not None and row.num_frames != num_frames:
        text = f"the video has {num_frames} frames, {FILE_LIST} says {row.num_frames}"
        problems.append(Problem(row.name, "num_frames_differs", text, KEPT, "all frames of the video are stored"))
    if None not in (row.height, row.width) and (row.height, row.width) != (height, width):
        text = f"the video is {width}x{height}, {FILE_LIST} says {row.width}x{row.height}"
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
        except BrokenProcessPool as error:
            text = "a worker process died, perhaps for lack of memory; run again with fewer --workers"
            raise UserError(text) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fingerprint(shard: Shard) -> str:
    digest = hashlib.sha256(f"{FORMAT} {shard.pixels} {shard.path.name}".encode())
    for row in shard.rows:
        stat = row.path.stat()
        values = {f.name: getattr(row, f.name) for f in dataclasses.fields(row) if f.name not in ("path", "tracings")}
        digest.update(repr([values, stat.st_size, stat.st_mtime_ns]).encode())
        for tracing in row.tracings:
            digest.update(repr(tracing.frame).encode() + tracing.points.tobytes())
    return digest.hexdigest()


def load_finished(shard: Shard) -> ShardResult | None:
    """What an earlier run made of this shard, if it still holds."""
    try:
        values = json.loads(shard.sidecar.read_text())
        size = shard.path.stat().st_size
    except (FileNotFoundError, ValueError):
        return None
    if values["fingerprint"] != _fingerprint(shard) or values["num_bytes"] != size:
        return None
    return ShardResult(**values | {"problems": tuple(Problem(**p) for p in values["problems"])})
