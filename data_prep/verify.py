"""Says what is wrong with a folder of source files, of video records or of mask records, and how to mend it.

    python -m data_prep verify EchoNet-Dynamic      # tables, and every frame of every video
    python -m data_prep verify data/echonet         # every byte of every shard, index and descriptions
    python -m data_prep verify runs/css/masks

A flipped byte is located: file, name of the record, and its range of bytes.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import tqdm

from data_prep import echonet, problems, shards, source, synthetic
from echojax import records
from echojax.errors import UserError
from echojax.records import example, index, masks, tfrecord, videos


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something wrong with finished records.

    Attributes:
      file: path of the file.
      problem: what is wrong; for damage inside a shard with the record's name and byte range.
      mend: what to do.
      record: name of the damaged record, if it is one.
      offset: byte of the file at which the damaged record begins.
    """

    file: pathlib.Path
    problem: str
    mend: str
    record: str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}. Mend: {self.mend}"


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What video and mask records differ in, for checking."""

    dataset: str
    codec: example.ExampleCodec
    remake: str


def verify_source(directory: pathlib.Path, workers: int | None = None) -> list[problems.Problem]:
    """Reads the tables and decodes every video of a source folder; returns what a conversion would report."""
    found = source.read_source(directory, synthetic.find_layout(directory))
    planned = shards.plan_shards(directory, found.rows, "rgb", echonet.VIDEOS_PER_SHARD)
    result = list(found.problems)
    with tqdm.tqdm(total=len(found.rows), unit="video", desc="decoding") as bar:
        for shard, found_in_shard in shards.map_shards(check_shard_videos, planned, workers or os.cpu_count() or 1):
            result.extend(found_in_shard)
            bar.update(len(shard.rows))
    return sorted(result)


def check_shard_videos(shard: shards.Shard) -> list[problems.Problem]:
    """Decodes the videos of one shard's rows without writing anything."""
    found: list[problems.Problem] = []
    for row in shard.rows:
        shards.read_record(row, shard.pixels, found)
    return found


def verify_records(directory: pathlib.Path) -> list[Finding]:
    """Checks every byte of a folder of shards against checksums, index, descriptions and manifest."""
    kind = _find_kind(directory)
    findings = []
    if not (directory / "dataset_info.json").is_file():
        findings.append(Finding(directory / "dataset_info.json", "missing: the folder is not complete", kind.remake))
    lengths = _read_shard_lengths(directory, kind.dataset)
    manifest = _read_manifest(directory)
    arrays, finding = _read_index(directory)
    findings += [finding] if finding else []
    indexed = set(map(str, arrays["shard_name"])) if arrays else set()
    present = {path.name for path in directory.glob(f"{kind.dataset}-*.tfrecord-*")}
    for name in sorted(lengths.keys() | manifest.keys() | indexed | present):
        path = directory / name
        if name not in present:
            findings.append(Finding(path, "missing", kind.remake))
        elif lengths and name not in lengths:
            findings.append(Finding(path, "belongs to no split of dataset_info.json", "remove it"))
        else:
            findings += _check_shard(path, arrays, lengths.get(name), manifest.get(name), kind)
    return findings


def _check_shard(path, arrays, num_records: int | None, manifest: dict | None, kind: _Kind) -> list[Finding]:
    buffer = index.map_file(path)
    if manifest and len(buffer) < manifest["num_bytes"]:
        lost = _names_beyond(path.name, arrays, len(buffer))
        text = f"truncated: {len(buffer)} bytes, expected {manifest['num_bytes']}; lost or cut: {', '.join(lost)}"
        return [Finding(path, text, kind.remake, lost[0] if lost else None, len(buffer))]
    if arrays is not None and path.name in arrays["shard_name"]:
        findings = list(_check_indexed(path, buffer, arrays, kind))
    else:
        findings = list(_check_unindexed(path, buffer, kind))
    if findings:
        return findings
    count = sum(1 for _ in tfrecord.scan(path, buffer))
    if num_records is not None and count != num_records:
        findings.append(Finding(path, f"holds {count} records, dataset_info.json says {num_records}", kind.remake))
    if manifest and hashlib.sha256(buffer).hexdigest() != manifest["sha256"]:
        text = "is sound in itself, but not the file that manifest.json describes (another SHA-256)"
        findings.append(Finding(path, text, kind.remake))
    return findings


def _check_indexed(path: pathlib.Path, buffer, arrays, kind: _Kind) -> Iterator[Finding]:
    """Checks each record where the index expects it, so that one broken length does not hide the others."""
    end = 0
    for position in _positions(path.name, arrays):
        name = str(arrays["name"][position])
        offset, length = int(arrays["record_offset"][position]), int(arrays["record_bytes"][position])
        end = max(end, offset + length + tfrecord.FOOTER_BYTES)
        try:
            fields = kind.codec.decode(tfrecord.read_record(path, buffer, offset, length))
            frames_offset, _, _ = example.locate_frames(buffer, offset, length)
        except tfrecord.DamagedShard as error:
            yield Finding(path, f"record {name}: {error.text}", kind.remake, name, error.offset)
            continue
        same = fields["name"] == name and frames_offset == arrays["frames_offset"][position]
        if not same or fields["frames"].shape != tuple(arrays["frames_shape"][position]):
            text = f"the index expects {name} at byte {offset}, where {fields['name']} is"
            yield Finding(path, text, f"`{index.REBUILD.format(path.parent)}`", name, offset)
    if end != len(buffer):
        text = f"has {len(buffer)} bytes, the index covers {end}"
        yield Finding(path, text, f"`{index.REBUILD.format(path.parent)}`, or remove the file and: {kind.remake}")


def _check_unindexed(path: pathlib.Path, buffer, kind: _Kind) -> Iterator[Finding]:
    try:
        for offset, length in tfrecord.scan(path, buffer):
            try:
                kind.codec.decode(tfrecord.read_record(path, buffer, offset, length))
            except tfrecord.DamagedShard as error:
                yield Finding(path, error.text, kind.remake, None, error.offset)
    except tfrecord.DamagedShard as error:
        yield Finding(
            path, f"byte {error.offset}: {error.text}; what follows is unknown", kind.remake, None, error.offset
        )


def _positions(shard: str, arrays) -> np.ndarray:
    number = int(np.flatnonzero(arrays["shard_name"] == shard)[0])
    members = np.flatnonzero(arrays["shard"] == number)
    return members[np.argsort(arrays["record_offset"][members])]


def _names_beyond(shard: str, arrays, size: int) -> list[str]:
    if arrays is None or shard not in arrays["shard_name"]:
        return []
    ends = arrays["record_offset"] + arrays["record_bytes"] + tfrecord.FOOTER_BYTES
    return [str(arrays["name"][p]) for p in _positions(shard, arrays) if ends[p] > size]


def _find_kind(directory: pathlib.Path) -> _Kind:
    if (directory / masks.PLAN_NAME).is_file():
        plan = json.loads((directory / masks.PLAN_NAME).read_text())
        codec = example.mask_codec("float32" if plan["encoding"] == "float32" else "uint8")
        return _Kind(masks.DATASET, codec, "remove the damaged shards and infer again: the others are kept")
    manifest = directory / echonet.MANIFEST_NAME
    remake = "convert again with the same command: sound shards are kept"
    if manifest.is_file():
        options = json.loads(manifest.read_text())["options"]
        command = f"python -m data_prep {options['command']} --source={options['source']} --data_dir={directory}"
        remake = f"remove the damaged shards, then `{command} --pixels={options['pixels']}`: the others are kept"
    channels = videos.read_channels(directory) if (directory / "features.json").is_file() else 3
    return _Kind(shards.DATASET, example.video_codec(channels), remake)


def _read_shard_lengths(directory: pathlib.Path, dataset: str) -> dict[str, int]:
    path = directory / "dataset_info.json"
    if not path.is_file():
        return {}
    lengths = {}
    for split in json.loads(path.read_text())["splits"]:
        for shard, length in enumerate(split["shardLengths"]):
            lengths[example.shard_name(dataset, split["name"], shard, len(split["shardLengths"]))] = int(length)
    return lengths


def _read_manifest(directory: pathlib.Path) -> dict[str, dict]:
    path = directory / echonet.MANIFEST_NAME
    return {s["file"]: s for s in json.loads(path.read_text())["shards"]} if path.is_file() else {}


def _read_index(directory: pathlib.Path) -> tuple[dict[str, np.ndarray] | None, Finding | None]:
    try:
        arrays = index.read_arrays(directory / index.INDEX_NAME)
        return {key: arrays[key] for key in index.RECORD_KEYS}, None
    except FileNotFoundError:
        problem = "missing"
    except Exception as error:  # A damaged zip raises many kinds.
        problem = f"unreadable ({error})"
    return None, Finding(directory / index.INDEX_NAME, problem, f"`{index.REBUILD.format(directory)}`")


def rebuild_index(directory: pathlib.Path) -> None:
    """Derives `index.npz` anew from the shards."""
    if (directory / masks.PLAN_NAME).is_file():
        masks.build_mask_index(directory, _find_kind(directory).codec)
    else:
        records.build_video_index(directory, shards.DATASET)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line of `python -m data_prep verify`."""
    parser.add_argument("directory", metavar="DIR", help="source folder, data_dir, or folder of masks")
    parser.add_argument("--rebuild_index", action="store_true", help="first derive index.npz anew from the shards")
    parser.add_argument("--notes", action="store_true", help="of a source, also list what is kept as it is")
    parser.add_argument("--workers", type=int, default=None, help="processes, for a source (default: one per core)")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns 0, or 1 if something is wrong."""
    directory = pathlib.Path(args.directory)
    if (directory / source.FILE_LIST).is_file() or (directory / source.VIDEO_FOLDER).is_dir():
        return _report_source(verify_source(directory, args.workers), args.notes)
    folders = _find_record_folders(directory)
    if args.rebuild_index:
        for folder in folders:
            rebuild_index(folder)
    findings = [finding for folder in folders for finding in verify_records(folder)]
    for finding in findings:
        print(finding)
    print(f"{directory}: {len(findings)} findings" if findings else f"{directory}: sound")
    return 1 if findings else 0


def _find_record_folders(directory: pathlib.Path) -> list[pathlib.Path]:
    folders = [directory, *sorted(path for path in directory.glob("[!.]*") if path.is_dir())]
    marks = ("dataset_info.json", masks.PLAN_NAME, echonet.MANIFEST_NAME, index.INDEX_NAME, "*.tfrecord-*")
    found = [folder for folder in folders if any(next(folder.glob(mark), None) for mark in marks)]
    if not found:
        raise UserError(
            f"{directory}: holds neither {source.FILE_LIST} and {source.VIDEO_FOLDER}/ (a source), nor "
            "dataset_info.json (records), nor folders of masks"
        )
    return found


def _report_source(found: list[problems.Problem], notes: bool) -> int:
    failures = [problem for problem in found if problem.is_failure]
    for problem in found if notes else failures:
        print(problem)
    for outcome, kind, count in problems.count_kinds(found):
        print(f"{count:6d} {outcome}: {kind}")
    print(f"{len(failures)} findings that lose something" if failures else "everything can be converted")
    return 1 if failures else 0
