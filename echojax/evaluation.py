"""What a trained run is worth on a split: the protocols of CSS and EchoNet-Dynamic, and the files they leave.

Segmentation networks are measured by Dice on traced ED and ES frames (`echojax.judging` measures their masks of whole
videos), EF networks on one random clip per video and on all clips of a video averaged. Metrics of TEST stand in
`metrics.json` under the stage's name, those of another split under `<stage>_<split>`.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from echojax import echoclip, evaluate, inference, streaming
from echojax.data import Clips, Cohort, TracedFrames, traced_masks
from echojax.errors import UserError
from echojax.networks import Network
from echojax.preprocessing import Preprocessing
from echojax.records import MaskSet, MaskWriter, VideoSet, encode_logits, export_seg_files, open_masks
from echojax.stages import common
from echojax.train import processes

_INTERVALS = {"percentile95": {"method": "percentile", "level": 0.95}, "legacy90": {"method": "legacy90", "level": 0.9}}


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained network and where its results go.

    Attributes:
      stage: its name, under which metrics are filed.
      checkpoint: where the weights came from, in words.
      data_kind: "phantom" or "real".
    """

    stage: str
    network: Network
    preprocessing: Preprocessing
    checkpoint: str
    videos: VideoSet
    masks: MaskSet | None
    config: object
    workdir: Path
    data_kind: str

    def group(self, split: str, name: str = "") -> str:
        """Where metrics of a split stand in `metrics.json`; the name is the stage's if not given."""
        name = name or self.stage
        return name if split.upper() == "TEST" else f"{name}_{split.lower()}"

    def write_metrics(self, split: str, metrics: dict[str, evaluate.Interval], name: str = "") -> None:
        """Writes a group of metrics of a split; see `group`."""
        evaluate.update_metrics(
            self.workdir / "metrics.json",
            self.group(split, name),
            metrics,
            data=self.data_kind,
            level=self.interval["level"],
            split=split,
        )

    @functools.cached_property
    def segment(self):
        """The compiled segmentation; see `inference.make_segment`."""
        return inference.make_segment(self.network, self.preprocessing)

    @functools.cached_property
    def streamer(self) -> streaming.Streamer | None:
        """Shows videos to a recurrent network from their beginning; None for a network of single images."""
        return streaming.Streamer(self.network) if self.network.description["family"] == "convlstm" else None

    @functools.cached_property
    def encoder(self) -> echoclip.Encoder | None:
        """EchoCLIP as the config asks for it; None where its checkpoint is not there."""
        config = self.config
        if not Path(config.echoclip_dir).expanduser().exists():
            return None
        return echoclip.load_encoder(config.echoclip_dir, config.echoclip.dtype, config.echoclip.batch_size)

    @functools.cached_property
    def regress(self):
        """The compiled regression; see `inference.make_regress`."""
        return inference.make_regress(self.network, self.preprocessing)

    def segment_frames(self, frames: np.ndarray) -> np.ndarray:
        """Logits (t, h, w) of the frames (t, h, w, c) of a video."""
        if self.streamer:
            return self.streamer.segment(frames)
        batch_size = self.config.evaluation.batch_size
        return inference.segment_frames(self.segment, self.network.params, self.network.stats, frames, batch_size)

    def segment_at(self, position: int, frames: Sequence[int]) -> np.ndarray:
        """Logits (n, h, w) of some frames of the video at a position."""
        if self.streamer:
            return self.streamer.segment_at(functools.partial(self.videos.frames, position), frames)
        return self.segment_frames(np.stack([self.videos.frames(position, frame, frame + 1)[0] for frame in frames]))

    def mask_video(self, position: int) -> np.ndarray:
        """Masks of a whole video as they would be stored: uint8 (t, h, w), probability times 255.

        Raises:
          UserError: they are not finite.
        """
        if self.streamer:
            read, num_frames = functools.partial(self.videos.frames, position), int(self.videos.num_frames[position])
            pieces = self.streamer.stream(read, num_frames)
        else:
            pieces = [self.segment_frames(self.videos.frames(position))]
        encoding = "floor" if self.config.infer.encoding == "floor" else "uint8"
        masks = []
        for logits in pieces:
            if not np.isfinite(logits).all():
                raise UserError("the network's masks are not finite")
            masks.append(encode_logits(logits, encoding))
        return np.concatenate(masks)

    def segment_videos(self, positions: Sequence[int], progress: tqdm) -> Iterator[np.ndarray]:
        """Logits (t, h, w) of every frame of the videos at some positions, video by video."""
        if self.streamer:
            return streaming.predict_masks(self.streamer, self.videos, positions, progress)
        weights, batch_size = (self.network.params, self.network.stats), self.config.evaluation.batch_size
        return inference.predict_masks(self.segment, *weights, self.videos, positions, batch_size, progress)

    def segment_traced(self, source: TracedFrames) -> tuple[evaluate.DiceCounts, evaluate.DiceCounts]:
        """Dice counts of every video's ED and ES frame."""
        if self.streamer:
            return _segment_traced_videos(self, source)
        weights, batch_size = (self.network.params, self.network.stats), self.config.evaluation.batch_size
        return common.segment_traced(self.segment, *weights, source, batch_size)

    def predict_ef(self, source: Clips, starts: list[np.ndarray], label: str) -> list[np.ndarray]:
        """EF in percent of the clips of each video that begin at its `starts`; see `inference.predict_ef`."""
        batch_size = self.config.evaluation.batch_size
        weights = self.network.params, self.network.stats
        return inference.predict_ef(self.regress, *weights, source, starts, batch_size, label)

    @property
    def interval(self) -> dict:
        name = self.config.evaluation.interval
        if name not in _INTERVALS:
            raise UserError(f"evaluation.interval is {name!r}, expected one of {', '.join(_INTERVALS)}")
        return _INTERVALS[name]


@dataclasses.dataclass(frozen=True)
class SegmentationResults:
    """Dice of each video of a split: both frames pooled, ED and ES."""

    names: list[str]
    dice: np.ndarray
    dice_ed: np.ndarray
    dice_es: np.ndarray
    metrics: dict[str, evaluate.Interval]


@dataclasses.dataclass(frozen=True)
class EfResults:
    """EF of each video of a split, in percent, and what was predicted; `all_clips` is None where not asked for."""

    names: list[str]
    ef: np.ndarray
    one_clip: np.ndarray  # (seeds, videos)
    all_clips: np.ndarray | None
    metrics: dict[str, evaluate.Interval]

    @property
    def predicted(self) -> np.ndarray:
        """The better protocol's prediction: all clips averaged, else the mean of the single clips."""
        return self.one_clip.mean(0) if self.all_clips is None else self.all_clips


def evaluate_segmentation(run: Run, split: str) -> SegmentationResults:
    """Dice on the traced frames of a split: `dice_<split>.csv` and metrics, pooled and averaged over videos."""
    cohort = common.traced_cohort(run.videos, run.videos.select(split))
    require(cohort, split, run.videos)
    source = TracedFrames(run.videos, cohort.positions, run.config.labels.ed_es_order)
    ed, es = run.segment_traced(source)
    metrics = evaluate.summarise_dice(ed, es, **run.interval)
    run.write_metrics(split, metrics)
    names = [source.name(item) for item in range(len(source))]
    dice = [evaluate.dice_from_counts(counts) for counts in (ed + es, ed, es)]
    evaluate.write_dice(run.workdir / f"dice_{split.lower()}.csv", names, *dice)
    return SegmentationResults(names, *dice, metrics)


def evaluate_ef(run: Run, split: str) -> EfResults:
    """EF of a split by one clip and by all clips: predictions per video and per clip, metrics, plots."""
    masks = run.masks if run.preprocessing.in_channels == 4 else None
    cohort = common.ef_cohort(run.videos, run.videos.select(split), run.config.labels, masks)
    require(cohort, split, run.videos)
    source = _clips(run, cohort.positions, masks)
    results = _predict_split(run, source, split)
    run.write_metrics(split, results.metrics)
    columns = {f"ef_one_clip_{seed}": ef for seed, ef in zip(_seeds(run), results.one_clip, strict=True)}
    path = run.workdir / f"predictions_{split.lower()}.csv"
    evaluate.write_predictions(path, results.names, results.ef, results.predicted, **columns)
    return results


def predict_split(run: Run, split: str) -> None:
    """EF of every video of a split, known or not, over all clips: the CSV files alone."""
    masks = run.masks if run.preprocessing.in_channels == 4 else None
    cohort = common.unlabelled_cohort(run.videos, run.videos.select(split), run.config.labels, masks=masks)
    require(cohort, split, run.videos)
    source = _clips(run, cohort.positions, masks)
    predicted = _all_clips(run, source, split)
    names = [source.name(item) for item in range(len(source))]
    ef = run.videos.ef_percent[source.positions]
    evaluate.write_predictions(run.workdir / f"predictions_{split.lower()}.csv", names, ef, predicted)


def infer_masks(run: Run, split: str) -> None:
    """Writes the masks of every frame of a split's videos to `masks/<split>/`; a killed run goes on where it was.

    Several processes share the shards; none writes before all have seen which are missing.
    """
    infer = run.config.infer
    videos = run.videos
    cohort = common.unlabelled_cohort(videos, videos.select(split), run.config.labels)
    require(cohort, split, videos)
    names = [str(name) for name in videos.name[cohort.positions]]
    writer = processes.first_then_others(
        lambda: MaskWriter(
            run.workdir / "masks",
            split,
            names,
            encoding=infer.encoding,
            num_shards=-(-len(names) // infer.videos_per_shard),
            producer=run.checkpoint,
        )
    )
    pending = processes.share(list(writer.pending()))
    processes.wait()
    positions = {shard: [videos.position(name) for name in names] for shard, names in pending}
    num_frames = sum(int(videos.num_frames[position]) for shard in positions.values() for position in shard)
    title, silent = f"masks of {split}", not processes.is_first()
    with tqdm(total=num_frames, desc=title, unit="frame", mininterval=0.5, disable=silent) as progress:
        for shard, names in pending:
            writer.write_shard(shard, zip(names, run.segment_videos(positions[shard], progress), strict=True))
    processes.wait()

    def finish() -> None:
        writer.finish()
        if infer.seg_npz:
            export_seg_files(open_masks(writer.directory), run.workdir / "seg_npz")

    processes.first_does(finish)


def _segment_traced_videos(run: Run, source: TracedFrames) -> tuple[evaluate.DiceCounts, evaluate.DiceCounts]:
    """Dice counts of ED and ES by a recurrent network, which sees each video up to the later of the two."""
    logits, masks = [], []
    for position in tqdm(source.positions, desc="traced frames", unit="video", mininterval=0.5):
        traced = traced_masks(source.videos, position, source.ed_es_order).values()
        logits.append(run.segment_at(position, [frame for frame, _ in traced]))
        masks.append(np.stack([mask for _, mask in traced]))
    predicted, true = np.stack(logits, axis=1) > 0, np.stack(masks, axis=1)
    return tuple(evaluate.dice_counts(predicted[phase], true[phase]) for phase in (0, 1))


def _predict_split(run: Run, source: Clips, split: str) -> EfResults:
    ef = run.videos.ef_percent[source.positions].astype(np.float64)
    one_clip = []
    for seed in _seeds(run):
        starts = inference.one_clip_starts(source, seed)
        one_clip.append(np.concatenate(run.predict_ef(source, starts, f"{split}, one clip, seed {seed}")))
    one_clip = np.array(one_clip, np.float64).reshape(len(_seeds(run)), len(ef))
    all_clips = _all_clips(run, source, split) if run.config.evaluation.all_clips else None
    if all_clips is None and not len(one_clip):
        raise UserError("evaluation.all_clips is off and evaluation.one_clip_seeds is empty: nothing to evaluate")
    metrics = {} if all_clips is None else evaluate.summarise_ef(all_clips, ef, **run.interval)
    if len(one_clip):
        metrics |= _one_clip_metrics(one_clip, ef, run.interval)
    names = [source.name(item) for item in range(len(source))]
    return EfResults(names, ef, one_clip, all_clips, metrics)


def _all_clips(run: Run, source: Clips, split: str) -> np.ndarray:
    """Mean prediction over the starts of each video, every start weighing the same; writes `clips_<split>.csv`."""
    starts = inference.all_clip_starts(source, run.config.evaluation.clip_stride)
    predicted = run.predict_ef(source, starts, f"{split}, all clips")
    lengths = [len(of_video) for of_video in starts]
    names = np.repeat([source.name(item) for item in range(len(source))], lengths)
    path = run.workdir / f"clips_{split.lower()}.csv"
    evaluate.write_clips(path, names, np.concatenate(starts), np.concatenate(predicted))
    return np.array([of_video.mean(dtype=np.float64) for of_video in predicted])


def _one_clip_metrics(one_clip: np.ndarray, ef: np.ndarray, interval: dict) -> dict[str, evaluate.Interval]:
    """Metrics of a single random clip per video, averaged over the seeds; the interval is over videos."""

    def mean_over_seeds(metric):
        return evaluate.batched(lambda ef, *seeds: np.mean([metric(each, ef) for each in seeds], axis=0))

    metrics = {"mae": evaluate.mae, "rmse": evaluate.rmse, "r2": evaluate.r2}
    return {
        f"{name}_one_clip": evaluate.bootstrap(mean_over_seeds(metric), ef, *one_clip, **interval)
        for name, metric in metrics.items()
    }


def _clips(run: Run, positions: np.ndarray, masks: MaskSet | None) -> Clips:
    preprocessing = run.preprocessing
    return Clips(run.videos, positions, preprocessing.num_frames, preprocessing.period, masks=masks)


def _seeds(run: Run) -> tuple[int, ...]:
    return tuple(run.config.evaluation.one_clip_seeds)


def require(cohort: Cohort, split: str, videos: VideoSet) -> None:
    """Says which videos of a split take part; none is a UserError."""
    print(f"{split.upper()}: {cohort.describe()}")
    if not len(cohort):
        raise UserError(f"{videos.data_dir}: {split.upper()} has no video to evaluate ({cohort.describe()})")
