"""Plots of predicted against known LVEF. Each function returns a figure for `style.save_figure`."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from echojax import evaluate
from echojax.errors import UserError
from echojax.evaluate import Interval
from echojax.report import style

Videos = Float[np.ndarray, "n"]


def plot_scatter(ef_predicted: Videos, ef: Videos, title: str, summary: Mapping[str, Interval] | None = None) -> Figure:
    """Predicted over known LVEF with the identity, the least-squares line, and MAE, RMSE, R2, r with their intervals.

    Args:
        ef_predicted, ef: percent, one value per video. Values that are not finite are a UserError.
        summary: what `evaluate.summarise_ef` gave for these videos; computed where missing.
    """
    ef_predicted, ef = _check_pairs(ef_predicted, ef)
    summary = evaluate.summarise_ef(ef_predicted, ef) if summary is None else summary
    low, high = _ef_range(ef_predicted, ef)
    with style.applied():
        figure, axes = style.new_axes(title)
        axes.plot([low, high], [low, high], color=style.MUTED, linewidth=1, dashes=(4, 3))
        _draw_dots(axes, ef, ef_predicted)
        label_x = high - 0.06 * (high - low)
        style.write_label(axes, "identity", label_x, label_x, style.MUTED, ha="right", va="bottom")
        if np.ptp(ef) > 0 and len(ef) > 2:
            _draw_fit(axes, ef_predicted, ef)
        axes.set(xlim=(low, high), ylim=(low, high), xlabel="Known LVEF (%)", ylabel="Predicted LVEF (%)")
        axes.set_aspect("equal")
        _write_box(axes, _scatter_lines(summary))
    return figure


def plot_bland_altman(ef_predicted: Videos, ef: Videos, title: str) -> Figure:
    """Difference over mean of predicted and known LVEF, with bias, limits of agreement and their 95 % intervals."""
    ef_predicted, ef = _check_pairs(ef_predicted, ef)
    agreement = evaluate.limits_of_agreement(ef_predicted, ef)
    mean, difference = (ef_predicted + ef) / 2, ef_predicted - ef
    with style.applied():
        figure, axes = style.new_axes(title)
        axes.axhline(0, color=style.MUTED, linewidth=0.8)
        _draw_dots(axes, mean, difference)
        levels = (
            ("upper limit", agreement.upper, style.VERMILLION, "--"),
            ("bias", agreement.bias, style.GREEN, "-"),
            ("lower limit", agreement.lower, style.VERMILLION, "--"),
        )
        reach = 1.25 * max(1.0, *np.abs(difference), *(abs(level.value) for _, level, *_ in levels if level.n > 1))
        axes.set(ylim=(-reach, reach), xlabel="Mean of predicted and known LVEF (%)")
        # Labels of close lines are moved apart.
        gap = 0.24 * reach
        for offset, (name, interval, color, line) in zip((gap, 0, -gap), levels, strict=True):
            distance = interval.value - agreement.bias.value
            label_y = agreement.bias.value + np.sign(offset) * max(abs(distance), abs(offset))
            _draw_level(axes, name, interval, color, line, label_y)
        axes.set_ylabel("Predicted − known LVEF (points)")
        axes.text(0.02, 0.99, f"n = {len(ef)}", transform=axes.transAxes, va="top", color=style.MUTED, fontsize=10)
    return figure


def plot_roc(ef_predicted: Videos, ef: Videos, title: str, summary: Mapping[str, Interval] | None = None) -> Figure:
    """ROC curves of predicted LVEF for finding known LVEF below 50, 40 and 35 %, with AUC and interval.

    A threshold that all or no videos fall below has no curve; the plot says so.

    Args:
        ef_predicted, ef, summary: as in `plot_scatter`.
    """
    ef_predicted, ef = _check_pairs(ef_predicted, ef)
    summary = evaluate.summarise_ef(ef_predicted, ef) if summary is None else summary
    with style.applied():
        figure, axes = style.new_axes(title)
        axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, dashes=(4, 3))
        for row, (threshold, color) in enumerate(zip(evaluate.EF_THRESHOLDS, style.SERIES, strict=False)):
            positive = ef < threshold
            curve = evaluate.roc_curve(-ef_predicted, positive)
            if curve is not None:
                rates = curve.false_positive_rate, curve.true_positive_rate
                axes.plot(*rates, color=color, linewidth=2, clip_on=False, zorder=3)
            text = _roc_label(threshold, positive, summary[f"auc_below_{threshold}"])
            y = 0.05 + 0.085 * (len(evaluate.EF_THRESHOLDS) - 1 - row)
            style.write_label(axes, text, 0.98, y, color if curve is not None else style.MUTED, ha="right", va="center")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="1 − specificity", ylabel="Sensitivity")
        axes.set_aspect("equal")
    return figure


def format_interval(interval: Interval, digits: int = 2) -> str:
    """`4.09 [3.93, 4.25]`; an undefined value is `–`, an undefined interval is left out."""
    if not np.isfinite(interval.value):
        return "–"
    # Adding zero turns -0.0 into 0.0.
    value, low, high = (f"{round(number, digits) + 0.0:.{digits}f}" for number in interval[:3])
    has_ends = np.isfinite(interval.low) and np.isfinite(interval.high)
    text = f"{value} [{low}, {high}]" if has_ends else value
    return text.replace("-", "−")


def _check_pairs(ef_predicted: Videos, ef: Videos) -> tuple[Videos, Videos]:
    ef_predicted, ef = np.asarray(ef_predicted, np.float64), np.asarray(ef, np.float64)
    if ef_predicted.shape != ef.shape or ef.ndim != 1:
        raise UserError(f"{ef_predicted.shape} predictions and {ef.shape} known LVEF; expected one of each per video")
    if len(ef) == 0:
        raise UserError("no videos to plot; expected at least one with a known and a predicted LVEF")
    for name, values in (("predicted", ef_predicted), ("known", ef)):
        num_bad = np.count_nonzero(~np.isfinite(values))
        if num_bad:
            raise UserError(
                f"{num_bad} of {len(values)} {name} LVEF are not finite; leave out videos of unknown LVEF, and look at "
                "a model that predicts nan"
            )
    return ef_predicted, ef


def _ef_range(ef_predicted: Videos, ef: Videos) -> tuple[float, float]:
    """A common range of both axes in tens, never narrower than 20 points."""
    both = np.concatenate([ef_predicted, ef])
    low, high = 10 * np.floor(both.min() / 10), 10 * np.ceil(both.max() / 10)
    if high - low < 20:
        low, high = low - 10, high + 10
    return float(low), float(high)


def _draw_dots(axes: Axes, x: Videos, y: Videos) -> None:
    """One dot per video; the more there are, the smaller and fainter."""
    size, opacity = np.clip(4000 / len(x), 9, 36), np.clip(120 / len(x), 0.35, 0.8)
    axes.scatter(x, y, s=size, color=style.BLUE, alpha=opacity, linewidths=0, clip_on=False)


def _draw_fit(axes: Axes, ef_predicted: Videos, ef: Videos) -> None:
    deviation = ef - ef.mean()
    slope = deviation @ ef_predicted / (deviation @ deviation)
    intercept = ef_predicted.mean() - slope * ef.mean()
    x = np.array([ef.min(), ef.max()])
    axes.plot(x, slope * x + intercept, color=style.VERMILLION, linewidth=2)
    sign = "+" if intercept >= 0 else "−"
    text = f"fit: {slope:.2f}·x {sign} {abs(intercept):.1f}"
    axes.text(0.98, 0.04, text, transform=axes.transAxes, color=style.VERMILLION, ha="right", fontsize=10)


def _scatter_lines(summary: Mapping[str, Interval]) -> list[str]:
    return [
        f"MAE  {format_interval(summary['mae'])}",
        f"RMSE {format_interval(summary['rmse'])}",
        f"R²   {format_interval(summary['r2'])}",
        f"r    {format_interval(summary['pearson'])}",
        f"n    {summary['mae'].n}",
    ]


def _write_box(axes: Axes, lines: list[str]) -> None:
    box = {"facecolor": style.PAPER, "edgecolor": style.GRID, "alpha": 0.92, "boxstyle": "round,pad=0.5"}
    font = {"family": "DejaVu Sans Mono", "size": 9}
    axes.text(0.03, 0.97, "\n".join(lines), transform=axes.transAxes, va="top", fontdict=font, bbox=box)


def _draw_level(axes: Axes, name: str, interval: Interval, color: str, line: str, label_y: float) -> None:
    if not np.isfinite(interval.value):
        return
    axes.axhline(interval.value, color=color, linewidth=1.6, linestyle=line)
    text = f"{name} {format_interval(interval, 1)}".replace(" [", "\n[")
    if np.isfinite(interval.low):
        axes.axhspan(interval.low, interval.high, color=color, alpha=0.13, linewidth=0)
    # The label stands right of the axes: x counts axes, y counts data.
    place = axes.get_yaxis_transform()
    axes.text(1.01, label_y, text, transform=place, color=color, va="center", fontsize=9.5)


def _roc_label(threshold: float, positive: np.ndarray, auc: Interval) -> str:
    num_positive, num_videos = np.count_nonzero(positive), len(positive)
    if num_positive in (0, num_videos):
        return f"LVEF < {threshold}: {'no' if num_positive == 0 else 'every'} video, no curve"
    return f"LVEF < {threshold} ({num_positive} of {num_videos}): AUC {format_interval(auc)}"
