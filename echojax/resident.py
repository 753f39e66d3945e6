"""Training with the whole data set in memory: on the accelerators, or in the host's.

    stage = make_resident(stages.ef.build(config), config.data.resident)    # "", "host" or "device"

Batches have the bits of those that are streamed from disk, for every stage; no stage knows where its frames come from.

- "device": frames and masks of the videos that take part lie on each device as two uint8 arrays, all frames in one row.
  The data iterator yields the numbers of frames (`echojax.records.flat`) with the few figures that go with them; the
  compiled step looks the frames up, then normalises and crops as always. A batch of 20 clips of 32 frames is 3 kB
  instead of 8 MB in grey.
- "host": the same row in the host's memory, from which the reading threads copy the clips. Disk or network are read
  once.

All of EchoNet-Dynamic takes 22 GB in grey and 66 GB in RGB; what a stage trains on is counted, and compared with what
is free, before anything is read. Validation and evaluation read from disk: they see each video once.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from tqdm import tqdm

from echojax import clips
from echojax.data import Batches, ExampleSource
from echojax.errors import UserError
from echojax.records.flat import FlatFrames
from echojax.train.loop import Stage
from echojax.train.mesh import make_training_mesh, replicated

PyTree = Any
PLACES = ("", "host", "device")
_BLOCK_FRAMES = 2048  # frames that go to the devices at once: 26 MB in grey


def make_resident(stage: Stage, place: str) -> Stage:
    """The same stage with the frames and masks of its training videos in memory.

    Args:
      place: "device", "host", or "" for the stage as it is, which streams from disk.

    Raises:
      UserError: they do not fit there, with the bytes they need and those that are free.
    """
    if place not in PLACES:
        raise UserError(f"data.resident is {place!r}, expected {', '.join(map(repr, PLACES))}")
    if not place:
        return stage
    flats = lay_out([stream.source for stream in stage.batches.streams.values()])
    mesh = make_training_mesh()
    check_memory(place, flats, mesh)
    notes = (*stage.notes, f"in memory ({place}): {_describe(flats)}")
    if place == "host":
        return dataclasses.replace(stage, batches=read_from_host(stage.batches, flats), notes=notes)
    resident = put_on_devices(stage.batches, flats, mesh)

    def loss(params, stats, constants, batch, step, key):
        return stage.loss(params, stats, constants["stage"], resident.cut(constants["frames"], batch), step, key)

    constants = {"stage": stage.constants, "frames": resident.rows}
    return dataclasses.replace(stage, batches=resident.batches, loss=loss, constants=constants, notes=notes)


class Resident(NamedTuple):
    """Batches whose frames are on the devices.

    Attributes:
      batches: of frame numbers in the place of frames.
      rows: "frames" uint8 (n, h, w, c) and, where there are masks, "masks" (n, h, w); on every device of the mesh.
      cut: (rows, batch of numbers) -> batch as it would be streamed; jit-able.
    """

    batches: Batches
    rows: dict[str, jax.Array]
    cut: Callable[[Mapping[str, jax.Array], PyTree], PyTree]


def lay_out(sources: Sequence[ExampleSource]) -> dict[str, FlatFrames]:
    """Where the frames and masks of all videos of the sources are to lie: "frames", and "masks" where there are any."""
    wanted = {}  # of each kind: the data set, and the names wanted of it
    for source in sources:
        names = {source.name(item) for item in range(len(source))}
        for kind, records in _stored(source).items():
            known, of_kind = wanted.setdefault(kind, (records, set()))
            if known is not records:
                raise ValueError(f"the sources read {kind} of several data sets, expected one")
            of_kind |= names
    return {kind: FlatFrames(records.parts(names)) for kind, (records, names) in wanted.items()}


def read_from_host(batches: Batches, flats: Mapping[str, FlatFrames]) -> Batches:
    """The same batches, copied from the host's memory; reads everything now."""
    rows = {}
    for kind, flat in flats.items():
        with tqdm(total=flat.num_frames, desc=f"{kind} into memory", unit="frame", mininterval=0.5) as progress:
            rows[kind] = np.empty((flat.num_frames, *flat.frame_shape), flat.dtype)
            for first, block in flat.blocks(_BLOCK_FRAMES):
                rows[kind][first : first + len(block)] = block
                progress.update(len(block))
    readers = {kind: functools.partial(flat.pixels, row=rows[kind]) for kind, flat in flats.items()}
    return batches.with_sources(lambda source: _read_through(source, readers))


def put_on_devices(batches: Batches, flats: Mapping[str, FlatFrames], mesh: Mesh) -> Resident:
    """Batches of frame numbers, and the frames on every device of the mesh; reads everything now."""
    numbered = batches.with_sources(lambda source: number_frames(source, flats))
    rows = {kind: _put_row(kind, flat, mesh) for kind, flat in flats.items()}
    pictures = {name: stream.source.pictures for name, stream in batches.streams.items()}

    def cut(rows, batch):
        looked_up = {stream: look_up(rows, pictures[stream], fields) for stream, fields in batch.items()}
        # From here on the compiled step is the one that is given pixels, so that its sums have the same bits.
        return lax.optimization_barrier(looked_up)

    return Resident(numbered, rows, cut)


def number_frames(source: ExampleSource, flats: Mapping[str, FlatFrames]) -> ExampleSource:
    """The same source with numbers of frames in the place of its pictures."""
    return _read_through(source, {kind: flat.numbers for kind, flat in flats.items()})


def look_up(rows: Mapping[str, jax.Array], pictures: Mapping[str, str], fields: Mapping[str, jax.Array]) -> dict:
    """A batch of a source with pictures in the place of their numbers.

    Args:
      rows: "frames" (n, h, w, c) and, where there are masks, "masks" (n, h, w).
      pictures: of the source; see `ExampleSource`.
      fields: of "frames" numbers (..., 1), of "gray" frames and "masks" numbers (...).
    """

    def pixels(kind: str, numbers: jax.Array) -> jax.Array:
        if kind == "frames":
            numbers = numbers[..., 0]
        found = rows["masks" if kind == "masks" else "frames"].at[numbers].get(mode="promise_in_bounds")
        return clips.to_gray(found) if kind == "gray" else found

    return {field: pixels(pictures[field], values) if field in pictures else values for field, values in fields.items()}


def check_memory(place: str, flats: Mapping[str, FlatFrames], mesh: Mesh) -> None:
    """Raises UserError unless the frames fit into what is free of the memory asked for."""
    needed = sum(flat.num_bytes for flat in flats.values())
    devices = mesh.local_devices
    limits = [stats["bytes_limit"] - stats["bytes_in_use"] for d in devices if (stats := d.memory_stats())]
    if place == "device" and limits:
        free, where = min(limits), f"on each device, {devices[0].device_kind} has"
    else:  # a CPU's memory is the host's, and every device of it has a row of its own
        needed *= len(devices) if place == "device" else 1
        free, where = free_host_bytes(), "of the host's memory, which has"
    if needed > free:
        other = "data.resident=host, " if place == "device" and limits else ""
        raise UserError(
            f"data.resident={place} needs {_size(needed)} for {_describe(flats)} {where} {_size(free)} free; "
            f"use {other}data.resident='' to stream from disk, or convert with --pixels=gray, a third of RGB"
        )


def free_host_bytes() -> int:
    """Memory that programs can still have, where the system says; otherwise all there is."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _stored(source: ExampleSource) -> dict:
    """The data sets that a source's pictures come from; none if it makes pictures of its own, which then streams."""
    wanted = {"masks" if kind == "masks" else "frames" for kind in source.pictures.values()}
    found = {"frames": source.videos, "masks": getattr(source, "masks", None)}
    return {kind: records for kind, records in found.items() if kind in wanted and records is not None}


def _read_through(source: ExampleSource, make_readers: Mapping[str, Callable]) -> ExampleSource:
    """A source that reads its pictures in another way."""
    fields = {"frames": "videos", "masks": "masks"}
    changed = {fields[kind]: records.read_through(make_readers[kind]) for kind, records in _stored(source).items()}
    return dataclasses.replace(source, **changed)


def _put_row(kind: str, flat: FlatFrames, mesh: Mesh) -> jax.Array:
    """The row on every device, block by block: the host never holds more than one."""
    sharding = replicated(mesh)

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=sharding)
    def write(row, block, first):
        return lax.dynamic_update_slice_in_dim(row, block, first, axis=0)

    shape = (flat.num_frames, *flat.frame_shape)
    row = jax.jit(functools.partial(jnp.zeros, shape, flat.dtype), out_shardings=sharding)()
    with tqdm(total=flat.num_frames, desc=f"{kind} to the devices", unit="frame", mininterval=0.5) as progress:
        for first, block in flat.blocks(_BLOCK_FRAMES):
            row = write(row, block, np.int32(first))
            progress.update(len(block))
    return row


def _describe(flats: Mapping[str, FlatFrames]) -> str:
    return ", ".join(
        f"{flat.num_frames - 1:,} {kind} ({_size(flat.num_bytes)} of {flat.dtype})" for kind, flat in flats.items()
    )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
