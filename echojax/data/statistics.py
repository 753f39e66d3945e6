"""Mean and deviation of a data set's grey levels, and the preprocessing that they make."""

import numpy as np

from echojax import clips
from echojax.data.cohorts import usual_size
from echojax.errors import UserError
from echojax.preprocessing import Preprocessing
from echojax.records import VideoSet


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
