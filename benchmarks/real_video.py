"""How `echojax predict` does on real videos with known LVEF and, for some of them, human tracings.

    python -m benchmarks.real_video --real=DIR --output=FILE.json [--segmentation=DIR]

`--real` is a folder in EchoNet-Dynamic's layout. Each video goes the way of every clip, at the frame rate of the
table, which is right where the files' own often is not. Written and printed are numbers over all videos alone: Dice on
the traced frames, LVEF against the table's by every method, and how far the nearest ED and ES found lie from the traced
(protocol `blind` of `echojax.evaluate.afd`). The twelve videos this was written with are a development set: generator
and thresholds were chosen while looking at them, so that figures on them are no estimate for others.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from benchmarks.commands import reports_user_errors
from benchmarks.entries import print_metrics, to_entries
from data_prep.source import SourceRow, read_source
from echojax import evaluate, lv
from echojax.errors import UserError
from echojax.evaluate.overlap import DiceCounts
from echojax.files import write_json
from echojax.predict import Prediction, Segmentation, load_segmentation, predict_clip
from echojax.predict.prediction import DEFAULT_VIEWS
from echojax.reading import Clip, read_clip
from echojax.reading.clip import even_times
from echojax.sector import restore_masks

NOTE = (
    "Development set: the phantom generator and thresholds were chosen while looking at such videos. "
    "These figures are no estimate for other videos."
)
# LVEF as `echojax predict` says, and what each method reads from the masks, before it is corrected.
READINGS = ("lvef", "lvef_simpson", "lvef_area_length")


@dataclasses.dataclass(frozen=True)
class VideoScore:
    """One video: LVEF in percent by `READINGS`, nan where unknown; Dice counts and frame distances where traced."""

    ef_percent: float
    lvef_percent: dict[str, float]
    interval: tuple[float, float] | None
    dice: tuple[DiceCounts, DiceCounts] | None
    distances: dict[str, evaluate.FrameDistance] | None


def score_video(row: SourceRow, segmentation: Segmentation, num_views: int) -> VideoScore:
    """Predicts one video and compares it with what is known of it."""
    prediction = predict_clip(_read(row), segmentation, num_views=num_views)
    methods = (prediction.measurement.pooled_percent(name) for name in ("simpson", "area_length"))
    values = zip(READINGS, (prediction.lvef_percent, *methods), strict=True)
    lvef_percent = {name: np.nan if value is None else value for name, value in values}
    ends = prediction.interval.low, prediction.interval.high
    dice, distances = _compare_traced(row, prediction)
    return VideoScore(row.ef_percent, lvef_percent, None if ends[0] is None else ends, dice, distances)


def summarise(scores: Sequence[VideoScore]) -> dict[str, dict[str, evaluate.Interval]]:
    """All metrics with their intervals over videos."""
    known = np.array([score.ef_percent for score in scores])
    groups = {}
    traced = [score for score in scores if score.dice is not None]
    if traced:
        columns = zip(*(score.dice for score in traced), strict=True)
        groups["dice"] = evaluate.summarise_dice(*map(_stack, columns))
        groups["frame_distance"] = evaluate.summarise_afd([score.distances for score in traced])
    for name in READINGS:
        predicted = np.array([score.lvef_percent[name] for score in scores])
        groups[name] = evaluate.summarise_agreement(predicted, known)
    pairs = [(score.interval, score.ef_percent) for score in scores if score.interval and np.isfinite(score.ef_percent)]
    if pairs:
        covered = np.array([low <= ef_percent <= high for (low, high), ef_percent in pairs], float)
        widths = np.array([high - low for (low, high), _ in pairs])
        groups["interval"] = {
            "coverage": evaluate.bootstrap(evaluate.mean, covered),
            "width": evaluate.bootstrap(evaluate.mean, widths),
        }
    return groups


def _read(row: SourceRow) -> Clip:
    """The clip at the frame rate that the table tells."""
    clip = read_clip(row.path)
    if not np.isfinite(row.fps):
        return clip
    times = even_times(len(clip.frames), row.fps, "file")
    return dataclasses.replace(clip, frame_times_s=times.frame_times_s, fps=times.fps, fps_source=times.fps_source)


def _compare_traced(row: SourceRow, prediction: Prediction):
    """Dice counts of ED and ES and their distances in time; None for a video without both."""
    height, width = prediction.clip.frames.shape[1:3]
    traced = lv.ed_es_tracings(row.tracings, height, width)
    if traced is None:
        return None, None
    levels = np.rint(255 * prediction.measurement.probabilities[[traced.ed.frame, traced.es.frame]]).astype(np.uint8)
    masks = restore_masks(levels, prediction.sector)
    known = np.stack([lv.mask_from_tracing(tracing.points, height, width) for tracing in traced])
    both = evaluate.dice_counts(masks, known)
    dice = tuple(DiceCounts(both.intersection[phase], both.total[phase]) for phase in (0, 1))
    area, fps = prediction.measurement.function.curves.area, prediction.clip.fps
    distances = {
        phase: evaluate.afd(area, tracing.frame, phase, "blind", fps)
        for phase, tracing in zip(("ED", "ES"), traced, strict=True)
    }
    return dice, distances


def _stack(counts: Sequence[DiceCounts]) -> DiceCounts:
    return DiceCounts(*(np.array([getattr(c, name) for c in counts]) for name in ("intersection", "total")))


def run(arguments: argparse.Namespace) -> dict:
    """Measures, prints and writes; returns what was written."""
    segmentation = load_segmentation(arguments.segmentation)
    rows = read_source(pathlib.Path(arguments.real)).rows
    if not rows:
        raise UserError(f"{arguments.real}: no videos; expected a folder in EchoNet-Dynamic's layout")
    bar = tqdm(rows, desc="real videos", unit="clip")
    groups = summarise([score_video(row, segmentation, arguments.views) for row in bar])
    content = {
        "command": "python -m benchmarks.real_video --real=DIR --output=FILE.json",
        "data": "real",
        "note": NOTE,
        "network": segmentation.description,
        "num_views": arguments.views,
        "num_videos": len(rows),
        "metrics": to_entries(groups, "real"),
    }
    write_json(arguments.output, content)
    print_metrics(groups)
    print(NOTE)
    return content


@reports_user_errors
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", required=True, metavar="DIR", help="a folder in EchoNet-Dynamic's layout")
    parser.add_argument("--output", required=True, metavar="FILE", help="JSON of the figures")
    parser.add_argument("--segmentation", metavar="DIR", help="a segmentation checkpoint; default: the packaged one")
    parser.add_argument("--views", type=int, default=DEFAULT_VIEWS, help="as predict's --views")
    run(parser.parse_args(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
