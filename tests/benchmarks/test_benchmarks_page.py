"""The page's tables and plots come from the results alone, by one command."""

import json

import pytest

from benchmarks import page
from benchmarks.measuring import Row

PAGE = "# Title\n\nBefore.\n\n<!-- table cpu.json -->\nold\n<!-- end -->\n\nAfter.\n"


@pytest.fixture
def results(tmp_path):
    rows = [Row("css", 0.5, 1.0), Row("input pipeline, workers 1", 0.1, 10.0, unit="ms/clip")]
    rows.append(Row("input pipeline, workers 2", 0.05, 6.0, unit="ms/clip"))
    result = {
        "suite": "quick",
        "device": "2 CPU cores",
        "versions": {"jax": "0.10.2", "device": "cpu"},
        "rows": [row.to_json("2 CPU cores") for row in rows],
        "costs": [
            {"name": "step", "axis": "frames", "sizes": [8, 16], "seconds": [0.5, 1.0]},
            {"name": "step on devices", "axis": "devices", "sizes": [1], "seconds": [0.5]},
            {"name": "cost over clips", "error": "ValueError: no"},
        ],
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results/cpu.json").write_text(json.dumps(result))
    (tmp_path / "performance.md").write_text(PAGE)
    return tmp_path


def run(folder):
    return page.main([f"--page={folder}/performance.md", f"--results={folder}/results"])


def test_the_page_is_filled_in_and_plots_are_drawn(results):
    assert run(results) == 0
    text = (results / "performance.md").read_text()
    assert text.startswith("# Title\n\nBefore.\n") and text.endswith("<!-- end -->\n\nAfter.\n") and "old" not in text
    assert "| css" in text and "Suite `quick` on 2 CPU cores; jax 0.10.2." in text
    drawn = {path.name for path in (results / "performance").iterdir()}
    assert {"cpu_over_frames.png", "cpu_over_devices.png", "cpu_input_over_workers.png"} <= drawn
    assert "cpu_over_clips.png" not in drawn and "![over frames](performance/cpu_over_frames.png)" in text
    assert run(results) == 0 and (results / "performance.md").read_text() == text


def test_plots_span_their_values(results):
    figures = page.plots(json.loads((results / "results/cpu.json").read_text()))
    (axes,) = figures["input_over_workers"].axes
    assert axes.get_yscale() == "log" and [line.get_ydata()[0] for line in axes.lines] == [10_000, 100]


def test_a_missing_result_or_place_is_an_error(results, capsys):
    (results / "results/cpu.json").unlink()
    assert run(results) == 2 and "python -m benchmarks --output=" in capsys.readouterr().err
    (results / "performance.md").write_text("nothing")
    assert run(results) == 2 and "there is no '<!-- table" in capsys.readouterr().err
