"""Trained networks over videos: masks of every frame, all clips of a video, one frame after the other."""

import contextlib
import dataclasses
import io
import time
from collections.abc import Callable

import numpy as np

from benchmarks import pytorch
from benchmarks.costs import Curve, to_curve
from benchmarks.data import Data
from benchmarks.measuring import Clock, Row, relative_deviation
from benchmarks.rows.networks import (
    FORWARD_TOLERANCE,
    build_lively,
    segmentation_description,
    student_description,
    video_description,
)
from benchmarks.sizes import Sizes
from echojax import inference
from echojax.data import Clips, dataset_preprocessing
from echojax.networks import build_network
from echojax.records import encode_logits
from echojax.streaming import Streamer


def mask_row(data: Data, sizes: Sizes, clock: Clock) -> Row:
    """uint8 frames in memory to uint8 masks, as the masks of CSS are made."""
    network = build_lively(segmentation_description(sizes))
    preprocessing = dataset_preprocessing(data.videos, 0, 1, in_channels=3)
    frames = _frames(data, sizes.mask_frames)
    segment = inference.make_segment(network, preprocessing)

    def our_logits() -> np.ndarray:
        return inference.segment_frames(segment, network.params, network.stats, frames, sizes.batch)

    def theirs(form_name: str, finish: Callable):
        """Logits of all frames as `finish` leaves them, block by block."""
        import torch

        from benchmarks.pytorch import running
        from benchmarks.pytorch.losses import normalise

        form = running.form_named(form_name)
        module = running.build_module(network.description, network.params, network.stats, form)

        def run() -> np.ndarray:
            masks = []
            with torch.inference_mode(), running.precision():
                for first in range(0, len(frames), sizes.batch):
                    images = running.to_tensor(frames[first : first + sizes.batch], form)
                    logits, _ = module(normalise(images, preprocessing))
                    masks.append(finish(logits.float()).cpu())
            return torch.cat(masks).numpy()

        return run

    names = pytorch.usable(("channels-last", "channels-last, compiled"))
    forms = {name: lambda name=name: theirs(name, lambda z: (255 * z.sigmoid()).round().byte()) for name in names}
    deviation = relative_deviation(our_logits(), theirs(names[0], lambda z: z)()) if forms else None
    what = f"{len(frames)} frames of 112x112, {sizes.batch} at a time"
    tolerance = FORWARD_TOLERANCE[sizes.dtype]

    def ours() -> np.ndarray:
        return encode_logits(our_logits(), "uint8")

    row = clock.against("mask inference, DeepLabV3-ResNet50", ours, forms, what, deviation, tolerance)
    return dataclasses.replace(row, frames=len(frames))


def all_clips_row(data: Data, sizes: Sizes, clock: Clock) -> Row:
    """EF of consecutive clips of a video, from uint8 frames; the papers' test is all clips of all videos."""
    network = build_lively(video_description("r2plus1d_18", 3, sizes))
    videos = data.videos
    period = 2
    num_frames = min(sizes.clip_frames, (sizes.video_frames - sizes.evaluated_clips) // period)
    preprocessing = dataset_preprocessing(videos, num_frames, period, in_channels=3)
    source = Clips(videos, videos.select("TEST")[:1], num_frames, period)
    starts = inference.all_clip_starts(source)[0][: sizes.evaluated_clips]
    regress = inference.make_regress(network, preprocessing)

    def ours() -> np.ndarray:
        with contextlib.redirect_stderr(io.StringIO()):
            weights = network.params, network.stats
            return inference.predict_ef(regress, *weights, source, [starts], sizes.batch, "all clips")[0]

    def theirs(form_name: str):
        import torch

        from benchmarks.pytorch import running
        from benchmarks.pytorch.losses import normalise

        form = running.form_named(form_name)
        module = running.build_module(network.description, network.params, network.stats, form)

        def run() -> np.ndarray:
            frames, predicted = videos.frames(int(source.positions[0])), []
            with torch.inference_mode(), running.precision():
                for first in range(0, len(starts), sizes.batch):
                    block = [frames[start::period][:num_frames] for start in starts[first : first + sizes.batch]]
                    pictures = running.to_tensor(np.stack(block), form)
                    predicted.append(module(normalise(pictures, preprocessing)).float().cpu())
            return torch.cat(predicted).numpy()

        return run

    names = pytorch.usable(("channels-first", "channels-last", "channels-last, compiled"))
    forms = {name: lambda name=name: theirs(name) for name in names}
    deviation = relative_deviation(ours(), theirs(names[0])()) if forms else None
    what = f"{len(starts)} clips of {num_frames}x112x112, {sizes.batch} at a time"
    tolerance = FORWARD_TOLERANCE[sizes.dtype]
    row = clock.against("all-clips evaluation, R(2+1)D-18", ours, forms, what, deviation, tolerance)
    return dataclasses.replace(row, frames=len(starts) * num_frames)


def streaming_rows(sizes: Sizes) -> list[Row]:
    """Latency from a frame to its mask, the ConvLSTM student watching frame by frame: median and 99th percentile."""
    streamer = Streamer(build_network(student_description(sizes)), chunk_frames=1)
    frames = np.random.default_rng(0).integers(0, 256, (sizes.streamed_frames, 1, 112, 112), np.uint8)
    state = streamer.begin(112, 112)
    _, state = streamer.push(frames[0], state)  # compiles
    milliseconds = []
    for frame in frames:
        begin = time.perf_counter()
        logits, state = streamer.push(frame, state)
        np.asarray(logits)
        milliseconds.append(1000 * (time.perf_counter() - begin))
    what = f"{len(frames)} frames of 112x112, one by one"
    return [
        Row(f"streaming latency, {name}", float(np.percentile(milliseconds, percent)), unit="ms", what=what)
        for name, percent in (("median", 50), ("99th percentile", 99))
    ]


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
    return to_curve(f"EF of one clip of {sizes.clip_frames} frames per video, R(2+1)D-18", "videos", rows)


def _frames(data: Data, num_frames: int) -> np.ndarray:
    """RGB frames of the first videos, one after the other."""
    positions = range(-(-num_frames // data.sizes.video_frames))
    return np.concatenate([data.videos.frames(position) for position in positions])[:num_frames]
