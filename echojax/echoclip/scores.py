"""EchoCLIP's verdicts, from embeddings: similarities, mask score, cardiac phase, ejection fraction. NumPy only.

Similarity of an image and a text is the cosine of their embeddings; no temperature enters.
"""

import math

import numpy as np
from jaxtyping import Float, Int

from echojax.errors import UserError

PHASE_SIGNS = {"open_minus_closed": 1.0, "closed_minus_open": -1.0}
# Share of the ranks that make the ejection fraction.
KEPT_RANKS = 0.2


def similarity(images: Float[np.ndarray, "*b d"], texts: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "*b n"]:
    """Cosine of every image with every text, in [-1, 1]; embeddings of any length."""
    return np.clip(_unit(images) @ _unit(texts).T, -1, 1)


def mask_score(
    masked: Float[np.ndarray, "t d"],
    expanded: Float[np.ndarray, "t d"],
    wall: Float[np.ndarray, "d"],
    nothing: Float[np.ndarray, "d"],
    left_ventricle: Float[np.ndarray, "d"],
) -> float:
    """How well masks of the left ventricle fit, without a label: in [-3, 3], the higher the better.

    mean_t cos(masked_t, wall) + mean_t cos(expanded_t, nothing) - mean_t cos(expanded_t, left_ventricle)

    Args:
      masked: embeddings of the frames with the mask blacked out. A mask that swallows the wall lowers the first term.
      expanded: the same with the mask widened. What it leaves of the cavity lowers the second term, raises the third.
      wall, nothing, left_ventricle: embeddings of `prompts.MASK_PROMPTS`.
    """
    of_wall = similarity(masked, wall[None]).mean()
    of_nothing, of_ventricle = similarity(expanded, np.stack([nothing, left_ventricle])).mean(axis=0)
    return float(of_wall + of_nothing - of_ventricle)


def phase_signal(
    valve_open: Float[np.ndarray, "t"],
    valve_closed: Float[np.ndarray, "t"],
    sign: str = "open_minus_closed",
    centre: bool = True,
) -> Float[np.ndarray, "t"]:
    """A curve that rises and falls with the left ventricle's area: standardised, no unit, maxima near ED.

    The mitral valve is open while the ventricle fills, so the running sum of d(t) = open(t) - closed(t) rises towards
    ED. The mean of d is taken off first, without which the sum drifts; mean 0 and standard deviation 1 come last (a
    constant curve gives zeros).

    Args:
      valve_open, valve_closed: similarity of each frame with `prompts.VALVE_PROMPTS`.
      sign: "closed_minus_open" turns the curve over. Which is right for a set of weights, `check_phase` tells.
      centre: False keeps the mean of d, as EchoDFKD's notebook does.

    Raises:
      UserError: for another sign.
    """
    if sign not in PHASE_SIGNS:
        raise UserError(f"sign of the phase signal is {sign!r}, expected one of {', '.join(PHASE_SIGNS)}")
    difference = PHASE_SIGNS[sign] * (np.asarray(valve_open, np.float64) - np.asarray(valve_closed, np.float64))
    if centre:
        difference = difference - difference.mean()
    return standardise(np.cumsum(difference))


def standardise(curve: Float[np.ndarray, "t"]) -> Float[np.ndarray, "t"]:
    """(curve - mean) / population standard deviation; zeros where that is zero."""
    curve = np.asarray(curve, np.float64)
    deviation = curve - curve.mean()
    std = deviation.std()
    # A constant sum of rounded terms is not exactly constant.
    is_constant = std <= 1e-12 * max(1.0, np.abs(curve).max())
    return np.zeros_like(deviation) if is_constant else deviation / std


def phase_correlation(signal: Float[np.ndarray, "t"], area: Float[np.ndarray, "t"]) -> float:
    """Pearson correlation of a video's phase signal with its area curve; 0 where either is constant."""
    return float(np.mean(standardise(signal) * standardise(area)))


def check_phase(signals: list[Float[np.ndarray, "t"]], areas: list[Float[np.ndarray, "t"]]) -> float:
    """Mean Pearson correlation of phase signals with area curves of the same videos: that the sign is right.

    Raises:
      UserError: it is not positive.
    """
    correlations = [phase_correlation(signal, area) for signal, area in zip(signals, areas, strict=True)]
    correlation = float(np.mean(correlations))
    if not correlation > 0:
        raise UserError(
            f"the phase signals of {len(correlations)} videos run against their area curves (mean correlation "
            f"{correlation:.2f}, expected above 0); choose the other sign of {', '.join(PHASE_SIGNS)}"
        )
    return correlation


def ejection_fraction(
    similarities: Float[np.ndarray, "t n"], ef_percent: Int[np.ndarray, "n"], kept_ranks: float = KEPT_RANKS
) -> float:
    """Zero-shot ejection fraction in percent, as EchoCLIP ranks it.

    The prompts of every frame are put in order of falling similarity; what they state is averaged over the frames, rank
    by rank; of the first floor(kept_ranks * n) ranks (40 of 202) the lower median is the answer.

    Args:
      similarities: of each frame with each prompt of `prompts.ef_prompts`.
      ef_percent: what those prompts state.
      kept_ranks: share of the ranks that counts.
    """
    order = np.argsort(-np.asarray(similarities), axis=-1, kind="stable")
    by_rank = np.asarray(ef_percent, np.float64)[order].mean(axis=0)
    kept = np.sort(by_rank[: math.floor(kept_ranks * len(by_rank))])
    return float(kept[(len(kept) - 1) // 2])


def _unit(embeddings: Float[np.ndarray, "*b d"]) -> Float[np.ndarray, "*b d"]:
    embeddings = np.asarray(embeddings, np.float64)
    return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
