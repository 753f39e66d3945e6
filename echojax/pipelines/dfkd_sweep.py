"""EchoDFKD's sweep: students of several sizes on equal data and steps, and how their quality grows with size."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from echojax import evaluate, pages
from echojax.data import data_kind
from echojax.errors import UserError
from echojax.pipelines.phantoms import ensure_phantoms
from echojax.pipelines.runs import Outcome, run_all
from echojax.records import open_videos
from echojax.report import page, size_quality, style
from echojax.report.plots import format_interval

# The paper's students have this many channels in their first block and are known by k and n alone.
PAPER_WIDTH = 12
# A fitted limit that may be above this Dice comes of a curve that is still falling.
UNBOUNDED = 0.99
# Metrics of the table, and those that the original plots, too.
SHOWN = ("dice_mean", "dice_ed_mean", "dice_es_mean")
PLOTTED = SHOWN[1:]
NOTES = (
    *pages.LIMITS,
    "Every size had the same videos, batches and steps. A larger network may need more of them: a short sweep shows "
    "what was learnt in its time, not what a size is worth in the end.",
)


class Size(NamedTuple):
    """A student: blocks k, ConvLSTM layers per block n, channels of the first block."""

    num_blocks: int
    num_layers: int
    width: int

    @property
    def name(self) -> str:
        """As the paper names it, "kn", with the width where it is not the paper's: "33", "33w6"."""
        return f"{self.num_blocks}{self.num_layers}" + (f"w{self.width}" if self.width != PAPER_WIDTH else "")


def run_pipeline(config, workdir: Path) -> None:
    """Trains and evaluates every size that is not done yet, and writes table, metrics, figure and page."""
    sizes = read_sizes(config.sizes)
    ensure_phantoms(config.data_dir, config.phantoms)
    stages = {size.name: size_stage(config, size) for size in sizes}
    outcomes = run_all(stages, workdir)
    kind = data_kind(open_videos(config.data_dir))
    for name, outcome in outcomes.items():
        evaluate.update_metrics(workdir / "metrics.json", name, outcome.metrics, data=kind, split="TEST")
    rows = tabulate(outcomes)
    evaluate.write_csv(workdir / "sizes.csv", rows)
    fit = describe_fit(list(outcomes.values()))
    print(describe_sizes(rows, kind), fit, sep="\n")
    write_page(workdir, kind, outcomes, fit)


def read_sizes(sizes: Sequence[Sequence[int]]) -> list[Size]:
    """The sizes of a config, each once, in its order.

    Raises:
      UserError: there are none, or one is not a triple.
    """
    if not sizes or any(len(size) != len(Size._fields) for size in sizes):
        raise UserError(
            f"sizes is {tuple(sizes)}, expected triples of blocks, layers and width, such as ((3, 3, 12), (2, 1, 12))"
        )
    return list(dict.fromkeys(Size(*size) for size in sizes))


def size_stage(config, size: Size) -> ConfigDict:
    """The student's config for one size."""
    stage = config.student.copy_and_resolve_references()
    stage.dfkd.num_blocks, stage.dfkd.num_layers, stage.dfkd.width = size
    return stage


def tabulate(outcomes: Mapping[str, Outcome]) -> dict[str, list]:
    """Columns of `sizes.csv`: mean Dice over videos with its interval."""
    dice = [outcome.metrics["dice_mean"] for outcome in outcomes.values()]
    return {
        "name": list(outcomes),
        "num_weights": [outcome.num_weights for outcome in outcomes.values()],
        "dice_mean": [interval.value for interval in dice],
        "low": [interval.low for interval in dice],
        "high": [interval.high for interval in dice],
        "n": [interval.n for interval in dice],
    }


def describe_sizes(rows: dict[str, list], kind: str) -> str:
    """The table that stands at the end of the sweep."""
    lines = [
        f"\nTEST, {kind} videos: Dice, mean over videos [95 % interval over videos]",
        f"  {'size':<8} {'weights':>10}   Dice",
    ]
    for name, num_weights, value, low, high, n in zip(*rows.values(), strict=True):
        lines.append(f"  {name:<8} {num_weights:>10,}   {value:.3f} [{low:.3f}, {high:.3f}]   n={n}")
    return "\n".join(lines)


def describe_fit(outcomes: Sequence[Outcome]) -> str:
    """What the saturating curve says of the largest and of an endless network, or why it says nothing."""
    num_weights = np.array([outcome.num_weights for outcome in outcomes])
    if len(np.unique(num_weights)) < evaluate.MIN_SIZES:
        return f"No saturating fit: it needs {evaluate.MIN_SIZES} sizes."
    band = evaluate.bootstrap_saturation(num_weights, np.array([outcome.dice for outcome in outcomes]))
    largest = num_weights.max(keepdims=True)
    dice = 1 - band.fit.loss(largest)[0]
    high, low = 1 - band.loss_interval(largest)[:, 0]
    limit_low, limit_high = band.limit_interval()
    limit = f"{float(band.fit.limit):.3f} [{limit_low:.3f}, {limit_high:.3f}] for an endless network"
    if limit_high > UNBOUNDED:
        limit = "it does not level off within these sizes, so that it names no limit"
    return f"Saturating fit: Dice {dice:.3f} [{low:.3f}, {high:.3f}] at {largest[0]:,} weights; {limit}."


def write_page(workdir: Path, kind: str, outcomes: Mapping[str, Outcome], fit: str) -> None:
    """Writes `index.html` over the figure, the original's plots and the pages of the sizes."""
    page.write_page(
        workdir / "index.html",
        title="Quality against size",
        summary=(
            f"EchoDFKD's student in {len(outcomes)} sizes, trained on equal data and steps. Names are the paper's: "
            f"blocks and layers per block; after w the first block's channels where they are not {PAPER_WIDTH}."
        ),
        data=kind,
        tables=[size_table(outcomes)],
        sections=[page.Section("Quality against size", fit, figures=draw_figures(workdir, kind, outcomes))],
        notes=NOTES,
        files=[(workdir / "metrics.json", "every metric with its interval"), (workdir / "sizes.csv", "the table")]
        + [(workdir / name / "index.html", f"all of size {name}") for name in outcomes],
    )


def size_table(outcomes: Mapping[str, Outcome]) -> page.Table:
    """A row for each size: weights, Dice of both phases and of each with intervals, videos."""
    digits = 3
    rows = [
        (
            name,
            f"{outcome.num_weights:,}",
            *(format_interval(outcome.metrics[metric], digits) for metric in SHOWN),
            str(len(outcome.dice)),
        )
        for name, outcome in outcomes.items()
    ]
    columns = ("Size", "Weights", "Dice", "Dice at ED", "Dice at ES", "Videos")
    caption = "Dice: mean over videos; in brackets the 95 % interval over videos (bootstrap)."
    return page.Table("Held-out videos", columns, rows, caption, numeric=range(1, len(columns)))


def draw_figures(workdir: Path, kind: str, outcomes: Mapping[str, Outcome]) -> list[page.Figure]:
    """The paper's figure, and the original's plots of its metrics."""
    models = [size_quality.SizedModel(name, outcome.num_weights, outcome.dice) for name, outcome in outcomes.items()]
    measured_on = f"{len(models[0].dice)} held-out {kind} videos"
    figure = size_quality.plot_quality_against_size(models, f"Quality against size, {kind} videos", data=measured_on)
    path, _ = style.save_figure(figure, workdir / "plots" / "quality_against_size")
    caption = "1 − Dice over the number of weights, beside the numbers that others published of real videos."
    figures = [page.Figure(path, caption, wide=True)]
    for metric in PLOTTED:
        values = {name: (outcome.num_weights, outcome.metrics[metric]) for name, outcome in outcomes.items()}
        path, _ = style.save_figure(size_quality.plot_metric_against_size(metric, values), workdir / "plots" / metric)
        caption = f"{page.METRIC_NAMES[metric][0]}, as the original plots it."
        figures.append(page.Figure(path, caption, wide=True))
    return figures
