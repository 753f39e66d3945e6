"""How costs grow: time of a step over clips, frames and devices, of inference over videos."""

import contextlib
import dataclasses
import io
from collections.abc import Iterable

import jax
import numpy as np

from benchmarks.data import Data
from benchmarks.measuring import Clock, Row
from benchmarks.rows.networks import build_subject, compile_training_step, step_work, video_description
from benchmarks.sizes import Sizes
from echojax import inference
from echojax.data import Clips, dataset_preprocessing
from echojax.networks import build_network
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
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]


def _curve(name: str, axis: str, rows: Iterable[tuple[int, Row]]) -> Curve:
    sizes, seconds = zip(*((size, row.ours) for size, row in rows), strict=True)
    return Curve(name, axis, sizes, seconds)


def over_clips(sizes: Sizes, clock: Clock) -> Curve:
    """Training step of R(2+1)D-18 over clips per batch."""
    changed = ((clips, dataclasses.replace(sizes, clips=clips)) for clips in sizes.cost_clips)
    rows = ((clips, _training_step(of_size, clock)) for clips, of_size in changed)
    return _curve(f"R(2+1)D-18 training step, clips of {sizes.clip_frames} frames", "clips", rows)


def over_frames(sizes: Sizes, clock: Clock) -> Curve:
    """Training step of R(2+1)D-18 over frames per clip."""
    changed = ((frames, dataclasses.replace(sizes, clip_frames=frames)) for frames in sizes.cost_frames)
    rows = ((frames, _training_step(of_size, clock)) for frames, of_size in changed)
    return _curve(f"R(2+1)D-18 training step, {sizes.clips} clips", "frames", rows)


def over_devices(sizes: Sizes, clock: Clock) -> Curve:
    """Training step of R(2+1)D-18 over devices, every device with as many clips."""
    devices = jax.devices()
    counts = [2**power for power in range(len(devices).bit_length()) if 2**power <= len(devices)]

    def on(count: int) -> Row:
        with use_devices(devices[:count]):
            return _training_step(dataclasses.replace(sizes, clips=sizes.clips * count), clock)

    rows = ((count, on(count)) for count in counts)
    return _curve(f"R(2+1)D-18 training step, {sizes.clips} clips per device", "devices", rows)


def over_videos(data: Data, sizes: Sizes, clock: Clock) -> Curve:
    """EF of one clip of each video over videos, reading included."""
    network = build_network(video_description("r2plus1d_18", 3, sizes))
    preprocessing = dataset_preprocessing(data.videos, sizes.clip_frames, 1, in_channels=3)
    regress = inference.make_regress(network, preprocessing)

    def of(num_videos: int) -> Row:
        source = Clips(data.videos, np.arange(num_videos), sizes.clip_frames, 1)
        starts = inference.one_clip_starts(source, seed=0)

        def work() -> None:
            with contextlib.redirect_stderr(io.StringIO()):
                inference.predict_ef(regress, network.params, network.stats, source, starts, sizes.batch, "")

        return clock.alone("", work, "")

    rows = ((num_videos, of(num_videos)) for num_videos in sizes.cost_videos)
    return _curve(f"EF of one clip of {sizes.clip_frames} frames per video, R(2+1)D-18", "videos", rows)


def _training_step(sizes: Sizes, clock: Clock) -> Row:
    subject = build_subject("r2plus1d_18", sizes)
    return clock.alone(subject.title, step_work(compile_training_step(subject)), subject.what)
