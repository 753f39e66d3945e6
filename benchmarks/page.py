"""Writes the tables and plots of docs/performance.md anew from the results.

    python -m benchmarks.page [--page=docs/performance.md] [--results=benchmarks/results]

A table stands between `<!-- table FILE.json -->` and `<!-- end -->`, and below it the plots of the same file, which go
to `performance/` beside the page; what is written between them is replaced.
"""

import argparse
import json
import math
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from benchmarks.table import render
from echojax.errors import UserError
from echojax.files import write_text
from echojax.report import style

_TABLE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_INPUT = re.compile(r"input pipeline, workers (\d+)")
# Twice as wide as tall: four of them stand below one another.
_SIZE_INCHES = (6.4, 3.4)


def write_page(page: pathlib.Path, results: pathlib.Path) -> list[pathlib.Path]:
    """Fills in the tables of a page, draws its plots, and returns the plots' files."""
    text = page.read_text(encoding="utf-8")
    files = [match[2] for match in _TABLE.finditer(text)]
    if not files:
        raise UserError(f"{page}: there is no '<!-- table FILE.json -->' to fill in")
    blocks, written = {}, []
    for file in files:
        result = _read(results / file)
        blocks[file] = describe(result)
        for name, figure in plots(result).items():
            path, _ = style.save_figure(figure, page.parent / "performance" / f"{pathlib.Path(file).stem}_{name}")
            blocks[file] += f"\n![{name.replace('_', ' ')}]({path.relative_to(page.parent)})\n"
            written.append(path)
    write_text(page, _TABLE.sub(lambda match: match[1] + blocks[match[2]] + match[3], text))
    return written


def describe(result: Mapping) -> str:
    """The table of a result, and what it was measured on."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if name != "device")
    return f"{render(result['rows'])}\n\nSuite `{result['suite']}` on {result['device']}; {versions}.\n"


def plots(result: Mapping) -> dict[str, Figure]:
    """A plot of every curve, and of clips/s over workers, by file name."""
    figures = {}
    for curve in result["costs"]:
        if "error" not in curve:
            seconds = {"": curve["seconds"]}
            title = curve["name"]
            figures[f"over_{curve['axis']}"] = plot_over(title, curve["axis"], "seconds", curve["sizes"], seconds)
    workers = [(int(match[1]), row) for row in result["rows"] if (match := _INPUT.fullmatch(row["name"]))]
    if workers:
        counts = [count for count, _ in workers]
        rates = {side: [1000 / row[side] for _, row in workers] for side in ("ours", "theirs")}
        figures["input_over_workers"] = plot_over("Reading clips of 32 frames", "workers", "clips/s", counts, rates)
    return figures


def plot_over(title: str, axis: str, unit: str, sizes: Sequence[int], series: Mapping[str, Sequence[float]]) -> Figure:
    """Values over sizes, both logarithmic where they span more than tenfold; each series is labelled at its end."""
    with style.applied():
        figure, axes = style.new_axes(title, _SIZE_INCHES)
        for (name, values), color in zip(series.items(), style.SERIES, strict=False):
            axes.plot(sizes, values, color=color, linewidth=2, marker="o", clip_on=False, zorder=3)
            style.write_label(axes, name, sizes[-1], values[-1], color, ha="right", va="bottom")
        values = [value for of_series in series.values() for value in of_series]
        if max(values) > 10 * min(values):
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.15 * max(values))
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        spread = 1.1 if len(sizes) > 1 else math.sqrt(2)
        axes.set(xlabel=axis, ylabel=unit, xlim=(sizes[0] / spread, sizes[-1] * spread))
    return figure


def _read(path: pathlib.Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path}: no result to read ({error}); make it with: python -m benchmarks --output={path}"
        ) from error


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=pathlib.Path, default=pathlib.Path("docs/performance.md"))
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    arguments = parser.parse_args(argv)
    try:
        written = write_page(arguments.page, arguments.results)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.page} and {', '.join(map(str, written))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
