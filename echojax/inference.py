"""Trained networks over whole data sets: masks of every frame, ejection fractions of chosen clips.

Frames and clips of all videos are lined up and cut into blocks of one size, so that a single compiled program serves
videos of every length; in eval mode the block size changes nothing. Several processes share the clips.

The device is never waited for: a block's result is fetched when the next one is under way. Of overlapping clips the
frames are read and sent once, and the clips cut on the device. More is not shared between them: what a video network
makes of a frame depends on its place in the clip from the second convolution on, as each clip is padded at its ends.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from echojax import clips
from echojax.data import Clips, padded_blocks, stack
from echojax.models import functional
from echojax.networks import Network
from echojax.preprocessing import Preprocessing
from echojax.records import VideoSet
from echojax.resident import lay_out, look_up, number_frames
from echojax.train import processes
from echojax.train.mesh import compiler_options, make_mesh, put_batch, replicated, round_up

T = TypeVar("T")

_WINDOW_FRAMES = 2048  # frames that are on the device at once, of all clips of a dozen videos: 77 MB in RGB


def make_segment(network: Network, preprocessing: Preprocessing) -> Callable:
    """The function (params, stats, images uint8 (b, h, w, c)) -> float32 logits (b, h, w)."""

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def segment(params, stats, images):
        x = clips.normalise(images, preprocessing.mean, preprocessing.std)
        outputs, _ = functional.apply(network.definition, params, stats, x, train=False)
        return outputs["logits"]

    return segment


def make_regress(network: Network, preprocessing: Preprocessing) -> Callable:
    """The function (params, stats, batch of `echojax.data.Clips`) -> EF in percent, float32 (b,)."""

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def regress(params, stats, batch):
        x = clips.prepare_clips(
            batch["clip"],
            batch["num_valid"],
            preprocessing.mean,
            preprocessing.std,
            masks=batch.get("mask"),
            decimate=preprocessing.decimate,
        )
        outputs, _ = functional.apply(network.definition, params, stats, x, train=False)
        return outputs["ef"]

    return regress


def predict_ef(
    regress: Callable, params, stats, source: Clips, starts: Sequence[np.ndarray], batch_size: int, label: str
) -> list[np.ndarray]:
    """EF in percent of every clip asked for.

    Args:
      regress: from `make_regress`.
      source: the videos.
      starts: first frames of the clips, one array per video of `source`.
      batch_size: clips per forward pass, rounded up to what the devices divide.
      label: what the progress bar says.

    Returns:
      One float32 array per video, as long as its starts.
    """
    mesh = make_mesh()
    block_size = round_up(batch_size, mesh)
    lengths = source.videos.num_frames[source.positions]
    wanted = [(item, int(start)) for item, of_item in enumerate(starts) for start in of_item]
    if len(wanted) * source.num_frames > sum(lengths):
        groups, read = _group_by_frames(wanted, lengths), _cut_clips
    else:
        groups, read = [wanted[first : first + block_size] for first in range(0, len(wanted), block_size)], _read_clips
    share = processes.share(groups)
    running = ((regress(params, stats, batch), num_real) for batch, num_real in read(source, share, block_size, mesh))
    num_clips = [len(group) for group in share]
    fetched = [np.empty(0, np.float32)]
    silent = not processes.is_first()
    with tqdm(total=sum(num_clips), desc=label, unit="clip", mininterval=0.5, disable=silent) as progress:
        for of_block in _fetch(running):
            fetched.append(of_block)
            progress.update(len(of_block))
    of_groups = np.split(np.concatenate(fetched), np.cumsum(num_clips)[:-1]) if share else []
    gathered = processes.gather([{"ef": of_group} for of_group in of_groups])
    ef = np.concatenate([np.empty(0, np.float32), *(of_group["ef"] for of_group in gathered)])
    return np.split(ef, np.cumsum([len(of_item) for of_item in starts])[:-1])


def _group_by_frames(wanted: Sequence[tuple[int, int]], lengths: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Clips (item, start) in groups of whole, neighbouring videos, of up to `_WINDOW_FRAMES` frames together."""
    groups, num_frames, last = [], 0, None
    for item, of_item in itertools.groupby(wanted, key=lambda clip: clip[0]):
        # A video without clips in between lies in the window, too.
        num_frames += sum(lengths[item if last is None else last + 1 : item + 1])
        if last is None or num_frames > _WINDOW_FRAMES:
            groups.append([])
            num_frames = lengths[item]
        groups[-1].extend(of_item)
        last = item
    return groups


def _read_clips(source: Clips, groups: Sequence[list], block_size: int, mesh: Mesh) -> Iterator[tuple[dict, int]]:
    """Blocks of clips on the device, each clip read and sent for itself; how many of each block are real."""
    for group in groups:
        for block, num_real in padded_blocks(group, block_size):
            yield put_batch(mesh, stack((source.clip_at(*clip) for clip in block), block_size)), num_real


def _cut_clips(source: Clips, groups: Sequence[list], block_size: int, mesh: Mesh) -> Iterator[tuple[dict, int]]:
    """The same blocks, cut on the device out of the frames of each group, which are read while it is busy."""
    cut = _make_cut(tuple(source.pictures.items()), mesh)
    lengths = source.videos.num_frames[source.positions]
    # One size for all groups; of fewer frames than a window has, no more than there are.
    capacity = 1 + max(*lengths, min(_WINDOW_FRAMES, sum(lengths)))
    for group, (numbered, rows) in zip(groups, _ahead(_read_windows(source, groups, capacity)), strict=True):
        rows = jax.device_put(rows, replicated(mesh))
        first = group[0][0]
        for block, num_real in padded_blocks(group, block_size):
            numbers = stack((numbered.clip_at(item - first, start) for item, start in block), block_size)
            yield cut(rows, put_batch(mesh, numbers)), num_real


@functools.cache
def _make_cut(pictures: tuple[tuple[str, str], ...], mesh: Mesh) -> Callable:
    """The function (rows, batch of numbers) -> batch of clips, compiled once for all evaluations of a process."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return jax.jit(lambda rows, fields: look_up(rows, dict(pictures), fields), out_shardings=sharding)


def _read_windows(source: Clips, groups: Sequence[list], capacity: int) -> Iterator[tuple[Clips, dict]]:
    """Of each group's videos: the source with numbers of frames, and their frames in arrays of one size."""
    for group in groups:
        of_group = dataclasses.replace(source, positions=source.positions[group[0][0] : group[-1][0] + 1])
        flats = lay_out([of_group])
        rows = {}
        for kind, flat in flats.items():
            rows[kind] = np.empty((capacity, *flat.frame_shape), flat.dtype)
            for first, frames in flat.blocks(256):
                rows[kind][first : first + len(frames)] = frames
        yield number_frames(of_group, flats), rows


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by a thread while the one before it is in use."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _fetch(running: Iterator[tuple[jax.Array, int]]) -> Iterator[np.ndarray]:
    """Results of blocks, without what fills them up, each fetched when the next block has been started."""
    last = None
    for block in running:
        if last is not None:
            yield np.asarray(last[0])[: last[1]]
        last = block
    if last is not None:
        yield np.asarray(last[0])[: last[1]]


def predict_masks(
    segment: Callable, params, stats, videos: VideoSet, positions: Sequence[int], batch_size: int, progress: tqdm
) -> Iterator[np.ndarray]:
    """Logits (t, h, w) of every frame of every video, video by video.

    Blocks of frames run across the ends of videos, so that short videos waste nothing.
    """
    mesh = make_mesh()
    block_size = round_up(batch_size, mesh)
    waiting: list[np.ndarray] = []  # logits of frames whose video is not complete yet
    lengths = iter([int(videos.num_frames[position]) for position in positions])
    length = next(lengths, None)
    blocks = _frame_blocks(videos, positions, block_size)
    running = ((segment(params, stats, put_batch(mesh, block)), num_real) for block, num_real in blocks)
    for logits in _fetch(running):
        waiting.append(logits)
        progress.update(len(logits))
        while length is not None and sum(map(len, waiting)) >= length:
            frames = np.concatenate(waiting)
            yield frames[:length]
            waiting, length = [frames[length:]], next(lengths, None)


def segment_frames(segment: Callable, params, stats, frames: np.ndarray, batch_size: int) -> np.ndarray:
    """Logits (t, h, w) of the frames (t, h, w, c) of one video, in blocks of one size."""
    mesh = make_mesh()
    blocks = padded_blocks(frames, round_up(batch_size, mesh))
    running = ((segment(params, stats, put_batch(mesh, np.stack(block))), num_real) for block, num_real in blocks)
    return np.concatenate(list(_fetch(running)))


def _frame_blocks(videos: VideoSet, positions: Sequence[int], block_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """All frames of all videos in blocks of one size, the last filled up; yields (uint8 (b, h, w, c), num_real)."""
    waiting = None
    for position in positions:
        frames = videos.frames(position)
        waiting = frames if waiting is None else np.concatenate([waiting, frames])
        while len(waiting) >= block_size:
            yield waiting[:block_size], block_size
            waiting = waiting[block_size:]
    if waiting is not None and len(waiting):
        fill = np.repeat(waiting[-1:], block_size - len(waiting), axis=0)
        yield np.concatenate([waiting, fill]), len(waiting)


def one_clip_starts(source: Clips, seed: int) -> list[np.ndarray]:
    """One random start per video; the same for every network that is asked."""
    return [
        np.array([source.draw_start(item, np.random.default_rng([seed, int(position)]))])
        for item, position in enumerate(source.positions)
    ]


def all_clip_starts(source: Clips, stride: int = 1) -> list[np.ndarray]:
    """Every stride-th start of every video."""
    num_frames = source.videos.num_frames
    return [
        clips.all_starts(int(num_frames[position]), source.num_frames, source.period)[::stride]
        for position in source.positions
    ]
