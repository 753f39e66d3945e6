"""The rows of a result as a table, which is also Markdown."""

from collections.abc import Mapping, Sequence

HEAD = ("row", "ratio", "ours", "theirs", "unit", "work", "counterpart")


def render(rows: Sequence[Mapping]) -> str:
    """A line per row; the reason stands where a measurement is missing."""
    lines = [HEAD, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    padded = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([f"| {padded[0]} |", f"|{rule}|", *(f"| {line} |" for line in padded[1:])])


def _cells(row: Mapping) -> tuple[str, ...]:
    if row["error"]:
        return (row["name"], "", "", "", "", f"failed: {row['error'].splitlines()[0]}", "")
    numbers = (_number(row[name]) for name in ("ratio", "ours", "theirs"))
    return (row["name"], *numbers, row["unit"], row["what"] + row["note"], row["counterpart"] or "")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
