"""Calibrates LVEF and its interval, as `echojax predict` gives them, on phantoms.

    python -m benchmarks.calibrate_interval --segmentation=DIR [--num_phantoms=500] [--seed=7001]

Phantoms go the way of every clip (benchmarks/phantom_clips.py). `calibration.json` is written beside the network's
weights, where `echojax predict` looks for it; it names the weights, so that retraining makes it void. The method is in
echojax/predict/interval.py: every third phantom fits the correction, the others give the interval. Clips that a flag
keeps from having an interval have no say, as they get none in use. benchmarks/phantom_lvef.py measures error and
coverage on other phantoms.
"""

import argparse
import pathlib
import sys

import numpy as np

from benchmarks.commands import reports_user_errors
from benchmarks.phantom_clips import VARIETY, score_phantoms
from data_prep.phantom.command import parse_variety
from data_prep.phantom.dataset import GENERATOR_VERSION
from echojax.predict import calibrate, load_segmentation
from echojax.predict.interval import FILE_NAME
from echojax.predict.prediction import DEFAULT_VIEWS
from echojax.train.checkpoint import find_checkpoint


def run(arguments: argparse.Namespace) -> pathlib.Path:
    """Writes `calibration.json`; returns its path."""
    segmentation = load_segmentation(arguments.segmentation)
    seed, num_views, count = arguments.seed, arguments.views, arguments.num_phantoms
    scores = score_phantoms(segmentation, seed, range(count), num_views, arguments.workers, arguments.variety)
    scores = [score for score in scores if score.gets_interval]
    text = f"{len(scores)} of {count} phantoms (generator version {GENERATOR_VERSION}, seed {seed})"
    read, known = (np.array([getattr(score, field) for score in scores]) for field in ("simpson", "known"))
    scales = np.array([score.disagreement.scale for score in scores])
    calibration = calibrate(read, known, scales, text, num_views, segmentation.description["weights_sha256"])
    path = find_checkpoint(arguments.segmentation, "echojax port") / FILE_NAME
    calibration.save(path)
    print(f"{path}: calibrated on {text}, {calibration.correction}, quantiles {calibration.quantiles}")
    print(f"MAE there as read {np.mean(np.abs(known - read)):.2f} points")
    return path


@reports_user_errors
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segmentation", required=True, metavar="DIR", help="a segmentation checkpoint")
    parser.add_argument("--num_phantoms", type=int, default=500, help="to calibrate on; 19 at least for 95 %%")
    parser.add_argument("--seed", type=int, default=7001, help="of the phantoms; not one that was trained on")
    parser.add_argument(
        "--variety", type=parse_variety, default=VARIETY, help="as benchmarks.phantom_lvef's (default: 0.2-1)"
    )
    parser.add_argument("--views", type=int, default=DEFAULT_VIEWS, help="as predict's --views")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that render (default: one per core)")
    run(parser.parse_args(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
