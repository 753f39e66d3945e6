"""The CSS paper from end to end with the smallest networks: estimate, three stages, results, nothing done twice."""

import json
import pathlib

import pytest
from programs import ROOT, run_main

from echojax.pipelines.estimate import Estimate, Work

STAGES = ("css", "teacher", "kd")


@pytest.fixture(scope="module")
def arguments(phantom_data, compile_cache) -> list[str]:
    of_stages = [
        f"--config.stages.{name}.{setting}"
        for name in STAGES
        for setting in ("network.width=2", "network.variant=r3d_18", "train.batch_size=2", "train.num_epochs=1")
    ]
    return [
        f"--config={ROOT}/configs/paper.py:smoke",
        f"--config.data_dir={phantom_data}",
        f"--config.compile_cache_dir={compile_cache}",
        "--config.labels.num_labelled=4",
        "--config.labels.num_unlabelled=4",
        "--config.stages.css.css.num_frames=12",
        "--config.stages.css.css.template=6",
        "--config.estimate.price_per_hour=2.5",
        *of_stages,
    ]


@pytest.fixture(scope="module")
def paper(arguments, tmp_path_factory) -> tuple[pathlib.Path, str]:
    """The run's folder, and what it said."""
    workdir = tmp_path_factory.mktemp("paper")
    finished = run_main(*arguments, f"--workdir={workdir / 'run'}", cwd=workdir)
    assert finished.returncode == 0, finished.stdout
    return workdir / "run", finished.stdout


def test_the_estimate_counts_all_that_is_to_be_done(paper):
    workdir, said = paper
    estimate = json.loads((workdir / "estimate.json").read_text())
    works = {(work["stage"], work["unit"]): work for work in estimate["works"]}
    assert {key: work["amount"] for key, work in works.items() if key[1] == "steps"} == {
        (name, "steps"): 2 for name in STAGES
    }
    log = (workdir / "css" / "log.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["phase"] == "train" for line in log) == 2
    plan = json.loads((workdir / "css" / "masks" / "train" / "plan.json").read_text())
    assert plan["num_videos"] == 12
    # 20 videos of 48 to 52 frames have masks; ED and ES of 4 are validated and of 4 are tested.
    assert 20 * 48 + 16 <= works["css", "frames"]["amount"] <= 20 * 52 + 16
    for name in ("teacher", "kd"):
        clips = (workdir / name / "clips_test.csv").read_text().splitlines()[1:]
        assert works[name, "clips"]["amount"] == len(clips) + 4 + 4  # one random clip of each in VAL and TEST
    assert all(work["seconds"] > 0 for work in works.values())
    assert "Estimate from rates measured now, on 1 x cpu" in said and "at 2.5 per hour" in said
    assert not (workdir / "stand_ins").exists()


def test_every_stage_has_results_and_their_sum_stands_above(paper):
    workdir, said = paper
    metrics = json.loads((workdir / "metrics.json").read_text())
    for name, metric in {"css": "dice", "teacher": "mae", "kd": "mae"}.items():
        assert metrics[name][metric] == json.loads((workdir / name / "metrics.json").read_text())[name][metric]
        assert metrics[name][metric]["n"] == 4
    assert "3 of 3 stages were left to do and took" in said


def test_again_it_has_nothing_to_do(paper, arguments):
    workdir, _ = paper
    again = run_main(*arguments, f"--workdir={workdir}", cwd=workdir)
    assert again.returncode == 0, again.stdout
    assert "0 of 3 stages were left to do" in again.stdout


def test_a_folder_of_other_settings_is_refused(paper, arguments):
    workdir, _ = paper
    refused = run_main(*arguments, "--config.seed=1", f"--workdir={workdir}", cwd=workdir)
    assert refused.returncode == 2
    assert "seed = 0, this run has 1" in refused.stdout


def test_cost_is_time_by_price():
    estimate = Estimate((Work("kd", 1150, "steps", 2.0), Work("kd", 3000, "clips", 10.0)), 5.0, "1 x test")
    assert estimate.seconds == pytest.approx(575 + 300 + 5)
    assert "0.24 hours, 0.73 at 3 per hour" in estimate.describe(3.0)
    assert "per hour" not in estimate.describe()
