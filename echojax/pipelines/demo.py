"""The whole of CSS on phantoms, in one command: data, five training runs, one table, one page."""

import dataclasses
from pathlib import Path

import numpy as np

from echojax import evaluate, pages, run
from echojax.data import data_kind
from echojax.evaluation import EfResults
from echojax.pipelines.phantoms import ensure_phantoms
from echojax.records import open_videos
from echojax.report import page
from echojax.stages import common

# In the order in which they run: a config's own fields are sorted by name.
LABELS = {
    "css": "Segmentation, CSS (labels and cyclic loss)",
    "supervised": "Segmentation, labels only",
    "teacher": "EF, multi-modal teacher (RGB and mask)",
    "student": "EF, distilled student (RGB)",
    "baseline": "EF, labels only (RGB)",
    "mean_predictor": "EF, always the labelled videos' mean",
}
SHOWN = ("dice", "dice_ed", "dice_es", "mae", "rmse", "r2")


def run_pipeline(config, workdir: Path) -> None:
    """Trains and evaluates every stage of the config on TEST and writes the table and the page."""
    ensure_phantoms(config.data_dir, config.phantoms)
    chain = run_chain(config, workdir)
    results = {name: evaluated.results["TEST"] for name, evaluated in chain.items()}
    videos = open_videos(config.data_dir)
    kind = data_kind(videos)
    for name, of_stage in results.items():
        evaluate.update_metrics(workdir / "metrics.json", name, of_stage.metrics, data=kind, split="TEST")
    mean_predictor = evaluate_mean_predictor(config, videos, results["student"])
    evaluate.update_metrics(workdir / "metrics.json", "mean_predictor", mean_predictor, data=kind, split="TEST")
    metrics = evaluate.load_metrics(workdir / "metrics.json")
    write_page(workdir, kind, metrics, chain)
    print(describe_metrics(metrics, kind))


def run_chain(config, workdir: Path) -> dict[str, run.Evaluated]:
    """Runs the stages one after the other, each in its own folder of workdir."""
    chain = {}
    for name in (name for name in LABELS if name in config.stages):
        stage = config.stages[name]
        stage.masks_dir = str(workdir / "css" / "masks")
        stage.teacher_dir = str(workdir / "teacher")
        print(f"\n{LABELS[name]}")
        chain[name] = run.train_stage(stage, workdir / name)
    return chain


def evaluate_mean_predictor(config, videos, results: EfResults) -> dict[str, evaluate.Interval]:
    """What a predictor is worth that knows nothing but the mean EF of the labelled videos."""
    labelled, _ = common.training_positions(videos, config.labels)
    mean_ef = float(np.nanmean(videos.ef_percent[labelled]))
    predicted = np.full(len(results.ef), mean_ef)
    return {
        "mae": evaluate.bootstrap(evaluate.mae, predicted, results.ef),
        "rmse": evaluate.bootstrap(evaluate.rmse, predicted, results.ef),
    }


def describe_metrics(metrics: dict[str, dict[str, evaluate.Interval]], kind: str) -> str:
    """The table that stands at the end of the demo."""
    lines = [f"\nTEST, {kind} videos: value [95 % interval over videos]"]
    for group, label in LABELS.items():
        shown = [
            f"{name} {of_name.value:.3g} [{of_name.low:.3g}, {of_name.high:.3g}]"
            for name in ("dice", "mae", "r2")
            if (of_name := metrics[group].get(name)) is not None
        ]
        lines.append(f"  {label:<44} {'   '.join(shown)}   n={next(iter(metrics[group].values())).n}")
    return "\n".join(lines)


def write_page(workdir: Path, kind: str, metrics, chain: dict[str, run.Evaluated]) -> None:
    """Writes the demo's `index.html` over the stages' own plots and videos."""
    sections = [
        dataclasses.replace(evaluated.sections["TEST"], title=LABELS[name]) for name, evaluated in chain.items()
    ]
    page.write_page(
        workdir / "index.html",
        title="From phantoms to a student network",
        summary=(
            "Cyclic self-supervised segmentation, a teacher that sees video and mask, and a student distilled from it, "
            "each trained from random weights with few channels in a minute or two, beside the same networks trained "
            "on labels alone."
        ),
        data=kind,
        tables=[page.metrics_table("Held-out videos", metrics, names=SHOWN, labels=LABELS)],
        sections=sections,
        notes=pages.LIMITS,
        files=[(workdir / "metrics.json", "every metric with its interval")]
        + [(workdir / name / "index.html", f"all of {label}") for name, label in LABELS.items() if name in chain],
    )
