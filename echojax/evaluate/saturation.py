"""How quality saturates with the size of a network, as in EchoDFKD's figure: a curve with its interval."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from echojax.errors import UserError

# Powers that are tried. For each the other two parameters follow from linear least squares.
POWERS = np.geomspace(0.1, 30, 240)
# Three parameters are not fitted to fewer sizes.
MIN_SIZES = 4
# Dice of 1 has no logarithm of its loss.
MIN_LOSS = 1e-6


class Saturation(NamedTuple):
    """ln(1 - Dice) = floor + scale · (ln W / ln W₀) ^ -power for W weights, W₀ those of the smallest network fitted.

    Attributes:
        floor: ln(1 - Dice) of an endless network, at most the loss of the others.
        scale: what the smallest network is above it, at least 0.
        power: above 0; how soon size stops to help.
        smallest: W₀.
    """

    floor: Float[np.ndarray, "*b"]
    scale: Float[np.ndarray, "*b"]
    power: Float[np.ndarray, "*b"]
    smallest: float

    def loss(self, num_weights: Float[np.ndarray, "k"]) -> Float[np.ndarray, "*b k"]:
        """1 - Dice at any number of weights above 1."""
        ratio = np.log(num_weights) / np.log(self.smallest)
        floor, scale, power = (np.asarray(value)[..., None] for value in self[:3])
        return np.exp(floor + scale * ratio**-power)

    @property
    def limit(self) -> Float[np.ndarray, "*b"]:
        """Dice of an endless network."""
        return 1 - np.exp(self.floor)


class SaturationBand(NamedTuple):
    """The fit to all videos, and fits to resampled ones.

    Attributes:
        fit: one curve.
        resampled: (s,) curves.
        level: share of them within an interval.
    """

    fit: Saturation
    resampled: Saturation
    level: float

    def loss_interval(self, num_weights: Float[np.ndarray, "k"]) -> Float[np.ndarray, "2 k"]:
        """Lower and upper end of 1 - Dice."""
        return np.quantile(self.resampled.loss(num_weights), self._ends, axis=0)

    def limit_interval(self) -> Float[np.ndarray, "2"]:
        """Lower and upper end of the Dice of an endless network."""
        return np.quantile(self.resampled.limit, self._ends)

    @property
    def _ends(self) -> tuple[float, float]:
        return (1 - self.level) / 2, (1 + self.level) / 2


def fit_saturation(num_weights: Int[np.ndarray, "m"], loss: Float[np.ndarray, "*b m"]) -> Saturation:
    """Least squares of ln(1 - Dice) over m networks.

    Where size does not help at all the curve is flat: scale 0.

    Args:
        num_weights: trainable parameters of each network, above 1.
        loss: 1 - Dice, above 0.

    Raises:
        UserError: fewer than four different sizes.
    """
    num_weights, loss = np.asarray(num_weights, np.float64), np.asarray(loss, np.float64)
    if len(np.unique(num_weights)) < MIN_SIZES:
        raise UserError(
            f"{len(np.unique(num_weights))} sizes of network; expected at least {MIN_SIZES} to fit the three numbers "
            "of a saturating curve"
        )
    smallest = float(num_weights.min())
    shapes = (np.log(num_weights) / np.log(smallest)) ** -POWERS[:, None]  # (powers, m)
    shapes = shapes - shapes.mean(axis=-1, keepdims=True)
    log_loss = np.log(np.maximum(loss, MIN_LOSS))
    mean = log_loss.mean(axis=-1, keepdims=True)
    scales = np.maximum((log_loss - mean) @ shapes.T / np.sum(shapes**2, axis=-1), 0)  # (*b, powers)
    errors = np.sum(((log_loss - mean)[..., None, :] - scales[..., None] * shapes) ** 2, axis=-1)
    best = np.argmin(errors, axis=-1)
    scale = np.take_along_axis(scales, best[..., None], axis=-1)[..., 0]
    power = POWERS[best]
    raw_mean = np.mean((np.log(num_weights) / np.log(smallest)) ** -power[..., None], axis=-1)
    return Saturation(mean[..., 0] - scale * raw_mean, scale, power, smallest)


def bootstrap_saturation(
    num_weights: Int[np.ndarray, "m"],
    dice: Float[np.ndarray, "m n"],
    level: float = 0.95,
    num_samples: int = 1000,
    seed: int = 0,
) -> SaturationBand:
    """Fits the mean Dice of m networks on the same n videos, and again on resampled videos.

    The interval is over videos: what other videos of the same kind would change, not other training runs.
    """
    dice = np.asarray(dice, np.float64)
    if dice.ndim != 2 or dice.shape[0] != len(num_weights) or dice.shape[1] == 0 or not np.isfinite(dice).all():
        raise UserError(
            f"Dice has shape {dice.shape} for {len(num_weights)} networks; expected one finite value per network and "
            "video, of the same videos for all networks"
        )
    fit = fit_saturation(num_weights, 1 - dice.mean(axis=1))
    rng = np.random.default_rng(seed)
    num_videos = dice.shape[1]
    losses = np.array([1 - dice[:, rng.integers(num_videos, size=num_videos)].mean(axis=1) for _ in range(num_samples)])
    return SaturationBand(fit, fit_saturation(num_weights, losses), level)
