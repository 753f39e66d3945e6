"""What one example is: everything that training takes from one video at a time."""

import abc
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np

from echojax import clips
from echojax.data.cohorts import traced_masks
from echojax.records import MaskSet, VideoSet

Example = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ExampleSource(abc.ABC):
    """One example for each of the videos at `positions`.

    Attributes:
      pictures: fields that are frames as stored, and what of: "frames", "gray" (frames without colour) or "masks".
    """

    pictures: ClassVar[Mapping[str, str]] = {}

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

    pictures: ClassVar[Mapping[str, str]] = {"ed": "frames", "es": "frames"}

    ed_es_order: str = "area"

    def example(self, item: int, rng: np.random.Generator) -> Example:
        del rng  # nothing here is random
        position = self.positions[item]
        if item not in self._packed:
            masks = traced_masks(self.videos, position, self.ed_es_order).items()
            self._packed[item] = {phase: (frame, np.packbits(mask), mask.shape) for phase, (frame, mask) in masks}
        example = {}
        for phase, (frame, packed, shape) in self._packed[item].items():
            example[phase] = self.videos.view(position, frame, frame + 1)[0]
            example[f"{phase}_mask"] = np.unpackbits(packed, count=math.prod(shape)).reshape(shape).astype(bool)
        return example

    @functools.cached_property
    def _packed(self) -> dict[int, dict[str, tuple[int, np.ndarray, tuple[int, int]]]]:
        """Masks once drawn, as bits: drawing one takes longer than reading a clip."""
        return {}


@dataclasses.dataclass(frozen=True)
class Clips(ExampleSource):
    """One random clip per video, for EF networks.

    `clip` uint8 (t,h,w,c), frames beyond the video zero; `num_valid` frames that exist; `start`; `ef` percent;
    with `pad`, `crop` (2,); with masks, `mask` (t,h,w) as stored.
    """

    pictures: ClassVar[Mapping[str, str]] = {"clip": "frames", "mask": "masks"}

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
        frames, num_valid = read_clip(functools.partial(self.videos.view, position), *span)
        example = {
            "clip": frames,
            "num_valid": np.int32(num_valid),
            "start": np.int32(start),
            "ef": np.float32(self.videos.ef_percent[position]),
        }
        if self.masks is not None:
            example["mask"], _ = read_clip(functools.partial(self.masks.view, self.name(item)), *span)
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

    pictures: ClassVar[Mapping[str, str]] = {"cycle_clip": "frames"}

    num_frames: int
    period: int
    template: int
    chunk: int
    offset: int

    def example(self, item: int, rng: np.random.Generator) -> Example:
        position = self.positions[item]
        num_frames = int(self.videos.num_frames[position])
        start = clips.uniform_start(rng, num_frames, self.num_frames, self.period)
        read = functools.partial(self.videos.view, position)
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


def stack(examples: Iterable[Example], size: int | None = None) -> Example:
    """Stacks examples field by field along a new leading axis.

    Args:
      size: how many there are, where they come one by one: memory then holds them once, in the batch.
    """
    size = len(examples) if size is None else size
    batch = {}
    for number, example in enumerate(examples):
        for field, value in example.items():
            if number == 0:
                batch[field] = np.empty((size, *np.shape(value)), np.asarray(value).dtype)
            batch[field][number] = value
    return batch


def padded_blocks(items: Sequence, block_size: int) -> Iterator[tuple[list, int]]:
    """Cuts items into blocks of one size, the last filled up by repeating its last item; yields (block, num_real)."""
    for first in range(0, len(items), block_size):
        block = list(items[first : first + block_size])
        yield block + [block[-1]] * (block_size - len(block)), len(block)
