"""Calibrates the LVEF interval of `echojax predict` on phantoms, and measures its coverage on others.

    python -m benchmarks.calibrate_interval --segmentation=DIR [--num_phantoms=400] [--num_held_out=200]

Phantoms go the way of every clip: written as AVI, read, segmented, measured. `calibration.json` is written beside the
network's weights, where `echojax predict` looks for it; it names the weights, so that retraining makes it void. The
method is in echojax/predict/interval.py.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np
from tqdm import tqdm

from data_prep.phantom import render, sample_parameters
from data_prep.phantom.dataset import GENERATOR_VERSION
from echojax.errors import UserError
from echojax.predict import Calibration, Segmentation, calibrate, load_segmentation, predict_clip
from echojax.predict.interval import FILE_NAME
from echojax.predict.prediction import DEFAULT_VIEWS
from echojax.reading import read_clip
from echojax.train.checkpoint import find_checkpoint
from echojax.video import write_video


def score_phantoms(segmentation: Segmentation, seed: int, indices, num_views: int, folder: pathlib.Path) -> np.ndarray:
    """Conformity scores |known - predicted| / scale of phantoms; infinite where nothing was measured."""
    scores = []
    for index in tqdm(indices, desc="phantoms", unit="clip"):
        phantom = render(sample_parameters(seed, index))
        path = folder / f"{phantom.parameters.name}.avi"
        write_video(path, phantom.frames, phantom.parameters.fps)
        scores.append(_score(path, phantom.ef_percent, segmentation, num_views))
        path.unlink()
    return np.array(scores)


def check_coverage(calibration: Calibration, scores: np.ndarray) -> dict[str, float]:
    """The share of clips whose interval holds the truth, by level, and their number."""
    shares = {level: float((scores <= quantile).mean()) for level, quantile in calibration.quantiles.items()}
    return {**shares, "num_clips": len(scores)}


def run(arguments: argparse.Namespace) -> pathlib.Path:
    """Writes `calibration.json`; returns its path."""
    segmentation = load_segmentation(arguments.segmentation)
    seed, num_views, count = arguments.seed, arguments.views, arguments.num_phantoms
    with tempfile.TemporaryDirectory() as folder:
        numbers = range(count + arguments.num_held_out)
        scores = score_phantoms(segmentation, seed, numbers, num_views, pathlib.Path(folder))
    text = f"{count} phantoms (generator version {GENERATOR_VERSION}, seed {seed})"
    calibration = calibrate(scores[:count], text, num_views, segmentation.description["weights_sha256"])
    if arguments.num_held_out:
        calibration.coverage.update(check_coverage(calibration, scores[count:]))
    path = find_checkpoint(arguments.segmentation, "echojax port") / FILE_NAME
    calibration.save(path)
    print(f"{path}: quantiles {calibration.quantiles}, coverage {calibration.coverage or 'not measured'}")
    return path


def _score(path: pathlib.Path, ef_percent: float, segmentation: Segmentation, num_views: int) -> float:
    try:
        prediction = predict_clip(read_clip(path), segmentation, num_views=num_views)
    except UserError:
        return np.inf
    if prediction.lvef_percent is None:
        return np.inf
    return abs(ef_percent - prediction.lvef_percent) / prediction.measurement.disagreement.scale


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segmentation", required=True, metavar="DIR", help="a segmentation checkpoint")
    parser.add_argument("--num_phantoms", type=int, default=400, help="to calibrate on; 19 at least for 95 %%")
    parser.add_argument("--num_held_out", type=int, default=200, help="others, to measure the coverage on")
    parser.add_argument("--seed", type=int, default=2026, help="of the phantoms; not one that was trained on")
    parser.add_argument("--views", type=int, default=DEFAULT_VIEWS, help="as predict's --views")
    try:
        run(parser.parse_args(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
