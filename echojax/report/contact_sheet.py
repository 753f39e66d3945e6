"""Stills of the best, the middling and the worst cases on one sheet: the quickest way to see how a model fails."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.figure import Figure

from echojax.errors import UserError
from echojax.report import drawing, overlay, style

ZOOM = 3
CASE_INCHES = (3.1, 1.95)


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """Stills of one video, usually ED and ES, with predicted and known masks.

    Attributes:
        caption: one or two short lines, e.g. name and Dice.
        frames: uint8 (k, h, w) or (k, h, w, c).
        predicted: bool or probabilities, (k, h, w).
        true: bool (k, h, w), or None where nothing is known.
    """

    caption: str
    frames: UInt8[np.ndarray, "k h w *c"]
    predicted: Bool[np.ndarray, "k h w"] | Float[np.ndarray, "k h w"]
    true: Bool[np.ndarray, "k h w"] | None = None


def pick_cases(badness: Float[np.ndarray, "n"], num_each: int = 3) -> dict[str, Int[np.ndarray, "k"]]:
    """Positions of the best, median and worst cases, each once, from good to bad within a group.

    Args:
        badness: higher is worse, e.g. 1 - Dice or |predicted - known LVEF|. Must be finite.
        num_each: cases per group; fewer where there are not enough.

    Returns:
        {"best", "median", "worst"}; groups that would be empty are left out.
    """
    badness = np.asarray(badness)
    if len(badness) == 0 or not np.isfinite(badness).all():
        raise UserError(f"badness of {len(badness)} cases; expected at least one case and finite numbers")
    order = np.argsort(badness, kind="stable")
    num_best = min(num_each, -(-len(order) // 3))
    num_worst = min(num_each, (len(order) + 1) // 3)
    middle = order[num_best : len(order) - num_worst]
    skipped = max(0, (len(middle) - num_each) // 2)
    groups = {
        "best": order[:num_best],
        "median": middle[skipped : skipped + num_each],
        "worst": order[len(order) - num_worst :],
    }
    return {name: positions for name, positions in groups.items() if len(positions)}


def plot_contact_sheet(groups: Mapping[str, Sequence[Case]], title: str) -> Figure:
    """One row per group, its stills side by side, contours in the colours of the overlay videos."""
    num_columns = max((len(cases) for cases in groups.values()), default=0)
    if num_columns == 0:
        raise UserError("no cases to show; expected at least one group with one case")
    size = (CASE_INCHES[0] * max(num_columns, 2), CASE_INCHES[1] * len(groups) + 0.75)
    with style.applied():
        figure = Figure(figsize=size)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12.5, fontweight="bold")
        all_axes = figure.subplots(len(groups), num_columns, squeeze=False)
        for row, (name, cases) in zip(all_axes, groups.items(), strict=True):
            for axes in row[len(cases) :]:
                axes.set_axis_off()
            for axes, case in zip(row, cases, strict=False):
                axes.imshow(_draw_case(case), interpolation="antialiased")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                axes.set_xlabel(case.caption, fontsize=9, labelpad=3)
            row[0].set_ylabel(name, fontsize=11, fontweight="bold")
        known = any(case.true is not None for cases in groups.values() for case in cases)
        figure.supxlabel(
            f"contours: predicted amber{', known blue' if known else ''}",
            x=0.01,
            ha="left",
            fontsize=9,
            color=style.MUTED,
        )
    return figure


def _draw_case(case: Case) -> UInt8[np.ndarray, "h w 3"]:
    frames, predicted = np.asarray(case.frames), np.asarray(case.predicted)
    known = {} if case.true is None else dict(enumerate(np.asarray(case.true)))
    pictures = overlay.outline_frames(frames, predicted, known, ZOOM)
    gap = np.full((pictures.shape[1], 2 * ZOOM, 3), drawing.parse_color(style.PAPER), np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)
