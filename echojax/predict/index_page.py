"""`index.html` and `results.csv` over all clips of a call."""

import csv
import html
import pathlib
from collections.abc import Sequence

from echojax.files import replaced_file, write_text
from echojax.predict.report_style import CONTENT_POLICY, STYLE
from echojax.predict.result import COLUMNS
from echojax.report import page

HEADINGS = ("Clip", "LVEF", "Interval", "Beats", "Doubtful")


def write_table(path: pathlib.Path, rows: Sequence[dict]) -> None:
    """Writes `results.csv`; unknown values are empty."""
    with replaced_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def write_index(path: pathlib.Path, rows: Sequence[dict]) -> None:
    """Writes the page that leads to the reports."""
    done = [row for row in rows if row["status"] == "ok"]
    summary = f"{len(done)} of {len(rows)} clips were measured."
    head = "".join(f'<th scope="col">{name}</th>' for name in HEADINGS)
    body = "\n".join(map(_row, rows))
    content = f"""<header>
<h1>Ejection fractions</h1>
<p class="summary">{summary}</p>
<aside class="notice"><p><strong>{page.DISCLAIMER}</strong> Not for diagnosis.</p></aside>
</header>
<main>
<section><div class="scroll" tabindex="0"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
<p class="caption">All numbers: <a href="results.csv">results.csv</a>.</p></section>
</main>
<footer><p><strong>{page.DISCLAIMER}</strong> Made by echojax.</p></footer>"""
    write_text(path, page.format_document("Ejection fractions", content, "", STYLE, CONTENT_POLICY))


def _row(row: dict) -> str:
    name = html.escape(row["name"])
    if row["status"] != "ok":
        return f'<tr class="failed"><th scope="row">{name}</th><td colspan="4">{html.escape(row["reason"])}</td></tr>'
    value = "–" if row["lvef_percent"] is None else f"{row['lvef_percent']:.0f} %"
    low, high = row["lvef_low_percent"], row["lvef_high_percent"]
    interval = "–" if low is None else f"{low:.0f} to {high:.0f} %"
    doubts = html.escape(_doubts(row["flags"]))
    numbers = "".join(f'<td class="nowrap">{cell}</td>' for cell in (value, interval, row["num_beats"]))
    return f'<tr><th scope="row"><a href="{name}/report.html">{name}</a></th>{numbers}<td>{doubts}</td></tr>'


def _doubts(kinds: str) -> str:
    return ", ".join(kind.replace("_", " ") for kind in kinds.split())
