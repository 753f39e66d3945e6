"""EchoDFKD's evaluation of a segmentation network on video: Dice, LVEF from masks, and aFD (section 7).

    scores = [score_video(video) for video in videos]   # one MaskedVideo at a time in memory
    groups = summarise_videos(scores)                   # {group: {metric: Interval}} for metrics.json

| group                        | what                                                                             |
|------------------------------|----------------------------------------------------------------------------------|
| `dice_at_80`, `dice_at_half` | Dice at the traced frames; masks above 80 / 255, the original's, and above 1/2   |
| `lvef_echodfkd`              | ratio of areas above 80 / 255 at the traced frames; the original reports r alone |
| `lvef_<method>_traced`       | simpson, area_length or area of cleaned masks above 1/2 at the traced frames     |
| `lvef_<method>_beats`        | the same at the beats found in the masks, pooled: needs no label                 |
| `afd_<protocol>_<reference>` | distance of ED and ES from a reference; see `afd`                                |
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from echojax import lv
from echojax.errors import UserError
from echojax.evaluate.frame_distance import PHASES, PROTOCOLS, UVT_MIN_SEPARATION_FRAMES, FrameDistance, afd
from echojax.evaluate.overlap import DiceCounts, dice_counts, dice_from_counts
from echojax.evaluate.resampling import Interval, bootstrap, mean
from echojax.evaluate.summary import summarise_agreement, summarise_dice

# A pixel belongs to the ventricle where its stored probability, 0 .. 255, is above these.
DICE_THRESHOLDS = {"dice_at_80": 80, "dice_at_half": 127}
LVEF_THRESHOLD = 80
AREA_THRESHOLD = 25
HALF = 127

# The groups that are a network's own figures: masks above 1/2, and volumes by discs at beats found without a label.
DICE = "dice_at_half"
LVEF = "lvef_simpson_beats"

Frames = tuple[int, int]  # of ED and ES


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedVideo:
    """What a network says of a video, and what is known about it.

    Attributes:
        name: without extension.
        masks: uint8 (t, h, w), probabilities times 255, as they are stored.
        fps: frames per second; None where not known.
        ef_percent: known LVEF; nan where not known.
        traced_frames: ED and ES of the human tracings; None where there are none.
        traced_masks: bool (2, h, w), ED and ES; None where there are none.
        references: other references of aFD by name, e.g. {"teacher": (ed, es), "echoclip": (ed, es)}.
    """

    name: str
    masks: UInt8[np.ndarray, "t h w"]
    fps: float | None = None
    ef_percent: float = float("nan")
    traced_frames: Frames | None = None
    traced_masks: Bool[np.ndarray, "2 h w"] | None = None
    references: Mapping[str, Frames] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class VideoScores:
    """What remains of a `MaskedVideo`: small enough to keep for every video of a split.

    Attributes:
        name, ef_percent: those of the video.
        dice: {group: counts of ED and of ES}; empty without tracings.
        lvef_percent: {group: LVEF}; nan where it cannot be had.
        distances: {group: {"ED", "ES": distance}}.
        beats: ED and ES of every beat found.
    """

    name: str
    ef_percent: float
    dice: Mapping[str, tuple[DiceCounts, DiceCounts]]
    lvef_percent: Mapping[str, float]
    distances: Mapping[str, Mapping[str, FrameDistance]]
    beats: Sequence[lv.Beat]


def evaluate_videos(videos: Iterable[MaskedVideo], **options) -> dict[str, dict[str, Interval]]:
    """All metric groups of a split; see the module's table. `options` are those of `bootstrap`."""
    return summarise_videos([score_video(video) for video in videos], **options)


def score_video(video: MaskedVideo) -> VideoScores:
    """Measures one video.

    Raises:
        UserError: masks that are not uint8 (t, h, w), or tracings that do not fit them.
    """
    _check_video(video)
    function = lv.measure_function(video.masks > HALF, video.fps)
    lvef = {f"lvef_{method}_beats": value for method, value in function.pooled_lvef_percent.items()}
    dice = {}
    if video.traced_frames is not None:
        lvef |= _traced_lvef(video)
        predicted = video.masks[list(video.traced_frames)]
        for group, threshold in DICE_THRESHOLDS.items():
            both = dice_counts(predicted > threshold, video.traced_masks)
            dice[group] = tuple(DiceCounts(both.intersection[phase], both.total[phase]) for phase in (0, 1))
    return VideoScores(
        video.name, float(video.ef_percent), dice, lvef, _distances(video, function.curves.area), function.beats
    )


def summarise_videos(scores: Sequence[VideoScores], **options) -> dict[str, dict[str, Interval]]:
    """Metrics over videos with their intervals.

    A video counts wherever it has what a metric needs; each metric's `n` says how many do.

    Args:
        scores: of `score_video`.
        options: those of `bootstrap`.

    Returns:
        {group: {metric: Interval}}: Dice as `summarise_dice`, LVEF as `summarise_agreement`, aFD as `summarise_afd`.
        Groups that no video has anything for are left out.
    """
    groups = {}
    for group in DICE_THRESHOLDS:
        counts = [of_video.dice[group] for of_video in scores if group in of_video.dice]
        if counts:
            groups[group] = summarise_dice(*map(_stack_counts, zip(*counts, strict=True)), **options)
    for group in _names(of_video.lvef_percent for of_video in scores):
        values = [(of_video.lvef_percent.get(group, np.nan), of_video.ef_percent) for of_video in scores]
        if np.isfinite(values).all(axis=1).any():
            groups[group] = summarise_agreement(*np.transpose(values), **options)
    for group in _names(of_video.distances for of_video in scores):
        distances = [of_video.distances[group] for of_video in scores if group in of_video.distances]
        groups[group] = summarise_afd(distances, **options)
    return groups


def summarise_afd(distances: Sequence[Mapping[str, FrameDistance]], **options) -> dict[str, Interval]:
    """aFD, the mean of |distance| over videos, and the mean distance, of ED and ES in frames and milliseconds.

    Args:
        distances: {"ED", "ES": distance} of each video. What was not found has no distance and is left out.
        options: those of `bootstrap`.

    Returns:
        {"ed_frames", "ed_ms", "ed_bias_frames", "ed_bias_ms"} and the same for ES; a positive bias is too late.
    """
    summary = {}
    for phase in PHASES:
        for unit, field in (("frames", "distance"), ("ms", "milliseconds")):
            values = [getattr(of_video[phase], field) for of_video in distances]
            known = np.array([value for value in values if value is not None], np.float64)
            for name, numbers in ((unit, np.abs(known)), (f"bias_{unit}", known)):
                interval = bootstrap(mean, numbers, **options) if len(known) else Interval(np.nan, np.nan, np.nan, 0)
                summary[f"{phase.lower()}_{name}"] = interval
    return summary


def score_columns(scores: Sequence[VideoScores]) -> dict[str, list[Any]]:
    """Scores as columns for `write_csv`: name, known EF, Dice per threshold and phase, every LVEF, every distance."""
    columns = {"name": [of_video.name for of_video in scores], "ef": [of_video.ef_percent for of_video in scores]}
    for group in _names(of_video.dice for of_video in scores):
        for index, phase in enumerate(PHASES):
            counts = [of_video.dice.get(group) for of_video in scores]
            columns[f"{group}_{phase.lower()}"] = [
                float("nan") if pair is None else float(dice_from_counts(pair[index])) for pair in counts
            ]
    for group in _names(of_video.lvef_percent for of_video in scores):
        columns[group] = [of_video.lvef_percent.get(group, float("nan")) for of_video in scores]
    for group in _names(of_video.distances for of_video in scores):
        for phase in PHASES:
            found = [of_video.distances.get(group, {}).get(phase) for of_video in scores]
            columns[f"{group}_{phase.lower()}"] = [
                "" if distance is None or distance.distance is None else distance.distance for distance in found
            ]
    return columns


def _traced_lvef(video: MaskedVideo) -> dict[str, float]:
    predicted = video.masks[list(video.traced_frames)]
    curves = lv.measure_frames(predicted > HALF)
    sizes = {"simpson": curves.simpson_volume, "area_length": curves.area_length_volume, "area": curves.area}
    found = {f"lvef_{method}_traced": float(lv.lvef(*size)) for method, size in sizes.items()}
    return {"lvef_echodfkd": float(lv.area_lvef(*lv.area_px(predicted > LVEF_THRESHOLD)))} | found


def _distances(video: MaskedVideo, area_px: np.ndarray) -> dict[str, dict[str, FrameDistance]]:
    human = {} if video.traced_frames is None else {"human": video.traced_frames}
    # The references' own threshold belongs to their protocol; beats are looked for in the masks that measure volumes.
    areas = dict.fromkeys(PROTOCOLS, lv.area_px(video.masks > AREA_THRESHOLD)) | {"blind": area_px}
    return {
        f"afd_{protocol}_{reference}": {
            phase: afd(areas[protocol], frame, phase, protocol, video.fps)
            for phase, frame in zip(PHASES, frames, strict=True)
        }
        for reference, frames in {**human, **video.references}.items()
        for protocol in PROTOCOLS
        if protocol != "uvt" or abs(frames[0] - frames[1]) > UVT_MIN_SEPARATION_FRAMES
    }


def _check_video(video: MaskedVideo) -> None:
    masks = video.masks
    if masks.dtype != np.uint8 or masks.ndim != 3:
        raise UserError(
            f"masks of {video.name} are {masks.dtype} {masks.shape}; expected uint8 probabilities (t, h, w): "
            "`records.encode_logits` makes them of logits"
        )
    if (video.traced_frames is None) != (video.traced_masks is None):
        raise UserError(f"{video.name} has traced frames or traced masks, not both; give both or neither")
    if video.traced_masks is not None and np.shape(video.traced_masks) != (2, *masks.shape[1:]):
        raise UserError(
            f"traced masks of {video.name} have shape {np.shape(video.traced_masks)}; expected {(2, *masks.shape[1:])}"
        )
    for name, frames in {"tracings": video.traced_frames or (), **video.references}.items():
        if not all(0 <= frame < len(masks) for frame in frames):
            raise UserError(f"{video.name} has masks of {len(masks)} frames; {name} name frames {frames}")


def _stack_counts(counts: Sequence[DiceCounts]) -> DiceCounts:
    return DiceCounts(
        np.array([of_video.intersection for of_video in counts]), np.array([of_video.total for of_video in counts])
    )


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Keys of all mappings in order of appearance."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
