"""The metric groups of EchoDFKD's evaluation as tables: a line per group, a column for each metric that tells most."""

import dataclasses
from collections.abc import Mapping

from echojax.evaluate import Interval
from echojax.report.page import Table
from echojax.report.plots import format_interval

Groups = Mapping[str, Mapping[str, Interval]]

PROTOCOLS = ("echodfkd", "uvt", "blind")
PROTOCOLS_TEXT = (
    "echodfkd: extreme of the run of frames beyond the median that lies next to the reference; uvt: the peak next to "
    "it; blind: of the beats found without it, the next one."
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a table shows.

    Attributes:
        columns: {metric: (name, digits)}; those that no group has are left out.
        lines: {heading: {group: name}}; likewise.
    """

    title: str
    first_column: str
    columns: Mapping[str, tuple[str, int]]
    lines: Mapping[str, Mapping[str, str]]
    caption: str = ""


LAYOUTS = (
    Layout(
        "Dice of traced frames",
        "Masks",
        {"dice_ed_mean": ("ED", 3), "dice_es_mean": ("ES", 3), "dice_mean": ("Both", 3), "dice": ("Both, pooled", 3)},
        {"": {"dice_at_half": "above 1/2", "dice_at_80": "above 80/255"}},
        "Means over videos, and pixels of all videos pooled. 80/255 is EchoDFKD's threshold.",
    ),
    Layout(
        "LVEF against the known",
        "Method",
        {"mae": ("MAE", 1), "rmse": ("RMSE", 1), "bias": ("Bias", 1), "r2": ("R²", 2), "pearson": ("r", 2)},
        {
            "At the beats found in the masks": {
                "lvef_simpson_beats": "Discs",
                "lvef_area_length_beats": "Area-length",
                "lvef_area_beats": "Areas",
            },
            "At the traced frames": {
                "lvef_simpson_traced": "Discs",
                "lvef_area_length_traced": "Area-length",
                "lvef_area_traced": "Areas",
                "lvef_echodfkd": "EchoDFKD's areas",
            },
            "EchoCLIP": {
                "lvef_echoclip": "By its 202 sentences",
                "lvef_echodfkd_against_echoclip": "EchoDFKD's areas against it",
            },
        },
        "MAE, RMSE and bias in points. EchoDFKD's areas are those above 80/255.",
    ),
    Layout(
        "aFD: distance of ED and ES from a reference",
        "Protocol",
        {
            "ed_frames": ("ED, frames", 1),
            "ed_ms": ("ED, ms", 0),
            "es_frames": ("ES, frames", 1),
            "es_ms": ("ES, ms", 0),
        },
        {
            heading: {f"afd_{protocol}_{reference}": protocol for protocol in PROTOCOLS}
            for reference, heading in {
                "human": "From the traced frames",
                "teacher": "From the teacher's masks",
                "echoclip": "From EchoCLIP's phase",
            }.items()
        },
        PROTOCOLS_TEXT,
    ),
    Layout(
        "EchoCLIP's score of the masks",
        "Score",
        {
            "echoclip_score": ("Score", 3),
            "echoclip_score_over_empty": ("Above empty masks", 3),
            "echoclip_score_over_teacher": ("Above the teacher's", 3),
            "correlation": ("r with area", 2),
        },
        {"": {"echoclip_intended": "As intended", "echoclip_as_coded": "As coded", "echoclip_phase": "Phase signal"}},
    ),
)


def evaluation_tables(groups: Groups, level: float = 0.95) -> list[Table]:
    """Tables of Dice, LVEF, aFD and EchoCLIP's verdicts; those that no group belongs to are left out.

    Args:
        groups: {group: {metric: Interval}} of `evaluate.summarise_videos` and `echoclip.summarise_verdicts`.
        level: of the intervals.
    """
    brackets = f"In brackets the {100 * level:.0f} % interval over videos."
    tables = [_table(layout, groups, brackets) for layout in LAYOUTS]
    return [table for table in tables if table.rows]


def _table(layout: Layout, groups: Groups, brackets: str) -> Table:
    shown = [groups[group] for of_heading in layout.lines.values() for group in of_heading if group in groups]
    columns = {name: of_name for name, of_name in layout.columns.items() if any(name in metrics for metrics in shown)}
    rows = {
        heading: [_row(name, columns, groups[group]) for group, name in of_heading.items() if group in groups]
        for heading, of_heading in layout.lines.items()
    }
    return Table(
        layout.title,
        (layout.first_column, *(name for name, _ in columns.values()), "n"),
        {heading: of_heading for heading, of_heading in rows.items() if of_heading},
        f"{layout.caption} {brackets}".strip(),
        numeric=range(1, len(columns) + 2),
    )


def _row(name: str, columns: Mapping[str, tuple[str, int]], metrics: Mapping[str, Interval]) -> list[str]:
    cells = [
        format_interval(metrics[metric], digits) if metric in metrics else "" for metric, (_, digits) in columns.items()
    ]
    counts = sorted({metrics[metric].n for metric in columns if metric in metrics})
    # ED may be found where ES is not.
    return [name, *cells, "–".join(map(str, counts))]
