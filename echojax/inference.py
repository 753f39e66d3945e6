"""Trained networks over whole data sets: masks of every frame, ejection fractions of chosen clips.

Frames and clips of all videos are lined up and cut into blocks of one size, so that a single compiled program serves
videos of every length; in eval mode the block size changes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import jax
import numpy as np
from tqdm import tqdm

from echojax import clips
from echojax.data import Clips, padded_blocks, stack
from echojax.models import functional
from echojax.networks import Network
from echojax.preprocessing import Preprocessing
from echojax.records import VideoSet
from echojax.train.mesh import compiler_options, make_mesh, put_batch


def make_segment(network: Network, preprocessing: Preprocessing) -> Callable:
    """The function (params, stats, images uint8 (b, h, w, c)) -> float32 logits (b, h, w)."""

    @partial(jax.jit, compiler_options=compiler_options())
    def segment(params, stats, images):
        x = clips.normalise(images, preprocessing.mean, preprocessing.std)
        outputs, _ = functional.apply(network.definition, params, stats, x, train=False)
        return outputs["logits"]

    return segment


def make_regress(network: Network, preprocessing: Preprocessing) -> Callable:
    """The function (params, stats, batch of `echojax.data.Clips`) -> EF in percent, float32 (b,)."""

    @partial(jax.jit, compiler_options=compiler_options())
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
    wanted = [(item, int(start)) for item, of_item in enumerate(starts) for start in of_item]
    predictions = np.empty(len(wanted), np.float32)
    done = 0
    with tqdm(total=len(wanted), desc=label, unit="clip", mininterval=0.5) as progress:
        for block, num_real in padded_blocks(wanted, -(-batch_size // mesh.size) * mesh.size):
            batch = stack([source.clip_at(item, start) for item, start in block])
            predictions[done : done + num_real] = np.asarray(regress(params, stats, put_batch(mesh, batch)))[:num_real]
            done += num_real
            progress.update(num_real)
    return np.split(predictions, np.cumsum([len(of_item) for of_item in starts])[:-1])


def predict_masks(
    segment: Callable, params, stats, videos: VideoSet, positions: Sequence[int], batch_size: int, progress: tqdm
) -> Iterator[np.ndarray]:
    """Logits (t, h, w) of every frame of every video, video by video.

    Blocks of frames run across the ends of videos, so that short videos waste nothing.
    """
    mesh = make_mesh()
    block_size = -(-batch_size // mesh.size) * mesh.size
    waiting: list[np.ndarray] = []  # logits of frames whose video is not complete yet
    lengths = iter([int(videos.num_frames[position]) for position in positions])
    length = next(lengths, None)
    for block, num_real in _frame_blocks(videos, positions, block_size):
        logits = np.asarray(segment(params, stats, put_batch(mesh, block)))[:num_real]
        waiting.append(logits)
        progress.update(num_real)
        while length is not None and sum(map(len, waiting)) >= length:
            frames = np.concatenate(waiting)
            yield frames[:length]
            waiting, length = [frames[length:]], next(lengths, None)


def segment_frames(segment: Callable, params, stats, frames: np.ndarray, batch_size: int) -> np.ndarray:
    """Logits (t, h, w) of the frames (t, h, w, c) of one video, in blocks of one size."""
    mesh = make_mesh()
    blocks = padded_blocks(frames, -(-batch_size // mesh.size) * mesh.size)
    logits = [
        np.asarray(segment(params, stats, put_batch(mesh, np.stack(block))))[:num_real] for block, num_real in blocks
    ]
    return np.concatenate(logits)


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
