"""The page's tables and plots come from the results alone, by one command."""

import json

import pytest

from benchmarks import page
from benchmarks.measuring import Row

BLOCKS = "".join(f"<!-- {kind} cpu.json -->\nold\n<!-- end -->\n" for kind in ("table", "plots"))
PAGE = f"# Title\n\nBefore.\n\n{BLOCKS}\nAfter.\n"


@pytest.fixture
def results(tmp_path):
    rows = [Row("css", 0.5, 1.0), Row("input pipeline, workers 1", 0.1, 10.0, unit="ms/clip")]
    rows.append(Row("input pipeline, workers 2", 0.05, 6.0, unit="ms/clip"))
    result = {
        "suite": "quick",
        "load_average": 0.9,
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
    return page.main([f"--pages={folder}/performance.md", f"--results={folder}/results"])


def test_the_page_is_filled_in_and_plots_are_drawn(results):
    assert run(results) == 0
    text = (results / "performance.md").read_text()
    assert text.startswith("# Title\n\nBefore.\n") and text.endswith("<!-- end -->\n\nAfter.\n") and "old" not in text
    assert "| css" in text and "Suite `quick` on 2 CPU cores; jax 0.10.2; load average at the end 0.9." in text
    drawn = {path.name for path in (results / "performance").iterdir()}
    assert {"cpu_over_frames.png", "cpu_input_over_workers.png"} <= drawn
    assert not {"cpu_over_clips.png", "cpu_over_devices.png"} & drawn
    assert "![over frames](performance/cpu_over_frames.png)" in text
    assert run(results) == 0 and (results / "performance.md").read_text() == text


def test_other_tables(results):
    rows = [
        {"stage": "seg", "batch_size": size, "state_mb": 100.0, "batch_mb": 1.0, "temporary_mb": 10.0 * size}
        for size in (10, 20)
    ]
    memory = {"device": "cpu", "dtype": "float32", "jax": "0.10.2", "rows": rows}
    (results / "results/memory.json").write_text(json.dumps(memory))
    page_of_both = "<!-- memory memory.json -->\n<!-- end -->\n<!-- headline cpu.json -->\nold\n<!-- end -->\n"
    (results / "performance.md").write_text(page_of_both)
    assert run(results) == 0
    text = (results / "performance.md").read_text()
    assert "| seg | 20 | 100 | 1 | 200 |  | 301 | 10 |" in text
    assert "No total: not measured are" in text and "old" not in text


def test_plots_span_their_values(results):
    figures = page.plots(json.loads((results / "results/cpu.json").read_text()))
    (axes,) = figures["input_over_workers"].axes
    assert axes.get_yscale() == "log" and [line.get_ydata()[0] for line in axes.lines] == [10_000, 100]


def test_a_missing_result_or_place_is_an_error(results, capsys):
    (results / "results/cpu.json").unlink()
    assert run(results) == 2 and "no result to read" in capsys.readouterr().err
    (results / "performance.md").write_text("nothing")
    assert run(results) == 2 and "there is no '<!-- table" in capsys.readouterr().err
