"""How well annotators agree with one another: the ceiling of what Dice against one of them can mean (EchoDFKD, 7.7)."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from echojax.errors import UserError
from echojax.evaluate.overlap import dice
from echojax.evaluate.resampling import Interval, batched, bootstrap
from echojax.lv.tracing import MIN_CHORDS, mask_from_tracing

Tracings = Sequence[Float[np.ndarray, "n 4"]]


def group_dice(masks: Bool[np.ndarray, "a h w"], first: int = 1, second: int = 2) -> Float[np.ndarray, "combinations"]:
    """Dice between two groups of a frame's annotators, for every way to choose them.

    All ways to choose `first` of the a masks, then `second` of the rest; a group's mask is where at least half of it
    agrees.

    Args:
        masks: one per annotator.

    Returns:
        a! / (first! second! (a - first - second)!) values; none where there are too few annotators.
    """
    if first < 1 or second < 1:
        raise UserError(f"groups of {first} and {second} annotators; expected at least one in each")
    masks = np.asarray(masks)
    everyone = set(range(len(masks)))
    values = [
        dice(_majority(masks, one), _majority(masks, other))
        for one in itertools.combinations(sorted(everyone), first)
        for other in itertools.combinations(sorted(everyone - set(one)), second)
    ]
    return np.array(values, np.float64)


def annotator_agreement(
    frames: Sequence[Bool[np.ndarray, "a h w"]], first: int = 1, second: int = 2, **options
) -> Interval:
    """Mean of `group_dice` over all combinations of all frames, with its interval over frames.

    Args:
        frames: of each frame the masks of its annotators; the number may vary. `tracings_to_masks` makes them.
        first, second: sizes of the groups that are compared. Frames with fewer annotators than both have no say.
        options: those of `bootstrap`. Frames are resampled with all their combinations.

    Returns:
        `n` counts the frames that had enough annotators; all nan where none had.
    """
    values = [group_dice(masks, first, second) for masks in frames]
    values = [of_frame for of_frame in values if len(of_frame)]
    if not values:
        return Interval(np.nan, np.nan, np.nan, 0)
    sums, counts = (np.array([reduce(of_frame) for of_frame in values], np.float64) for reduce in (np.sum, len))
    return bootstrap(_ratio_of_sums, sums, counts, **options)


def tracings_to_masks(
    tracings: Tracings, height: int, width: int, num_rows: int | None = None
) -> Bool[np.ndarray, "a h w"]:
    """Masks of several tracings of one frame.

    Args:
        tracings: rows X1, Y1, X2, Y2 in pixels, the long axis first.
        num_rows: tracings with another number of rows are left out, as EchoDFKD does with 21; None keeps all that
            enclose an area (three chords or more).
    """
    least = MIN_CHORDS + 1
    kept = [rows for rows in tracings if (len(rows) == num_rows if num_rows else len(rows) >= least)]
    masks = [mask_from_tracing(rows, height, width) for rows in kept]
    return np.stack(masks) if masks else np.zeros((0, height, width), bool)


@batched
def _ratio_of_sums(sums: Float[np.ndarray, "*b n"], counts: Float[np.ndarray, "*b n"]) -> Float[np.ndarray, "*b"]:
    return np.sum(sums, axis=-1) / np.sum(counts, axis=-1)


def _majority(masks: Bool[np.ndarray, "a h w"], members: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    return 2 * np.count_nonzero(masks[list(members)], axis=0) >= len(members)
