"""LVEF of `echojax predict` on phantoms that no network and no calibration has seen.

    python -m benchmarks.phantom_lvef --num_videos=1000 --seed=S --output=FILE.json [--segmentation=DIR]

Phantoms are rendered on the spot and go the way of every clip (benchmarks/phantom_clips.py). Reported are

    lvef              MAE, bias, RMSE, r, R² and limits of agreement against the known LVEF (`known_lvef`)
    lvef_<method>     the same of what each method reads from the masks, before it is corrected
    lvef_of_table     as the first, against the LVEF that a data set's table tells, of the beat with the largest fall
    dice              at the known ED and ES, and the mean over all frames
    interval_<level>  share of clips whose interval holds the truth, and its width in points, of clips that get one
    frame_rate        the same heart at 25, 50 and 100 frames per second, of which the slower are every second and every
                      fourth frame of the fastest: absolute differences of LVEF between two rates, all pairs together

each with its 95 % interval over clips, beside what is wanted of them. Phantoms are not patients: these figures say that
the measurement works, not how it does on real hearts.
"""

import argparse
import contextlib
import dataclasses
import itertools
import sys
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from benchmarks.commands import reports_user_errors
from benchmarks.entries import print_metrics, to_entries
from benchmarks.phantom_clips import VARIETY, PhantomScore, draw_clips, score_phantoms, try_predict
from data_prep.phantom import PhantomParameters, sample_parameters
from data_prep.phantom.command import parse_variety
from data_prep.phantom.dataset import GENERATOR_VERSION
from echojax import evaluate
from echojax.errors import UserError
from echojax.evaluate import Interval, bootstrap
from echojax.files import write_json
from echojax.predict import Calibration, Segmentation, load_segmentation
from echojax.predict.prediction import DEFAULT_VIEWS

# Frames per second of the rendered phantoms, and every how many-th frame makes the slower clips of 50 and 25.
FASTEST_FPS, RATE_STEPS, RATE_SECONDS = 100.0, (1, 2, 4), 1.8
# Metric -> (least, most) that is wanted of it.
WANTED = {
    ("lvef", "mae"): (0.0, 4.0),
    ("interval_0.9", "coverage"): (0.87, 0.93),
    ("interval_0.95", "coverage"): (0.92, 0.98),
    ("frame_rate", "median_points"): (0.0, 2.0),
    ("frame_rate", "p95_points"): (0.0, 5.0),
}


def summarise_scores(scores: Sequence[PhantomScore], calibration: Calibration | None) -> dict[str, dict[str, Interval]]:
    """Metrics of the phantoms by group; see the module's docstring."""
    compared = {
        "lvef": ("lvef", "known"),
        "lvef_simpson": ("simpson", "known"),
        "lvef_area_length": ("area_length", "known"),
        "lvef_of_table": ("lvef", "label"),
    }
    groups = {
        name: evaluate.summarise_agreement(
            *(np.array([getattr(score, field) for score in scores], np.float64) for field in fields)
        )
        for name, fields in compared.items()
    }
    groups["dice"] = {
        name: bootstrap(evaluate.mean, np.array([getattr(score, f"dice_{name}") for score in scores]))
        for name in ("ed", "es", "mean")
    }
    for level in calibration.quantiles if calibration else ():
        groups[f"interval_{level}"] = measure_intervals(scores, calibration, float(level))
    return groups


def measure_intervals(scores: Sequence[PhantomScore], calibration: Calibration, level: float) -> dict[str, Interval]:
    """Coverage and width over the clips that get an interval."""
    scores = [score for score in scores if score.gets_interval]
    ends = np.array([calibration.interval(score.lvef, score.disagreement, level) for score in scores])
    known = np.array([score.known for score in scores])
    covered = (ends[:, 0] <= known) & (known <= ends[:, 1])
    return {
        "coverage": bootstrap(evaluate.mean, covered.astype(np.float64)),
        "width_points": bootstrap(evaluate.mean, ends[:, 1] - ends[:, 0]),
    }


def compare_rates(
    segmentation: Segmentation, seed: int, num_hearts: int, num_views: int, workers: int | None, variety=VARIETY
) -> dict[str, Interval]:
    """Differences of one heart's LVEF between frame rates."""
    jobs = [_at_fastest(sample_parameters(seed, index, variety=variety)) for index in range(num_hearts)]
    clips = draw_clips(jobs, workers, RATE_STEPS)
    with contextlib.closing(clips):
        bar = tqdm(clips, total=num_hearts * len(RATE_STEPS), desc="frame rates", unit="clip")
        predictions = [try_predict(clip.path, segmentation, num_views) for clip in bar]
    values = [None if prediction is None else prediction.lvef_percent for prediction in predictions]
    lvef_percent = np.array([np.nan if value is None else value for value in values]).reshape(-1, len(RATE_STEPS))
    pairs = itertools.combinations(range(len(RATE_STEPS)), 2)
    differences = np.stack([np.abs(lvef_percent[:, a] - lvef_percent[:, b]) for a, b in pairs], axis=-1)
    differences = differences[np.isfinite(differences).all(-1)]
    return {
        "median_points": bootstrap(lambda of_hearts: np.median(of_hearts), differences),
        "p95_points": bootstrap(lambda of_hearts: np.quantile(of_hearts, 0.95), differences, num_samples=2000),
    }


def _at_fastest(parameters: PhantomParameters) -> PhantomParameters:
    return dataclasses.replace(parameters, fps=FASTEST_FPS, num_frames=round(RATE_SECONDS * FASTEST_FPS))


def print_wanted(groups: dict[str, dict[str, Interval]]) -> None:
    """A line per wanted metric: what it is, and whether that is what was wanted."""
    print("wanted")
    for (group, name), (least, most) in WANTED.items():
        if group in groups:
            value = groups[group][name].value
            verdict = "yes" if least <= value <= most else "no"
            print(f"  {group + ' ' + name:36}{value:9.3f}  in {least:g} .. {most:g}: {verdict}")


def run(arguments: argparse.Namespace) -> dict:
    """Measures, prints and writes; returns what was written."""
    began = time.monotonic()
    segmentation = load_segmentation(arguments.segmentation)
    calibration, seed = segmentation.calibration, arguments.seed
    if calibration and f"seed {seed})" in calibration.calibrated_on:
        raise UserError(f"--seed={seed}: the network's interval was calibrated on these phantoms; take another seed")
    drawn = arguments.views, arguments.workers, arguments.variety
    scores = score_phantoms(segmentation, seed, range(arguments.num_videos), *drawn)
    groups = summarise_scores(scores, calibration)
    if arguments.num_rate_hearts:
        # Other hearts than those above.
        groups["frame_rate"] = compare_rates(segmentation, seed + 1, arguments.num_rate_hearts, *drawn)
    content = {
        "command": f"python -m benchmarks.phantom_lvef --num_videos={len(scores)} --seed={seed} --output=FILE.json",
        "data": "phantom",
        "generator_version": GENERATOR_VERSION,
        "variety": arguments.variety,
        "network": segmentation.description,
        "num_views": arguments.views,
        "calibrated_on": calibration and calibration.calibrated_on,
        "num_videos": len(scores),
        "num_without_lvef": sum(not np.isfinite(score.simpson) for score in scores),
        "num_without_interval": sum(not score.gets_interval for score in scores),
        "flags": dict(Counter(kind for score in scores for kind in score.flags).most_common()),
        "seconds": round(time.monotonic() - began),
        "metrics": to_entries(groups, "phantom"),
    }
    write_json(arguments.output, content)
    print_metrics(groups)
    print_wanted(groups)
    return content


@reports_user_errors
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, metavar="FILE", help="JSON of the figures")
    parser.add_argument("--num_videos", type=int, default=1000)
    parser.add_argument("--num_rate_hearts", type=int, default=100, help="hearts at three frame rates; 0 for none")
    parser.add_argument("--seed", type=int, default=7002, help="of the phantoms; not one of training or calibration")
    parser.add_argument(
        "--variety",
        type=parse_variety,
        default=VARIETY,
        help="how much hearts and pictures differ, as data_prep phantom's; default: as in training, 0.2-1",
    )
    parser.add_argument("--segmentation", metavar="DIR", help="a segmentation checkpoint; default: the packaged one")
    parser.add_argument("--views", type=int, default=DEFAULT_VIEWS, help="as predict's --views")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that render (default: one per core)")
    run(parser.parse_args(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
