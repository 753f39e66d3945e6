"""Quality against size: EchoDFKD's figure, and its plots of every metric over the number of weights."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from echojax import evaluate
from echojax.errors import UserError
from echojax.evaluate import Interval
from echojax.report import style
from echojax.report.labels import Label, write_labels

SIZE_INCHES = (7.6, 5.2)
# The original's, which is as wide as a page.
METRIC_INCHES = (10.0, 6.0)
CURVE_POINTS = 200
FIT_MARGIN = 1.3
# Ticks within a decade of a logarithmic axis: the first steps that give enough of them, else evenly spaced ones.
TICK_STEPS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7))
MIN_TICKS = 4


class SizedModel(NamedTuple):
    """A network of the sweep.

    Attributes:
        name: e.g. "33", three blocks of three layers.
        num_weights: trainable parameters.
        dice: of each video, the same videos in the same order for all networks.
    """

    name: str
    num_weights: int
    dice: Float[np.ndarray, "n"]


class PublishedModel(NamedTuple):
    """A number from the literature, on EchoNet-Dynamic's test split."""

    name: str
    num_weights: float
    dice: float


# Competitors and EchoDFKD's own students as its repository's figure shows them, read off to about 0.001.
PUBLISHED = (
    PublishedModel("SimLVSeg", 18.9e6, 0.9332),
    PublishedModel("nnU-Net", 7.4e6, 0.9284),
    PublishedModel("MU-UNet", 12.4e6, 0.905),
    PublishedModel("DeepLabV3 (teacher)", 39.6e6, 0.9225),
)
PUBLISHED_STUDENTS = (
    PublishedModel("11", 5_701, 0.784),
    PublishedModel("12", 16_141, 0.776),
    PublishedModel("13", 26_581, 0.833),
    PublishedModel("14", 37_021, 0.840),
    PublishedModel("21", 39_577, 0.858),
    PublishedModel("22", 91_633, 0.890),
    PublishedModel("23", 143_689, 0.890),
    PublishedModel("24", 195_745, 0.897),
    PublishedModel("31", 174_721, 0.901),
    PublishedModel("32", 392_953, 0.907),
    PublishedModel("33", 611_185, 0.908),
    PublishedModel("34", 829_417, 0.908),
    PublishedModel("41", 714_577, 0.909),
    PublishedModel("42", 1_596_937, 0.911),
    PublishedModel("43", 2_479_297, 0.910),
    PublishedModel("44", 3_361_657, 0.910),
)


def plot_quality_against_size(
    models: Sequence[SizedModel],
    title: str,
    *,
    data: str,
    published: Sequence[PublishedModel] = PUBLISHED,
    published_students: Sequence[PublishedModel] = PUBLISHED_STUDENTS,
    num_samples: int = 1000,
    seed: int = 0,
) -> Figure:
    """1 - Dice over the number of weights, both logarithmic, with the saturating fit and its interval.

    Every network stands with the 95 % interval of its mean Dice over videos, the fit with that of its curve. Published
    numbers are hollow and named as such: they are of other videos unless `data` says otherwise.

    Args:
        models: at least one; the fit needs four sizes.
        data: what the networks were measured on, in a few words, e.g. "40 held-out phantoms".
        published, published_students: shown for comparison; () shows none.
        num_samples, seed: of the bootstrap.
    """
    dice = _stack_dice(models)
    num_weights = np.array([model.num_weights for model in models])
    intervals = [evaluate.bootstrap(evaluate.mean, of_model, num_samples=num_samples, seed=seed) for of_model in dice]
    with style.applied():
        figure, axes = style.new_axes(title, SIZE_INCHES)
        axes.set(xscale="log", yscale="log", xlabel="Trainable weights", ylabel="1 − Dice (lower is better)")
        labels, places = _draw_models(axes, models, intervals)
        for more_labels, more_places in (_draw_published(axes, published), _draw_students(axes, published_students)):
            labels, places = labels + more_labels, places + more_places
        caption = f"filled: measured on {data}, 95 % intervals over videos"
        if len(np.unique(num_weights)) >= evaluate.MIN_SIZES:
            band = evaluate.bootstrap_saturation(num_weights, dice, num_samples=num_samples, seed=seed)
            places = places + _draw_fit(axes, band, num_weights)
            caption += "\nline: saturating fit, with the 95 % interval of its curve"
        if published or published_students:
            caption += "\nhollow: published, EchoNet-Dynamic test split, other training data"
        _style_axes(axes)
        place = {"xycoords": "axes fraction", "va": "top", "annotation_clip": False}
        axes.annotate(caption, (0, -0.17), fontsize=9, color=style.MUTED, **place)
        write_labels(axes, labels, np.array(places))
    return figure


def plot_metric_against_size(metric: str, values: Mapping[str, tuple[int, Interval]]) -> Figure:
    """The original's plot of one metric: its value over the number of weights, both on logarithmic axes.

    A metric that is not above 0 for every network, such as LVEF's R2 may be, stands on a linear axis instead.

    Args:
        metric: its name.
        values: {network: (trainable weights, value with its interval)}; networks whose value is not finite are left
            out, and the plot says so.
    """
    known = {name: pair for name, pair in values.items() if np.isfinite(pair[1].value)}
    if not known:
        raise UserError(f"no network has a finite value of {metric}; expected at least one to plot")
    with style.applied():
        figure, axes = style.new_axes(f"{metric} function of weight", METRIC_INCHES)
        is_positive = all(interval.value > 0 for _, interval in known.values())
        axes.set(xscale="log", yscale="log" if is_positive else "linear", xlabel="Weights", ylabel="Score")
        for name, (num_weights, interval) in known.items():
            _draw_interval(axes, num_weights, interval.value, interval.low, interval.high, is_positive)
            axes.annotate(name, (num_weights, interval.value), (6, 5), textcoords="offset points", fontsize=10)
        axes.margins(0.08)
        _count_weights(axes)
        if is_positive:
            _write_ticks(axes, "y")
        if missing := sorted(set(values) - set(known)):
            axes.text(0.99, 0.01, f"no value: {', '.join(missing)}", transform=axes.transAxes, ha="right", fontsize=9)
    return figure


def _stack_dice(models: Sequence[SizedModel]) -> Float[np.ndarray, "m n"]:
    if not models:
        raise UserError("no networks to plot; expected at least one with its Dice per video")
    lengths = {len(model.dice) for model in models}
    if len(lengths) != 1 or 0 in lengths:
        raise UserError(
            f"networks have Dice of {', '.join(str(len(model.dice)) for model in models)} videos; expected the same "
            "videos for all, at least one"
        )
    return np.array([model.dice for model in models], np.float64)


def _draw_models(
    axes: Axes, models: Sequence[SizedModel], intervals: Sequence[Interval]
) -> tuple[list[Label], list[tuple[float, float]]]:
    """Draws them; returns their labels, and the places that these should keep free, as do the functions that follow."""
    look = {"color": style.BLUE, "fontsize": 10, "fontweight": "bold", "zorder": 5}
    labels, ends = [], []
    for model, interval in zip(models, intervals, strict=True):
        value, low, high = 1 - interval.value, 1 - interval.high, 1 - interval.low
        _draw_interval(axes, model.num_weights, value, low, high, True)
        labels.append(Label(model.name, model.num_weights, value, look))
        ends += [(model.num_weights, end) for end in (low, high) if end > 0]
    return labels, ends


def _draw_interval(axes: Axes, x: float, value: float, low: float, high: float, is_log: bool) -> None:
    """A dot with its interval; an end at or below 0 is cut off on a logarithmic axis."""
    if np.isfinite(low) and np.isfinite(high):
        ends = [max(low, 1e-2 * value) if is_log else low, high]
        axes.plot([x, x], ends, color=style.BLUE, linewidth=1.4, alpha=0.7, zorder=3)
    axes.plot(x, value, "o", color=style.BLUE, markersize=6.5, zorder=4)


def _draw_fit(axes: Axes, band: evaluate.SaturationBand, num_weights: np.ndarray) -> list[tuple[float, float]]:
    """Over the sizes that were fitted: beyond them the curve says little."""
    grid = np.geomspace(num_weights.min() / FIT_MARGIN, num_weights.max() * FIT_MARGIN, CURVE_POINTS)
    low, high = band.loss_interval(grid)
    loss = band.fit.loss(grid)
    axes.fill_between(grid, low, high, color=style.BLUE, alpha=0.14, linewidth=0, zorder=1)
    axes.plot(grid, loss, color=style.BLUE, linewidth=1.8, zorder=2)
    return list(zip(grid, loss, strict=True))


def _draw_published(axes: Axes, published: Sequence[PublishedModel]) -> tuple[list[Label], list[tuple[float, float]]]:
    for model in published:
        place = model.num_weights, 1 - model.dice
        axes.plot(*place, "D", markerfacecolor="none", markeredgecolor=style.VERMILLION, markersize=6)
    look = {"color": style.VERMILLION, "fontsize": 9}
    longest_first = sorted(published, key=lambda model: len(model.name), reverse=True)  # it fits in the fewest places
    return [Label(model.name, model.num_weights, 1 - model.dice, look) for model in longest_first], []


def _draw_students(axes: Axes, students: Sequence[PublishedModel]) -> tuple[list[Label], list[tuple[float, float]]]:
    """The label stands beside the largest."""
    if not students:
        return [], []
    places = sorted((model.num_weights, 1 - model.dice) for model in students)
    axes.plot(
        *zip(*places, strict=True), "o", markerfacecolor="none", markeredgecolor=style.PURPLE, markersize=4.5, alpha=0.8
    )
    return [Label("EchoDFKD students", *places[-1], {"color": style.PURPLE, "fontsize": 9})], places


def _style_axes(axes: Axes) -> None:
    axes.margins(0.1, 0.06)
    _count_weights(axes)
    _write_ticks(axes, "y")


def _count_weights(axes: Axes) -> None:
    _write_ticks(axes, "x")
    axes.xaxis.set_major_formatter(FuncFormatter(_format_count))


def _write_ticks(axes: Axes, name: str) -> None:
    """Few round numbers on a logarithmic axis, however short."""
    axis = axes.xaxis if name == "x" else axes.yaxis
    low, high = axes.get_xlim() if name == "x" else axes.get_ylim()
    decades = 10.0 ** np.arange(-8, 13)
    choices = [np.outer(decades, steps).ravel() for steps in TICK_STEPS] + [MaxNLocator(6).tick_values(low, high)]
    shown = [ticks[(low <= ticks) & (ticks <= high)] for ticks in choices]
    ticks = next((ticks for ticks in shown if len(ticks) >= MIN_TICKS), shown[-1])
    axis.set_ticks(ticks)
    axis.set_ticks([], minor=True)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _format_count(value: float, _: int) -> str:
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
