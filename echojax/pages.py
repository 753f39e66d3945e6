"""Pictures, overlay videos and the page of a run."""

import dataclasses
import re
from pathlib import Path

import numpy as np

from echojax import evaluate
from echojax.data import is_traced, traced_masks
from echojax.evaluate.dfkd import DICE, LVEF
from echojax.evaluation import EfResults, Run, SegmentationResults
from echojax.judging import VideoResults, load_video
from echojax.report import contact_sheet, curves, dfkd, dfkd_tables, overlay, page, plots, style

LIMITS = (
    "Every interval is over the videos of the split: it says how much the number would change with other videos of the "
    "same kind, not with other training runs.",
    "VAL chose the checkpoint, so its numbers flatter; TEST was not looked at before.",
)


def write_run_page(run: Run, results: dict[str, SegmentationResults | EfResults]) -> dict[str, page.Section]:
    """Writes `index.html` of a run, with plots and overlays of every evaluated split; returns those sections."""
    make_section = {EfResults: ef_section, SegmentationResults: segmentation_section, VideoResults: video_section}
    sections = {split: make_section[type(of_split)](run, split, of_split) for split, of_split in results.items()}
    metrics = {}
    for split, of_split in results.items():
        metrics |= _headline(run, split, of_split)
    notes = [note for of_split in results.values() if isinstance(of_split, VideoResults) for note in of_split.notes]
    page.write_page(
        run.workdir / "index.html",
        title=f"{run.stage} on {run.data_kind} data",
        summary=f"The best checkpoint of {run.workdir.name} ({_shorten(run.checkpoint)}), evaluated on "
        f"{', '.join(results)}.",
        data=run.data_kind,
        tables=[page.metrics_table("Results", metrics)],
        sections=[*sections.values(), training_section(run.stage, run.workdir)],
        notes=[*LIMITS, *dict.fromkeys(notes)],
        files=result_files(run.workdir),
    )
    return sections


def _shorten(text: str) -> str:
    """The same with numbers of four digits behind the point: all of them tell checkpoints apart, but not readers."""
    return re.sub(r"\d+\.\d{5,}", lambda number: f"{float(number[0]):.4f}", text)


def training_section(title: str, workdir: Path) -> page.Section:
    """Curves of training and validation."""
    log = workdir / "log.jsonl"
    if not log.exists():
        return page.Section(f"{title}: training", "This checkpoint was not trained here: there are no curves.")
    path, _ = style.save_figure(curves.plot_curves(log, f"{title}: training"), workdir / "plots" / "curves")
    figure = page.Figure(path, "Training and validation by step.", wide=True)
    return page.Section(f"{title}: training", figures=[figure])


def ef_section(run: Run, split: str, results: EfResults) -> page.Section:
    """Scatter, Bland-Altman and ROC plots of a split."""
    title = f"{run.stage}, {run.data_kind} {split.upper()}"
    metrics = results.metrics if results.all_clips is not None else None
    figures = {
        "scatter": plots.plot_scatter(results.predicted, results.ef, title, metrics),
        "bland_altman": plots.plot_bland_altman(results.predicted, results.ef, title),
        "roc": plots.plot_roc(results.predicted, results.ef, title, metrics),
    }
    captions = {
        "scatter": "Predicted over known LVEF.",
        "bland_altman": "Difference over mean, with bias and limits of agreement.",
        "roc": "Finding LVEF below 50, 40 and 35 %.",
    }
    saved = {
        name: style.save_figure(figure, run.workdir / "plots" / f"{name}_{split.lower()}")[0]
        for name, figure in figures.items()
    }
    protocol = "mean over the clips of a video" if results.all_clips is not None else "mean over single random clips"
    return page.Section(
        f"{run.stage}: ejection fraction on {split.upper()}",
        f"{len(results.names)} videos; each prediction is the {protocol}.",
        figures=[page.Figure(path, captions[name]) for name, path in saved.items()],
    )


def segmentation_section(run: Run, split: str, results: SegmentationResults) -> page.Section:
    """Contact sheet of best, median and worst videos of a split, and overlay videos of one of each."""
    groups = contact_sheet.pick_cases(1 - results.dice)
    cases = {group: [_case(run, results, int(item)) for item in items] for group, items in groups.items()}
    title = f"{run.stage}, {run.data_kind} {split.upper()}"
    figure = contact_sheet.plot_contact_sheet(cases, title)
    sheet, _ = style.save_figure(figure, run.workdir / "plots" / f"cases_{split.lower()}")
    return page.Section(
        f"{run.stage}: segmentation on {split.upper()}",
        f"{len(results.names)} videos with traced ED and ES frames.",
        figures=[page.Figure(sheet, "Best, median and worst by Dice: ED and ES, predicted and traced.", wide=True)],
        videos=_overlays(run, split, results),
    )


def video_section(run: Run, split: str, results: VideoResults) -> page.Section:
    """Tables of all metric groups, and pictures of the best, a middling and the worst video of a split."""

    def load(name: str):
        position = run.videos.position(name)
        return load_video(run, position), run.videos.frames(position)

    title = f"{run.stage}, {run.data_kind} {split.upper()}"
    section = dfkd.evaluation_section(
        results.scores, load, run.workdir / "plots", title=title, suffix=f"_{split.lower()}"
    )
    return dataclasses.replace(
        section,
        title=f"{run.stage}: whole videos of {split.upper()}",
        tables=dfkd_tables.evaluation_tables(results.groups, run.interval["level"]),
        videos=_overlays(run, split, results),
    )


def _headline(run: Run, split: str, results) -> dict[str, dict[str, evaluate.Interval]]:
    """The top of the page: the stage's own metrics, or of whole videos the most telling ones of Dice and LVEF."""
    if not isinstance(results, VideoResults):
        return {run.group(split): results.metrics}
    telling = {
        DICE: (f"{split.upper()}, traced frames", ("dice", "dice_mean")),
        LVEF: (f"{split.upper()}, LVEF by discs at the beats found", ("mae", "rmse", "pearson")),
    }
    return {
        name: {metric: results.groups[group][metric] for metric in metrics}
        for group, (name, metrics) in telling.items()
        if group in results.groups
    }


def result_files(workdir: Path) -> list[tuple[Path, str]]:
    """The files of a run that are worth opening, with what they hold."""
    meanings = {
        "metrics.json": "every metric with its interval",
        "predictions_": "EF of each video, known and predicted, and what else was measured of it",
        "clips_": "EF of each clip",
        "dice_": "Dice of each video",
        "config.json": "the resolved config, versions and commit",
        "log.jsonl": "curves",
    }
    found = sorted(path for path in workdir.iterdir() if path.is_file())
    return [(path, text) for path in found for start, text in meanings.items() if path.name.startswith(start)]


def _case(run: Run, results: SegmentationResults, item: int) -> contact_sheet.Case:
    position = run.videos.position(results.names[item])
    traced = _traced_masks(run, position)
    frames = np.stack([run.videos.frames(position, frame, frame + 1)[0] for frame in traced])
    logits = run.segment_at(position, list(traced))
    caption = f"{results.names[item]}\nDice {results.dice[item]:.3f}"
    return contact_sheet.Case(caption, frames, logits > 0, np.stack(list(traced.values())))


def _overlays(run: Run, split: str, results: SegmentationResults) -> list[page.Video]:
    """A video of the best, a middling and the worst case each; of the first where none is traced."""
    if not results.names:
        return [_write_overlay(run, results.scores[0].name, f"{split.lower()}_first", "")]
    return [
        _write_overlay(
            run, results.names[items[0]], f"{split.lower()}_{group}", f": Dice {results.dice[items[0]]:.3f} ({group})"
        )
        for group, items in contact_sheet.pick_cases(1 - results.dice, num_each=1).items()
    ]


def _write_overlay(run: Run, name: str, file_name: str, remark: str) -> page.Video:
    position = run.videos.position(name)
    frames, fps = run.videos.frames(position), float(run.videos.fps[position])
    path = run.workdir / "plots" / f"overlay_{file_name}.mp4"
    true = _traced_masks(run, position) if is_traced(run.videos, position) else None
    poster = overlay.write_overlay(path, frames, run.segment_frames(frames) > 0, true, fps=fps, title=name)
    return page.Video(path, f"{name}{remark}", poster, f"Left ventricle outlined through the heart cycle of {name}")


def _traced_masks(run: Run, position: int) -> dict[int, np.ndarray]:
    """Masks of the ED and the ES tracing by frame."""
    return dict(traced_masks(run.videos, position, run.config.labels.ed_es_order).values())
