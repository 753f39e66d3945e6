"""Writes the tables and plots of docs/performance.md and docs/scaling.md anew from the results.

    python -m benchmarks.page [--pages=docs/performance.md,docs/scaling.md] [--results=benchmarks/results]

What stands between `<!-- KIND FILE.json -->` and `<!-- end -->` is replaced. A `table` is of the rows of
`python -m benchmarks`; `plots` of the same file go to a folder beside the page that bears its name; a `headline` is of
`benchmarks.headline`, a `memory` of `benchmarks.memory`.
"""

import argparse
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from benchmarks import headline, memory
from benchmarks.commands import reports_user_errors
from benchmarks.table import render
from echojax.errors import UserError
from echojax.files import write_text
from echojax.report import style

_BLOCK = re.compile(r"(<!-- (table|plots|headline|memory) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_INPUT = re.compile(r"input pipeline, workers (\d+)")
# Twice as wide as tall: four of them stand below one another.
_SIZE_INCHES = (6.4, 3.4)


def write_page(page: pathlib.Path, results: pathlib.Path) -> list[pathlib.Path]:
    """Fills in the tables of a page, draws its plots, and returns the plots' files."""
    text = page.read_text(encoding="utf-8")
    written = []

    def fill_in(match: re.Match) -> str:
        head, kind, file, end = match.groups()
        result = headline.read_result(results / file)
        if kind != "plots":
            describe_result = {"table": describe, "headline": headline.describe, "memory": memory.describe}[kind]
            return f"{head}{describe_result(result)}{end}"
        block = ""
        for name, figure in plots(result).items():
            path, _ = style.save_figure(figure, page.with_suffix("") / f"{pathlib.Path(file).stem}_{name}")
            block += f"![{name.replace('_', ' ')}]({path.relative_to(page.parent)})\n"
            written.append(path)
        return head + block + end

    filled_in, count = _BLOCK.subn(fill_in, text)
    if not count:
        raise UserError(f"{page}: there is no '<!-- table FILE.json -->' to fill in")
    write_text(page, filled_in)
    return written


def describe(result: Mapping) -> str:
    """The table of a result, and what it was measured on."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if name != "device")
    load = f"load average at the end {result['load_average']}"
    note = f"; {result['note']}" if result.get("note") else ""
    return f"{render(result['rows'])}\n\nSuite `{result['suite']}` on {result['device']}; {versions}; {load}{note}.\n"


def plots(result: Mapping) -> dict[str, Figure]:
    """A plot of every curve of two points or more, and of clips/s over workers, by file name."""
    figures = {}
    for curve in result["costs"]:
        if "error" not in curve and len(curve["sizes"]) > 1:
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
    """Values over sizes, logarithmic where they span more than tenfold; each series is labelled above its end."""
    values = [value for of_series in series.values() for value in of_series]
    is_log = max(values) > 10 * min(values)
    with style.applied():
        figure, axes = style.new_axes(title, _SIZE_INCHES)
        for (name, of_series), color in zip(series.items(), style.SERIES, strict=False):
            axes.plot(sizes, of_series, color=color, linewidth=2, marker="o", clip_on=False, zorder=3)
            above = of_series[-1] * 1.4 if is_log else of_series[-1] + 0.04 * max(values)
            style.write_label(axes, name, sizes[-1], above, color, ha="right", va="bottom")
        if is_log:
            axes.set(yscale="log", ylim=(min(values) / 2, 4 * max(values)))
        else:
            axes.set_ylim(0, 1.15 * max(values))
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        margin = (sizes[-1] - sizes[0]) / 20
        axes.set(xlabel=axis, ylabel=unit, xlim=(sizes[0] - margin, sizes[-1] + margin))
    return figure


@reports_user_errors
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", default="docs/performance.md,docs/scaling.md", help="%(default)s")
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    arguments = parser.parse_args(argv)
    for page in map(pathlib.Path, arguments.pages.split(",")):
        print(", ".join(map(str, [page, *write_page(page, arguments.results)])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
