"""The sweep over sizes with the smallest students: side by side on two devices, then found finished."""

import csv
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from programs import ROOT, run_main
from test_demo import Links

from configs import dfkd_sweep as sweep_config
from data_prep.phantom.truth import write_truth
from echojax import pages
from echojax.errors import UserError
from echojax.pipelines import dfkd_sweep, runs

pytestmark = pytest.mark.usefixtures("quick_compiler")

# Of one block of one layer, and of two: the formula of the paper's table, at 2 channels.
WEIGHTS = {"11w2": 3 * 8 * 9 + 8 + 4 + 3, "21w2": 3 * 8 * 9 + 8 + 4 + 6 * 16 * 9 + 16 + 8 + 4 * 2 * 9 + 2 + 4 + 3}


@pytest.fixture(scope="module")
def masks_dir(phantom_data, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("truth")
    write_truth(phantom_data.parent / "source", folder)
    return folder


@pytest.fixture(scope="module")
def sweep(phantom_data, masks_dir, compile_cache, tmp_path_factory) -> tuple[pathlib.Path, str]:
    """The finished sweep's folder, and what it printed."""
    workdir = tmp_path_factory.mktemp("sweep")
    finished = run_main(
        f"--config={ROOT}/configs/dfkd_sweep.py:smoke",
        f"--config.data_dir={phantom_data}",
        f"--config.masks_dir={masks_dir}",
        f"--config.compile_cache_dir={compile_cache}",
        "--config.phantoms.num_videos=0",
        f"--workdir={workdir / 'run'}",
        cwd=workdir,
        num_devices=2,
    )
    assert finished.returncode == 0, finished.stdout
    return workdir / "run", finished.stdout


@pytest.fixture
def config(phantom_data, masks_dir):
    """What the sweep was given."""
    config = sweep_config.get_config("smoke")
    config.data_dir, config.masks_dir = str(phantom_data), str(masks_dir)
    config.phantoms.num_videos = 0
    return config


def test_every_size_has_its_dice_with_an_interval(sweep):
    workdir, printed = sweep
    metrics = json.loads((workdir / "metrics.json").read_text())
    with (workdir / "sizes.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert set(metrics) == set(rows) == set(WEIGHTS)
    for name, row in rows.items():
        entry = metrics[name]["dice_mean"]
        assert (entry["n"], entry["data"], entry["split"]) == (4, "phantom", "TEST")
        assert entry["interval"][0] <= entry["value"] <= entry["interval"][1]
        assert float(row["dice_mean"]) == pytest.approx(entry["value"], rel=1e-6)
        assert int(row["num_weights"]) == WEIGHTS[name]
        assert f"{WEIGHTS[name]:,}   {entry['value']:.3f} [" in printed
    assert re.search(r"2 of 2 runs were left to do and took \d+ s on 2 device", printed)
    assert "No saturating fit: it needs 4 sizes" in printed


def test_the_page_shows_the_figure_and_all_it_refers_to_exists(sweep):
    workdir, _ = sweep
    page = (workdir / "index.html").read_text()
    assert all(f">{num_weights:,}<" in page for num_weights in WEIGHTS.values())
    links = Links().collect(page)
    assert {"plots/quality_against_size.png", "11w2/index.html", "21w2/index.html"} <= set(links)
    for link in links:
        assert (workdir / link).is_file(), link


def test_a_finished_sweep_is_read_and_not_run_again(sweep, config, monkeypatch, capsys):
    workdir, _ = sweep
    before = (workdir / "metrics.json").read_bytes()
    monkeypatch.setattr(runs, "run_one", None)
    dfkd_sweep.run_pipeline(config, workdir)
    assert "0 of 2 runs were left to do and took nothing" in capsys.readouterr().out
    assert (workdir / "metrics.json").read_bytes() == before


def test_a_killed_sweep_goes_on_with_the_size_it_was_at(sweep, config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pages, "write_run_page", lambda run_, results: (run_.workdir / "index.html").touch())
    workdir = tmp_path / "run"
    shutil.copytree(sweep[0], workdir)
    (workdir / "21w2" / "index.html").unlink()
    (workdir / "21w2" / "dice_test.csv").unlink()
    finished = workdir / "11w2" / "index.html"
    before = finished.stat().st_mtime_ns
    dfkd_sweep.run_pipeline(config, workdir)
    printed = capsys.readouterr().out
    assert "no step was left to do" in printed  # its checkpoint is that of the last step
    assert "1 of 2 runs were left to do" in printed
    assert finished.stat().st_mtime_ns == before
    assert (workdir / "21w2" / "dice_test.csv").read_bytes() == (sweep[0] / "21w2" / "dice_test.csv").read_bytes()


def test_sizes_of_other_settings_are_not_mixed(sweep, config):
    config.student.optimiser.learning_rate = 0.5
    with pytest.raises(UserError, match=r"config\.json has optimiser\.learning_rate = 0\.01, this run has 0\.5 \(1 "):
        dfkd_sweep.run_pipeline(config, sweep[0])


@pytest.mark.parametrize("sizes", [(), ((3, 3),)])
def test_sizes_that_are_none(config, sizes, tmp_path):
    config.sizes = sizes
    with pytest.raises(UserError, match="expected triples of blocks, layers and width"):
        dfkd_sweep.run_pipeline(config, tmp_path)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ([0.3, 0.2, 0.15, 0.13, 0.121, 0.12], r"weights; 0\.(88|89|90)\d \[0\.\d+, 0\.\d+\] for an endless network"),
        ([0.8, 0.6, 0.3, 0.2, 0.1, 0.05], "does not level off within these sizes"),
    ],
)
def test_a_curve_that_goes_on_falling_names_no_limit(loss, expected):
    noise = 0.01 * np.random.default_rng(0).standard_normal(60)
    num_weights = (1_555, 4_183, 10_069, 23_137, 43_945, 98_629)
    outcomes = [
        runs.Outcome(size, 1 - of_size * (1 + noise), {}) for size, of_size in zip(num_weights, loss, strict=True)
    ]
    assert re.search(expected, dfkd_sweep.describe_fit(outcomes))


def test_sizes_are_named_as_in_the_paper():
    assert dfkd_sweep.Size(3, 4, 12).name == "34"
    assert dfkd_sweep.Size(3, 4, 6).name == "34w6"
