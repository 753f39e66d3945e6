"""A segmentation network judged on whole videos, as EchoDFKD does: Dice, LVEF, aFD, and EchoCLIP where its weights are.

One video is in memory at a time, and a few numbers of it remain. A video that fails is listed and left out. Metric
groups are those of `echojax.evaluate.dfkd` and of `echoclip.summarise_verdicts`; in `metrics.json` those of TEST stand
under their own name, those of another split under `<group>_<split>`, and Dice under the stage's name, too.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from echojax import echoclip, evaluate, lv
from echojax.data import is_traced, traced_masks
from echojax.echoclip.encoder import HOW_TO_GET_WEIGHTS
from echojax.errors import UserError
from echojax.evaluate import MaskedVideo, VideoScores
from echojax.evaluate.dfkd import DICE, HALF, LVEF
from echojax.evaluation import Run, SegmentationResults, require
from echojax.records import MaskSet, encode_logits, open_masks
from echojax.stages import common


@dataclasses.dataclass(frozen=True)
class VideoResults(SegmentationResults):
    """What the masks of a split's videos are worth; names and Dice are those of the traced videos, if there are any.

    Attributes:
      scores: of every video.
      groups: {group: {metric: Interval}}.
      failures: {name: reason} of videos that could not be judged.
      notes: what was left out, and why.
    """

    scores: list[VideoScores]
    groups: dict[str, dict[str, evaluate.Interval]]
    failures: dict[str, str]
    notes: list[str]


class Judges(NamedTuple):
    """What masks are compared with beside tracings and known LVEF, and notes on what is missing."""

    teacher: MaskSet | None
    judge: echoclip.Judge | None
    notes: list[str]


def judge_videos(run: Run, split: str) -> VideoResults:
    """Judges the masks of every video of a split; writes metrics, `predictions_<split>.csv` and `dice_<split>.csv`.

    Raises:
      UserError: the split has no video, or not one of them could be judged.
    """
    cohort = common.unlabelled_cohort(run.videos, run.videos.select(split), run.config.labels)
    require(cohort, split, run.videos)
    judges = open_judges(run, split)
    for note in judges.notes:
        print(note)
    num_seen = run.config.echoclip.num_videos
    scores, verdicts, failures = [], {}, {}
    for number, position in enumerate(tqdm(cohort.positions, desc=f"videos of {split}", unit="video", mininterval=0.5)):
        name = str(run.videos.name[position])
        if number == num_seen:
            judges = judges._replace(judge=None)
        try:
            video, verdict = _judge_video(run, int(position), judges)
            scores.append(evaluate.score_video(video))
        except (UserError, OSError, ValueError) as error:
            failures[name] = str(error)
            continue
        if verdict is not None:
            verdicts[name] = verdict
    if not scores:
        name, reason = next(iter(failures.items()))
        raise UserError(f"none of the {len(cohort)} videos of {split} could be judged; {name}: {reason}")
    groups = summarise(run, scores, verdicts)
    failed = [f"{name} failed: {reason}" for name, reason in failures.items()]
    results = _results(scores, groups, failures, [*judges.notes, *phase_notes(groups), *failed])
    _write_results(run, split, results, verdicts)
    return results


def summarise(
    run: Run, scores: Sequence[VideoScores], verdicts: dict[str, echoclip.Verdict]
) -> dict[str, dict[str, evaluate.Interval]]:
    """All metric groups of a split, with the intervals that the run's config asks for."""
    groups = evaluate.summarise_videos(scores, **run.interval)
    seen = [of_video for of_video in scores if of_video.name in verdicts]
    if seen:
        of_seen = [verdicts[of_video.name] for of_video in seen]
        known = [of_video.ef_percent for of_video in seen]
        by_area = [of_video.lvef_percent.get("lvef_echodfkd", np.nan) for of_video in seen]
        groups |= echoclip.summarise_verdicts(of_seen, known, by_area, **run.interval)
    return groups


def open_judges(run: Run, split: str) -> Judges:
    """The teacher's masks and EchoCLIP, each where it is asked for and there; a note where it is not there."""
    notes = []
    return Judges(_open_teacher(run, split, notes), _open_echoclip(run, notes), notes)


def phase_notes(groups: dict[str, dict[str, evaluate.Interval]]) -> list[str]:
    """A warning where EchoCLIP's phase signals run against the areas of the masks."""
    phase = groups.get("echoclip_phase")
    if phase is None or phase["correlation"].value > 0:
        return []
    correlation = f"mean correlation {phase['correlation'].value:.2f}"
    return [f"EchoCLIP's phase runs against the areas ({correlation}): its ED is ES; choose the other phase_sign"]


def load_video(run: Run, position: int, teacher: MaskSet | None = None) -> MaskedVideo:
    """A video's masks with what is known of it: tracings, LVEF, and ED and ES of a teacher's masks."""
    videos = run.videos
    traced = {}
    if is_traced(videos, position):
        frames, of_traced = zip(*traced_masks(videos, position, run.config.labels.ed_es_order).values(), strict=True)
        traced = {"traced_frames": frames, "traced_masks": np.stack(of_traced)}
    name, fps = str(videos.name[position]), float(videos.fps[position])
    masks = run.mask_video(position)
    of_teacher = _teacher_masks(teacher, name, len(masks))
    references = {} if of_teacher is None else {"teacher": _phase_frames(lv.area_px(of_teacher > HALF))}
    known = fps if fps > 0 else None, float(videos.ef_percent[position])
    return MaskedVideo(name, masks, *known, **traced, references=references)


def _judge_video(run: Run, position: int, judges: Judges) -> tuple[MaskedVideo, echoclip.Verdict | None]:
    video = load_video(run, position, judges.teacher)
    if judges.judge is None:
        return video, None
    of_teacher = _teacher_masks(judges.teacher, video.name, len(video.masks))
    others = {} if of_teacher is None else {"teacher": of_teacher}
    verdict = judges.judge.judge(video.name, run.videos.frames(position), video.masks, others)
    return dataclasses.replace(video, references={**video.references, "echoclip": verdict.phase_frames}), verdict


def _open_teacher(run: Run, split: str, notes: list[str]) -> MaskSet | None:
    directory = run.config.evaluation.teacher_masks_dir
    if not directory:
        return None
    try:
        masks = open_masks(directory, "python main.py --config=configs/dfkd_targets.py")
    except UserError as error:
        notes.append(f"{split}: nothing is compared with a teacher. {error}")
        return None
    names = [str(name) for name in run.videos.name[run.videos.select(split)]]
    if num_missing := sum(name not in masks for name in names):
        notes.append(f"{split}: {num_missing} of {len(names)} videos have no teacher's masks in {directory}")
    return masks


def _open_echoclip(run: Run, notes: list[str]) -> echoclip.Judge | None:
    settings, directory = run.config.echoclip, run.config.echoclip_dir
    if not settings.num_videos:
        return None
    if run.encoder is None:
        command = HOW_TO_GET_WEIGHTS.format(directory)
        notes.append(f"EchoCLIP is left out: {directory} does not exist; make it with: {command}")
        return None
    features_dir = Path(settings.features_dir or run.workdir / "echoclip").expanduser() / run.videos.data_dir.name
    return echoclip.Judge(run.encoder, features_dir, settings.frame_period, settings.modes, settings.phase_sign)


def _teacher_masks(teacher: MaskSet | None, name: str, num_frames: int) -> np.ndarray | None:
    """A teacher's masks of a video, uint8 as stored; None where it has none for each frame."""
    if teacher is None or name not in teacher or teacher.num_frames(name) != num_frames:
        return None
    masks = teacher.frames(name)
    return masks if masks.dtype == np.uint8 else encode_logits(masks, "uint8")


def _phase_frames(area_px: np.ndarray) -> tuple[int, int]:
    return evaluate.teacher_frame(area_px, "ED"), evaluate.teacher_frame(area_px, "ES")


def _results(scores: list[VideoScores], groups: dict, failures: dict[str, str], notes: list[str]) -> VideoResults:
    traced = [of_video for of_video in scores if DICE in of_video.dice]
    pairs = [of_video.dice[DICE] for of_video in traced]
    dice = (
        np.array([float(evaluate.dice_from_counts(counts)) for counts in of_phase])
        for of_phase in ([ed + es for ed, es in pairs], [ed for ed, _ in pairs], [es for _, es in pairs])
    )
    names = [of_video.name for of_video in traced]
    return VideoResults(names, *dice, groups.get(DICE, {}), scores, groups, failures, notes)


def _write_results(run: Run, split: str, results: VideoResults, verdicts: dict[str, echoclip.Verdict]) -> None:
    scores = results.scores
    if results.metrics:
        run.write_metrics(split, results.metrics)
        dice = results.dice, results.dice_ed, results.dice_es
        evaluate.write_dice(run.workdir / f"dice_{split.lower()}.csv", results.names, *dice)
    for group, metrics in results.groups.items():
        run.write_metrics(split, metrics, group)
    columns = evaluate.score_columns(scores)
    if verdicts:
        columns |= echoclip.verdict_columns([verdicts.get(of_video.name) for of_video in scores])
    name, ef = columns.pop("name"), columns.pop("ef")
    path = run.workdir / f"predictions_{split.lower()}.csv"
    evaluate.write_predictions(path, name, ef, columns[LVEF], **columns)
