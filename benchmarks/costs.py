"""How costs grow: time of a training step over clips, frames and devices."""

import dataclasses
from collections.abc import Iterable, Sequence

import jax

from benchmarks.measuring import Clock, Row
from benchmarks.rows.networks import build_subject, compile_training_step, step_work
from benchmarks.sizes import Sizes
from echojax.train.mesh import use_devices


@dataclasses.dataclass(frozen=True)
class Curve:
    """Seconds over a size.

    Attributes:
      name: of the work.
      axis: what grows.
      sizes, seconds: the points.
    """

    name: str
    axis: str
    sizes: Sequence[int]
    seconds: Sequence[float]


def to_curve(name: str, axis: str, rows: Iterable[tuple[int, Row]]) -> Curve:
    """The curve of rows without counterpart, each with its size."""
    sizes, seconds = zip(*((size, row.ours) for size, row in rows), strict=True)
    return Curve(name, axis, sizes, seconds)


def over_clips(sizes: Sizes, clock: Clock) -> Curve:
    """Training step of R(2+1)D-18 over clips per batch."""
    changed = ((clips, dataclasses.replace(sizes, clips=clips)) for clips in sizes.cost_clips)
    rows = ((clips, _training_step(of_size, clock)) for clips, of_size in changed)
    return to_curve(f"R(2+1)D-18 training step, clips of {sizes.clip_frames} frames", "clips", rows)


def over_frames(sizes: Sizes, clock: Clock) -> Curve:
    """Training step of R(2+1)D-18 over frames per clip."""
    changed = ((frames, dataclasses.replace(sizes, clip_frames=frames)) for frames in sizes.cost_frames)
    rows = ((frames, _training_step(of_size, clock)) for frames, of_size in changed)
    return to_curve(f"R(2+1)D-18 training step, clips in a batch: {sizes.clips}", "frames", rows)


def over_devices(sizes: Sizes, clock: Clock) -> Curve:
    """Training step of R(2+1)D-18 over the devices that a batch is split over, as far as there are so many."""
    devices = jax.devices()
    sizes = dataclasses.replace(sizes, clips=sizes.split_clips, clip_frames=sizes.cost_frames[0])

    def on(count: int) -> Row:
        with use_devices(devices[:count]):
            return _training_step(sizes, clock)

    rows = ((count, on(count)) for count in sizes.cost_devices if count <= len(devices))
    name = f"R(2+1)D-18 training step, {sizes.clips} clips of {sizes.clip_frames} frames in all"
    return to_curve(name, "devices", rows)


def _training_step(sizes: Sizes, clock: Clock) -> Row:
    subject = build_subject("r2plus1d_18", sizes)
    return clock.alone(subject.title, step_work(compile_training_step(subject)), subject.what)
