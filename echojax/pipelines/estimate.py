"""How long stages will take, from rates that are measured on the machine with the real networks, batches and videos.

A few steps of each stage are timed, and a few blocks of frames and clips. What a stage needs from one that has not run
yet is stood in for by empty masks and random weights: the time of a step does not depend on them.
"""

import contextlib
import dataclasses
import importlib
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from echojax import inference
from echojax.data import Clips
from echojax.records import MaskWriter, VideoSet, open_masks, open_videos
from echojax.stages import common
from echojax.train import checkpoint, processes
from echojax.train.loop import Stage
from echojax.train.mesh import make_training_mesh, place, put_batch, state_shardings
from echojax.train.optimiser import make_optimiser
from echojax.train.state import initial_state
from echojax.train.step import compile_step, make_train_step

# Blocks of frames or clips that are timed; one more comes before, to compile.
_NUM_BLOCKS = 3


@dataclasses.dataclass(frozen=True)
class Work:
    """An amount of work and how fast it goes, on all machines together."""

    stage: str
    amount: int
    unit: str
    per_second: float

    @property
    def seconds(self) -> float:
        return self.amount / self.per_second


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What is left to do.

    Attributes:
      works: all of it.
      compile_seconds: what compiling the steps took; a run compiles as long again unless it keeps compiled programs.
      device: what it was measured on.
    """

    works: tuple[Work, ...]
    compile_seconds: float
    device: str

    @property
    def seconds(self) -> float:
        """Of everything; checkpoints, metrics and pages come on top."""
        return self.compile_seconds + sum(work.seconds for work in self.works)

    def describe(self, price_per_hour: float = 0.0) -> str:
        """A table; with a price, what it will cost."""
        lines = [f"\nEstimate from rates measured now, on {self.device}:"]
        for work in self.works:
            rate = f"{work.per_second:,.2f} {work.unit}/s"
            lines.append(f"  {work.stage:<8} {work.amount:>10,} {work.unit:<7} {rate:>20} {work.seconds:>10,.0f} s")
        lines.append(f"  {'compile':<47} {self.compile_seconds:>10,.0f} s")
        hours = self.seconds / 3600
        cost = f", {hours * price_per_hour:,.2f} at {price_per_hour:g} per hour" if price_per_hour else ""
        lines.append(f"  {'total':<47} {self.seconds:>10,.0f} s = {hours:.2f} hours{cost}")
        return "\n".join([*lines, "Checkpoints, metrics and pages come on top."])

    def to_json(self) -> dict:
        """The same as JSON."""
        works = [dataclasses.asdict(work) | {"seconds": work.seconds} for work in self.works]
        total = {"compile_seconds": self.compile_seconds, "seconds": self.seconds}
        return {"device": self.device, "works": works, **total}


def estimate_stages(stages: Mapping[str, ConfigDict], workdir: Path, num_steps: int) -> Estimate:
    """Times a few steps of the stages that are still to run and counts what they have to do.

    Args:
      stages: css, teacher and kd or the last of them, in this order.
      workdir: where the stages' own folders are.
      num_steps: how many steps of each are timed.
    """
    works, compile_seconds = [], 0.0
    with _stand_ins(stages, workdir) as configs:
        for name, config in configs.items():
            stage = importlib.import_module(f"echojax.stages.{name}").build(config)
            steps_per_second, compile_of_stage = time_steps(stage, config, num_steps)
            compile_seconds += compile_of_stage
            works.append(Work(name, _steps_left(stage, stages[name], workdir / name), "steps", steps_per_second))
            works.append(_forward_work(name, stage, config))
            if name == "teacher":
                _save_stand_in(stage, Path(configs["teacher"].teacher_dir))
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return Estimate(tuple(work for work in works if work.amount), compile_seconds, device)


def time_steps(stage: Stage, config, num_steps: int) -> tuple[float, float]:
    """Steps per second of a stage over the training mesh, reading included, and the seconds it took to compile."""
    mesh, optimiser = make_training_mesh(), make_optimiser(0.0, config.optimiser.momentum, 0.0, config.optimiser.name)
    # Copies: the state is donated, and the network is needed afterwards.
    weights = jax.tree.map(jnp.copy, (stage.network.params, stage.network.stats))
    state = initial_state(*weights, optimiser, config.seed)
    state = place(state, state_shardings(mesh, state, config.mesh.shard_params))
    constants = place(stage.constants, state_shardings(mesh, stage.constants, shard_params=False))
    batches = stage.batches.of_host(jax.process_index(), jax.process_count(), mesh.size)
    sizes = {name: stream.batch_size for name, stream in batches.streams.items()}
    rows = batches.iterate(0, num_steps + 1, config.train.num_threads, config.train.prefetch)
    batch = put_batch(mesh, next(rows), sizes)
    step = make_train_step(stage.loss, optimiser, config.train.accumulate, stage.sums_examples, mesh)
    compiled = compile_step(step, mesh, state, constants, batch)
    state, metrics = compiled.run(state, constants, batch)
    jax.block_until_ready(metrics)
    begin = time.perf_counter()
    for row in rows:
        state, metrics = compiled.run(state, constants, put_batch(mesh, row, sizes))
    jax.block_until_ready(metrics)
    return num_steps / (time.perf_counter() - begin), compiled.compile_seconds


@contextlib.contextmanager
def _stand_ins(stages: Mapping[str, ConfigDict], workdir: Path) -> Iterator[dict[str, ConfigDict]]:
    """Configs whose inputs exist: for teacher and student, empty masks of as many videos as a batch takes."""
    folder = workdir / "stand_ins"
    configs = {name: stage.copy_and_resolve_references() for name, stage in stages.items()}
    if "kd" in stages:
        processes.first_does(lambda: _write_empty_masks(stages["kd"], folder / "masks"))
    for name in configs.keys() & {"teacher", "kd"}:
        configs[name].masks_dir = str(folder / "masks")
        if "teacher" in configs:
            configs[name].teacher_dir = str(folder / "teacher")
    try:
        yield configs
    finally:
        processes.first_does(lambda: shutil.rmtree(folder, ignore_errors=True))


def _write_empty_masks(config, directory: Path) -> None:
    videos = open_videos(config.data_dir)
    labelled, unlabelled = common.training_positions(videos, config.labels)
    positions = [
        *common.ef_cohort(videos, labelled, config.labels).positions[: config.train.batch_size],
        *common.unlabelled_cohort(videos, unlabelled, config.labels).positions[: config.kd.unlabelled_batch_size],
    ]
    shutil.rmtree(directory, ignore_errors=True)
    writer = MaskWriter(directory, "TRAIN", [str(videos.name[position]) for position in positions], num_shards=1)
    for shard, names in writer.pending():
        writer.write_shard(shard, ((name, _empty_masks(videos, videos.position(name))) for name in names))
    writer.finish()


def _empty_masks(videos: VideoSet, position: int) -> np.ndarray:
    return np.zeros((videos.num_frames[position], videos.height[position], videos.width[position]), np.uint8)


def _save_stand_in(stage: Stage, directory: Path) -> None:
    """Writes a stage's untrained network, for the next stage to start from."""
    about = {"stage": stage.name, "network": stage.network.description, "preprocessing": stage.preprocessing}
    empty = {"step": 0, "best": None, "iterator": {}, "config": {}, "versions": {}}
    metadata = checkpoint.Metadata(**about, **empty)
    mesh = make_training_mesh()
    weights = stage.network.params, stage.network.stats
    weights = place(weights, state_shardings(mesh, weights, shard_params=False))
    checkpoint.save_weights(directory, *weights, metadata)


def _steps_left(stage: Stage, config, workdir: Path) -> int:
    steps_per_epoch = stage.batches.steps_per_epoch
    if stage.name == "teacher":  # which saw only videos with a stand-in for their masks
        videos = open_videos(config.data_dir)
        labelled, _ = common.training_positions(videos, config.labels)
        steps_per_epoch = len(common.ef_cohort(videos, labelled, config.labels)) // config.train.batch_size
    steps = config.train.num_epochs * steps_per_epoch
    if config.train.max_steps >= 0:
        steps = min(steps, config.train.max_steps)
    newest = checkpoint.Checkpoints(workdir, config.train.keep_checkpoints).newest()
    return max(0, steps - (int(newest.name) if newest else 0))


def _forward_work(name: str, stage: Stage, config) -> Work:
    """What a stage's network has to see in validation, in evaluation and for masks: frames, or clips."""
    videos = open_videos(config.data_dir)
    num_validations = -(-config.train.num_epochs // config.validation.every_epochs)
    val, test = (videos.select(split) for split in ("VAL", "TEST"))
    if name == "css":
        infer = [position for split in config.infer.splits for position in videos.select(split)]
        num_frames = int(videos.num_frames[infer].sum()) if config.infer.after_training else 0
        amount = 2 * len(val) * num_validations + num_frames + 2 * len(test)
        return Work(name, amount, "frames", _time_frames(stage, config, videos))
    clip, masks = config.clip, open_masks(config.masks_dir) if stage.preprocessing.in_channels == 4 else None
    settings = config.evaluation
    source = Clips(videos, test, clip.num_frames, clip.period)
    starts = inference.all_clip_starts(source, settings.clip_stride) if settings.all_clips else []
    amount = len(val) * config.validation.num_passes * num_validations + len(test) * len(settings.one_clip_seeds)
    amount += sum(map(len, starts))
    known = test if masks is None else np.array([videos.position(name) for name in masks.name])
    source = Clips(videos, known, clip.num_frames, clip.period, masks=masks)
    return Work(name, amount, "clips", _time_clips(stage, config, source))


def _time_frames(stage: Stage, config, videos: VideoSet) -> float:
    """Frames per second of all processes together, reading included."""
    segment = inference.make_segment(stage.network, stage.preprocessing)
    weights, batch_size = (stage.network.params, stage.network.stats), config.evaluation.batch_size
    size = videos.height, videos.width
    usual = [p for p in videos.select("ALL") if (size[0][p], size[1][p]) == tuple(stage.preprocessing.size)]
    wanted = np.flatnonzero(np.cumsum(videos.num_frames[usual]) >= _NUM_BLOCKS * batch_size)
    timed = usual[: int(wanted[0]) + 1 if len(wanted) else len(usual)]
    with tqdm(disable=True) as silent:
        for positions in (usual[:1], timed):
            begin, num_frames = time.perf_counter(), 0
            for logits in inference.predict_masks(segment, *weights, videos, positions, batch_size, silent):
                num_frames += len(logits)
            seconds = time.perf_counter() - begin
    return jax.process_count() * num_frames / seconds


def _time_clips(stage: Stage, config, source: Clips) -> float:
    """Clips per second of all processes together, reading included."""
    regress = inference.make_regress(stage.network, stage.preprocessing)
    weights, batch_size = (stage.network.params, stage.network.stats), config.evaluation.batch_size
    starts = inference.all_clip_starts(source, config.evaluation.clip_stride)
    num_clips = np.cumsum([len(of_video) for of_video in starts])
    # Where these few videos fall to one of several processes, all of them together will be faster than this.
    enough = np.flatnonzero(num_clips >= _NUM_BLOCKS * batch_size * jax.process_count())
    num_videos = min(max(int(enough[0]) + 1 if len(enough) else len(source), jax.process_count()), len(source))
    source, starts = dataclasses.replace(source, positions=source.positions[:num_videos]), starts[:num_videos]
    for _ in range(2):  # the first time compiles
        begin = time.perf_counter()
        inference.predict_ef(regress, *weights, source, starts, batch_size, f"{stage.name}: rate")
        seconds = time.perf_counter() - begin
    return int(num_clips[num_videos - 1]) / seconds
