"""The demo's whole chain with the smallest networks: every stage, every metric, the page."""

import html.parser
import json
import pathlib

import pytest
from programs import ROOT, run_main

STAGES = ("supervised", "css", "teacher", "student", "baseline")


@pytest.fixture(scope="module")
def demo(phantom_data, tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("demo")
    overrides = [
        f"--config.stages.{name}.{field}"
        for name in STAGES
        for field in (
            "network.width=2" if name in ("supervised", "css") else "network.width=4",
            "network.blocks=(1,1,1,1)",
            "train.num_epochs=1",
            "train.batch_size=4",
        )
    ]
    finished = run_main(
        f"--config={ROOT}/configs/demo.py",
        f"--config.data_dir={phantom_data}",
        f"--workdir={workdir / 'run'}",
        f"--config.compile_cache_dir={workdir / 'xla'}",
        "--config.labels.num_labelled=6",
        "--config.labels.num_unlabelled=6",
        *overrides,
        cwd=workdir,
    )
    assert finished.returncode == 0, finished.stdout
    return workdir / "run"


def test_metrics_of_every_stage_carry_interval_number_and_kind_of_data(demo):
    metrics = json.loads((demo / "metrics.json").read_text())
    expected = {"css": "dice", "supervised": "dice", "teacher": "mae", "student": "mae", "baseline": "mae"}
    for group, metric in {**expected, "mean_predictor": "mae"}.items():
        entry = metrics[group][metric]
        assert entry["n"] == 4
        assert entry["data"] == "phantom"
        assert entry["split"] == "TEST"
        low, high = entry["interval"]
        assert low <= entry["value"] <= high


def test_the_page_shows_every_stage_and_all_it_refers_to_exists(demo):
    page = (demo / "index.html").read_text()
    references = Links().collect(page)
    assert len([link for link in references if link.endswith(".mp4")]) >= 4
    assert len([link for link in references if link.endswith(".png")]) >= 10
    for link in references:
        assert "://" not in link
        assert (demo / link).is_file(), link


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_leaves_its_files(demo, name):
    files = {path.name for path in (demo / name).iterdir()}
    results = {"dice_test.csv"} if name in ("supervised", "css") else {"predictions_test.csv", "clips_test.csv"}
    assert {"best", "checkpoints", "config.json", "metrics.json", "log.jsonl", "index.html", "plots"} | results <= files
    saved = json.loads((demo / name / "config.json").read_text())
    assert saved["config"]["network"]["blocks"] == [1, 1, 1, 1]
    assert saved["versions"]["jax"]


class Links(html.parser.HTMLParser):
    """Collects what a page refers to."""

    def collect(self, page: str) -> list[str]:
        self.links = []
        self.feed(page)
        return self.links

    def handle_starttag(self, tag, attributes):
        links = (value for name, value in attributes if name in ("src", "href", "poster"))
        self.links += [link for link in links if not link.startswith("#")]
