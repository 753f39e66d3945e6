"""What a network's readings of LVEF are worth: a correction of its bias, and an interval by split conformal prediction.

Networks draw narrow cavities too wide and wide ones too narrow, and smoothing over time flattens what it smooths: LVEF
read from the masks is too low, and the more so the higher it is. On calibration clips with known LVEF y and reading r
the line y = a + b r is fitted (least squares), and

    ŷ = a + b r,    cut to 0 .. 100 %

is what is reported; r stands beside it. Let d be a clip's disagreements (`Disagreement`: of beats, methods and views,
in points of LVEF) and

    scale = sqrt(FLOOR_POINTS² + d_beats² + d_methods² + d_views²)

On n further calibration clips the conformity score is |y - ŷ| / scale. With q the
ceil((n + 1) level)-th smallest score the interval

    ŷ ± q · scale,    cut to 0 .. 100 %

holds the truth of a further clip of the same kind with a probability of at least `level`, whatever the scores'
distribution (Vovk et al. 2005; Lei et al. 2018). Disagreement enters before calibration: clips on which readings part
get wider intervals, and their coverage is still exact. Neither says anything of clips of another kind, which is why
every result names what it was calibrated on.
"""

import dataclasses
import json
import math
import os
import pathlib

import numpy as np
from jaxtyping import Float

from echojax.errors import UserError
from echojax.files import write_json

FILE_NAME = "calibration.json"
LEVELS = (0.8, 0.9, 0.95)
# Two experts who measure one heart differ by this standard deviation: no clip is surer than that. A small floor would
# let the few clips whose readings agree by chance and are wrong all the same set the width of all others' intervals.
FLOOR_POINTS = 7.0
# One in so many calibration clips fits the line, the others give the scores: a line needs fewer than a quantile.
FIT_EVERY = 3


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """How far apart readings of one clip's LVEF lie that should agree, in points of LVEF.

    Attributes:
      beats: standard deviation of Simpson's LVEF over the beats that count.
      methods: distance of Simpson's and area-length's pooled LVEF.
      views: standard deviation of Simpson's pooled LVEF over the clip and its augmented views.
    """

    beats: float
    methods: float
    views: float

    @property
    def scale(self) -> float:
        """Points of LVEF by which readings part, and at least the floor; see the module's docstring."""
        return math.hypot(FLOOR_POINTS, self.beats, self.methods, self.views)


@dataclasses.dataclass(frozen=True)
class Correction:
    """The line from LVEF as read to LVEF as expected: `intercept_points` + `slope` x."""

    intercept_points: float
    slope: float

    def __call__(self, lvef_percent: float) -> float:
        """Corrected LVEF in percent, 0 to 100; nan stays."""
        return float(np.clip(self.intercept_points + self.slope * lvef_percent, 0.0, 100.0))


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What `calibration.json` beside a network's weights holds.

    Attributes:
      calibrated_on: the calibration clips, in words.
      num_clips: how many gave a score.
      correction: of LVEF as read from the masks.
      quantiles: {level: q}, levels as text such as "0.95"; q in units of `scale`.
      num_views: test-time views that the scores were computed with; predictions need as many.
      weights_sha256: beginning of the hash of the network's weights.
    """

    calibrated_on: str
    num_clips: int
    correction: Correction
    quantiles: dict[str, float]
    num_views: int
    weights_sha256: str

    def interval(self, lvef_percent: float, disagreement: Disagreement, level: float) -> tuple[float, float]:
        """Low and high end in percent about a corrected LVEF.

        Raises:
          UserError: a level that was not calibrated.
        """
        reach = self.quantile(level) * disagreement.scale
        return max(0.0, lvef_percent - reach), min(100.0, lvef_percent + reach)

    def quantile(self, level: float) -> float:
        """q of a level; errors as of `interval`."""
        if f"{level:g}" not in self.quantiles:
            known = ", ".join(self.quantiles)
            raise UserError(f"no interval of level {level:g} was calibrated for this network; expected one of {known}")
        return self.quantiles[f"{level:g}"]

    def save(self, path: str | os.PathLike) -> None:
        write_json(path, dataclasses.asdict(self))


def conformity_quantile(scores: Float[np.ndarray, "n"], level: float) -> float:
    """The ceil((n + 1) level)-th smallest score.

    Raises:
      UserError: too few scores for the level: none of them is large enough.
    """
    return float(np.sort(scores)[_rank(len(scores), level) - 1])


def _rank(num_scores: int, level: float) -> int:
    rank = math.ceil((num_scores + 1) * level)
    if rank > num_scores:
        least = math.ceil(level / (1 - level))
        raise UserError(f"{num_scores} calibration clips for level {level:g}; expected at least {least}")
    return rank


def fit_correction(read_percent: Float[np.ndarray, "n"], known_percent: Float[np.ndarray, "n"]) -> Correction:
    """The line of least squares from readings to known LVEF.

    Raises:
      UserError: readings that are all the same, or that do not rise with what is known.
    """
    spread = np.ptp(read_percent) if len(read_percent) else 0.0
    slope, intercept = np.polyfit(read_percent, known_percent, 1) if spread else (0.0, 0.0)
    if not slope > 0:
        raise UserError("LVEF as read does not rise with the known one; train the segmentation network longer")
    return Correction(float(intercept), float(slope))


def calibrate(
    read_percent: Float[np.ndarray, "n"],
    known_percent: Float[np.ndarray, "n"],
    scales: Float[np.ndarray, "n"],
    calibrated_on: str,
    num_views: int,
    weights_sha256: str,
    levels=LEVELS,
) -> Calibration:
    """Turns readings of clips with known LVEF into a calibration.

    Args:
      read_percent: LVEF from the masks; nan where none was found, which counts as missed by any interval.
      known_percent: true LVEF.
      scales: `Disagreement.scale` of each clip; of any value where no LVEF was found.
    """
    read, known, scales = (np.asarray(values, np.float64) for values in (read_percent, known_percent, scales))
    is_fitted = np.arange(len(read)) % FIT_EVERY == 0
    is_found = np.isfinite(read)
    _rank(int((~is_fitted).sum()), max(levels))  # or too few clips would look like a bad network
    correction = fit_correction(read[is_fitted & is_found], known[is_fitted & is_found])
    errors = [abs(y - correction(r)) for y, r in zip(known[~is_fitted], read[~is_fitted], strict=True)]
    scores = np.where(is_found[~is_fitted], errors / scales[~is_fitted], np.inf)
    quantiles = {f"{level:g}": conformity_quantile(scores, level) for level in levels}
    if not np.isfinite(list(quantiles.values())).all():
        raise UserError("too many calibration clips without a predicted LVEF; train the segmentation network longer")
    return Calibration(calibrated_on, len(scores), correction, quantiles, num_views, weights_sha256)


def load_calibration(path: str | os.PathLike) -> Calibration:
    """Reads `calibration.json`.

    Raises:
      UserError: a file that is no calibration.
    """
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        return Calibration(**{**content, "correction": Correction(**content["correction"])})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is no calibration ({error}); make it with: python -m benchmarks.calibrate_interval"
        ) from error
