"""Shards to batches: which videos take part, what one example is, and the endless, resumable row of batches.

A batch is a pure function of the seed and the step: every epoch has its own permutation, every example its own random
generator. The iterator's state is therefore one number, batches do not depend on the number of readers or hosts, and a
run that is resumed sees exactly what an undisturbed one would have seen.
"""

import abc
import collections
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import grain
import numpy as np

from echojax import clips, lv
from echojax.errors import UserError
from echojax.preprocessing import Preprocessing
from echojax.records import MaskSet, VideoSet

Example = dict[str, np.ndarray]


# --- Which videos take part -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Positions of the videos that take part, and how many were left out for which reason."""

    positions: np.ndarray
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.positions)

    def describe(self) -> str:
        reasons = ", ".join(f"{count} left out: {reason}" for reason, count in self.left_out.items() if count)
        return f"{len(self)} videos" + (f" ({reasons})" if reasons else "")


def usual_size(videos: VideoSet) -> tuple[int, int]:
    """The most frequent (height, width) of a data set."""
    sizes = collections.Counter(zip(videos.height.tolist(), videos.width.tolist(), strict=True))
    return sizes.most_common(1)[0][0]


def data_kind(videos: VideoSet) -> str:
    """What the data set shows: "phantom" or "real"; the converter writes it down."""
    manifest = videos.data_dir / "manifest.json"
    return json.loads(manifest.read_text()).get("kind", "real") if manifest.exists() else "real"


def read_names(path: str) -> list[str]:
    """Names of videos from a text file, one a line, with or without `.avi`.

    Raises:
      UserError: the file is not there, is no text or names nothing.
    """
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no readable text file ({error}); expected one video's name a line") from error
    names = [line.strip().removesuffix(".avi") for line in lines if line.strip()]
    if not names:
        raise UserError(f"{path}: is empty, expected one video's name a line")
    return names


def is_traced(videos: VideoSet, position: int) -> bool:
    """True if ED and ES can be told from the tracings: two distinct traced frames inside the video."""
    frames = {tracing.frame for tracing in videos.tracings(position)}
    return len({frame for frame in frames if 0 <= frame < videos.num_frames[position]}) >= 2


def traced_masks(videos: VideoSet, position: int, order: str) -> dict[str, tuple[int, np.ndarray]]:
    """Frame and mask (h, w) of the "ed" and the "es" tracing of a video for which `is_traced` holds."""
    height, width = int(videos.height[position]), int(videos.width[position])
    tracings = [tracing for tracing in videos.tracings(position) if tracing.frame < videos.num_frames[position]]
    pair = lv.ed_es_tracings(tracings, height, width, order=order)
    return {
        phase: (tracing.frame, lv.mask_from_tracing(tracing.points, height, width))
        for phase, tracing in (("ed", pair.ed), ("es", pair.es))
    }


def cohort(videos: VideoSet, positions: np.ndarray, keep: Mapping[str, Callable[[int], bool]]) -> Cohort:
    """Applies the conditions in order; each maps the reason for leaving a video out to the test for keeping it."""
    left_out = dict.fromkeys(keep, 0)
    kept = []
    for position in positions:
        failed = next((reason for reason, test in keep.items() if not test(int(position))), None)
        if failed is None:
            kept.append(position)
        else:
            left_out[failed] += 1
    return Cohort(np.array(kept, np.int64), left_out)


def ssl_positions(videos: VideoSet, num_labelled: int, num_unlabelled: int) -> tuple[np.ndarray, np.ndarray]:
    """Labelled and unlabelled TRAIN videos (CSS, seed 0 over all TRAIN rows in file order); -1 is the paper's share.

    The draw is over the source's list, so that a video that could not be read changes nobody else's part.
    """
    names = videos.source_names("TRAIN")
    default_labelled, default_unlabelled = clips.default_ssl_counts(len(names))
    labelled, unlabelled = clips.ssl_split(
        len(names),
        default_labelled if num_labelled < 0 else num_labelled,
        default_unlabelled if num_unlabelled < 0 else num_unlabelled,
    )
    position_of = {videos.name[position]: position for position in videos.select("TRAIN")}

    def positions(rows):
        found = [position_of[names[row]] for row in np.sort(rows) if names[row] in position_of]
        return np.array(found, np.int64)

    return positions(labelled), positions(unlabelled)


# --- What one example is ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ExampleSource(abc.ABC):
    """One example for each of the videos at `positions`."""

    videos: VideoSet
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def name(self, item: int) -> str:
        return str(self.videos.name[self.positions[item]])

    @abc.abstractmethod
    def example(self, item: int, rng: np.random.Generator) -> Example:
        """The example of the video at `positions[item]`; all that is random in it comes from `rng`."""


@dataclasses.dataclass(frozen=True)
class TracedFrames(ExampleSource):
    """ED and ES frame of a video with their traced masks: `ed`, `es` uint8 (h,w,c); `ed_mask`, `es_mask` bool (h,w)."""

    ed_es_order: str = "area"

    def example(self, item: int, rng: np.random.Generator) -> Example:
        del rng  # nothing here is random
        position = self.positions[item]
        example = {}
        for phase, (frame, mask) in traced_masks(self.videos, position, self.ed_es_order).items():
            example[phase] = self.videos.frames(position, frame, frame + 1)[0]
            example[f"{phase}_mask"] = mask
        return example


@dataclasses.dataclass(frozen=True)
class Clips(ExampleSource):
    """One random clip per video, for EF networks.

    `clip` uint8 (t,h,w,c), frames beyond the video zero; `num_valid` frames that exist; `start`; `ef` percent;
    with `pad`, `crop` (2,); with masks, `mask` (t,h,w) as stored.
    """

    num_frames: int
    period: int
    masks: MaskSet | None = None
    pad: int = 0
    sampling: str = "uniform"

    def example(self, item: int, rng: np.random.Generator) -> Example:
        example = {}
        if self.pad:
            example["crop"] = clips.crop_offsets(rng, self.pad)
        return example | self.clip_at(item, self.draw_start(item, rng))

    def clip_at(self, item: int, start: int) -> Example:
        """The clip that starts at a given frame."""
        position = self.positions[item]
        span = start, self.num_frames, self.period, int(self.videos.num_frames[position])
        frames, num_valid = read_clip(functools.partial(self.videos.frames, position), *span)
        example = {
            "clip": frames,
            "num_valid": np.int32(num_valid),
            "start": np.int32(start),
            "ef": np.float32(self.videos.ef_percent[position]),
        }
        if self.masks is not None:
            example["mask"], _ = read_clip(functools.partial(self.masks.frames, self.name(item)), *span)
        return example

    def draw_start(self, item: int, rng: np.random.Generator) -> int:
        """A random start: any, or with "annotated" sampling one whose clip holds a traced frame, ED or ES at random."""
        position = self.positions[item]
        num_frames = int(self.videos.num_frames[position])
        if self.sampling == "annotated":
            traced = sorted({t.frame for t in self.videos.tracings(position) if t.frame < num_frames})
            if traced:
                frame = traced[0] if rng.integers(2) else traced[-1]
                return clips.annotated_start(rng, frame, num_frames, self.num_frames, self.period)
        return clips.uniform_start(rng, num_frames, self.num_frames, self.period)


@dataclasses.dataclass(frozen=True)
class CycleClips(ExampleSource):
    """Unlabelled clip for the cyclic loss: `cycle_clip` uint8 (t,h,w,c) and `template_start`, the phase s to match."""

    num_frames: int
    period: int
    template: int
    chunk: int
    offset: int

    def example(self, item: int, rng: np.random.Generator) -> Example:
        position = self.positions[item]
        num_frames = int(self.videos.num_frames[position])
        start = clips.uniform_start(rng, num_frames, self.num_frames, self.period)
        read = functools.partial(self.videos.frames, position)
        frames, _ = read_clip(read, start, self.num_frames, self.period, num_frames)
        template_start = clips.template_start(rng, self.template, self.chunk, self.offset)
        return {"cycle_clip": frames, "template_start": np.int32(template_start)}


def read_clip(
    read: Callable[[int, int, int], np.ndarray], start: int, length: int, period: int, num_frames: int
) -> tuple[np.ndarray, int]:
    """Reads frames start, start + period, ... of a video; what lies beyond its end is zero.

    Returns:
      The clip (length, ...) and how many of its frames exist.
    """
    first, stop, step, num_valid = clips.clip_slice(start, length, period, num_frames)
    frames = read(first, stop, step)
    if num_valid == length:
        return frames, num_valid
    return np.concatenate([frames, np.zeros((length - num_valid, *frames.shape[1:]), frames.dtype)]), num_valid


# --- The row of batches -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Stream:
    """A source of examples and how many of them one step takes, over all hosts."""

    source: ExampleSource
    batch_size: int


class Batches:
    """Batches of one or several streams, indexed by step.

    Attributes:
      steps_per_epoch: full batches that the first stream gives; a last, smaller one is dropped.
    """

    def __init__(self, streams: Mapping[str, Stream], seed: int, host: int = 0, num_hosts: int = 1):
        self.streams = dict(streams)
        self.seed = seed
        self.host, self.num_hosts = host, num_hosts
        for name, stream in self.streams.items():
            if not len(stream.source):
                raise UserError(f"no {name} video is left to train on; see the counts above for the reasons")
        first = next(iter(self.streams.values()))
        if len(first.source) < first.batch_size:
            raise UserError(
                f"train.batch_size is {first.batch_size}, but only {len(first.source)} labelled videos can be used; "
                "lower it or add videos"
            )
        self.steps_per_epoch = len(first.source) // first.batch_size

    def names(self, step: int) -> dict[str, list[str]]:
        """Names of the videos of a step's global batch, per stream; for messages."""
        return {
            name: [stream.source.name(int(item)) for item in self._items(number, stream, step)[0]]
            for number, (name, stream) in enumerate(self.streams.items())
        }

    def batch(self, step: int) -> dict[str, dict[str, np.ndarray]]:
        """This host's part of a step's batch: {stream: {field: array with a leading batch axis}}."""
        return {
            name: self._stream_batch(number, stream, step) for number, (name, stream) in enumerate(self.streams.items())
        }

    def _stream_batch(self, number: int, stream: Stream, step: int) -> Example:
        items, places = self._items(number, stream, step)
        if stream.batch_size % self.num_hosts == 0:  # a stream too small to divide is read whole by every host
            local = stream.batch_size // self.num_hosts
            part = slice(self.host * local, (self.host + 1) * local)
            items, places = items[part], places[part]
        epoch = step // self.steps_per_epoch
        examples = [
            stream.source.example(int(item), np.random.default_rng([self.seed, number, epoch, int(place)]))
            for item, place in zip(items, places, strict=True)
        ]
        return stack(examples)

    def _items(self, number: int, stream: Stream, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The items of a step and their places in the epoch; a stream shorter than an epoch is shuffled anew."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        places = step_of_epoch * stream.batch_size + np.arange(stream.batch_size)
        rounds = places // len(stream.source)
        orders = {
            round_: np.random.default_rng([self.seed, number, epoch, round_, 1]).permutation(len(stream.source))
            for round_ in set(rounds.tolist())
        }
        items = [orders[round_][place % len(stream.source)] for round_, place in zip(rounds, places, strict=True)]
        return np.array(items), places

    def iterate(self, first_step: int, num_steps: int, num_threads: int, prefetch: int) -> Iterator[dict]:
        """Batches of steps first_step to num_steps - 1, read ahead by `num_threads` threads in their fixed order."""
        steps = grain.MapDataset.source(_Steps(self, first_step, num_steps))
        return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)))


@dataclasses.dataclass(frozen=True)
class _Steps:
    """The batches of a span of steps, as Grain wants to see them."""

    batches: Batches
    first_step: int
    num_steps: int

    def __len__(self) -> int:
        return self.num_steps - self.first_step

    def __getitem__(self, index: int) -> dict:
        return self.batches.batch(self.first_step + index)


def stack(examples: Sequence[Example]) -> Example:
    """Stacks examples field by field along a new leading axis."""
    return {field: np.stack([example[field] for example in examples]) for field in examples[0]}


def padded_blocks(items: Sequence, block_size: int) -> Iterator[tuple[list, int]]:
    """Cuts items into blocks of one size, the last filled up by repeating its last item; yields (block, num_real)."""
    for first in range(0, len(items), block_size):
        block = list(items[first : first + block_size])
        yield block + [block[-1]] * (block_size - len(block)), len(block)


# --- Pixel statistics -------------------------------------------------------------------------------------------------


def pixel_statistics(videos: VideoSet, size: tuple[int, int], num_videos: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation per RGB channel, grey levels.

    As CSS: over clips of 16 frames, period 2, of 128 TRAIN videos. A fixed seed, so that all stages of a data set share
    one pair; videos of another size are not counted.
    """
    train = videos.select("TRAIN")
    train = train[(videos.height[train] == size[0]) & (videos.width[train] == size[1])]
    if not len(train):
        raise UserError(f"{videos.data_dir}: no TRAIN video of {size[0]}x{size[1]} to take pixel statistics from")
    chosen = train[clips.statistics_choice(len(train), min(num_videos, len(train)))]
    count, total, total_squares = 0, np.zeros(3), np.zeros(3)
    for position in chosen:
        rng = np.random.default_rng([0, int(position)])
        num_frames = int(videos.num_frames[position])
        start = clips.uniform_start(rng, num_frames, 16, 2)
        first, stop, step, _ = clips.clip_slice(start, 16, 2, num_frames)
        pixels = videos.frames(position, first, stop, step).reshape(-1, videos.channels[position]).astype(np.float64)
        count += len(pixels)
        total += pixels.sum(0)
        total_squares += np.square(pixels).sum(0)
    mean = total / count
    return mean.astype(np.float32), np.sqrt(total_squares / count - mean**2).astype(np.float32)


def dataset_preprocessing(
    videos: VideoSet, num_frames: int, period: int, in_channels: int, decimate: int = 1
) -> Preprocessing:
    """The preprocessing of a network trained on a data set: its usual size and its pixel statistics."""
    size = usual_size(videos)
    mean, std = pixel_statistics(videos, size)
    return Preprocessing(
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        size=size,
        num_frames=num_frames,
        period=period,
        in_channels=in_channels,
        source="TRAIN videos of the data set",
        decimate=decimate,
    )
