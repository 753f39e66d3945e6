"""The improved student against the reference with the smallest students and two seeds."""

import json

import numpy as np
import pytest

from configs import dfkd_improvement
from data_prep.phantom.truth import write_truth
from echojax import evaluate, pages, run
from echojax.errors import UserError
from echojax.pipelines import improvement, runs

pytestmark = pytest.mark.usefixtures("quick_compiler")


@pytest.fixture(scope="module")
def config(phantom_data, tmp_path_factory):
    config = dfkd_improvement.get_config("smoke")
    config.data_dir = str(phantom_data)
    config.masks_dir = str(tmp_path_factory.mktemp("truth"))
    config.phantoms.num_videos = 0
    write_truth(phantom_data.parent / "source", config.masks_dir)
    return config


@pytest.fixture(scope="module")
def finished(config, compile_cache, tmp_path_factory):
    """Folder of the finished comparison. The runs' pages are blank: tests/test_main.py looks at such pages."""
    workdir = tmp_path_factory.mktemp("improvement")
    run.enable_compile_cache(str(compile_cache))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "write_run_page", lambda run_, results: (run_.workdir / "index.html").touch())
        improvement.run_pipeline(config, workdir)
    return workdir


def test_the_difference_is_that_of_the_four_runs(finished):
    metrics = evaluate.load_metrics(finished / "metrics.json")
    dice = {
        name: np.array(
            [np.genfromtxt(finished / f"{name}_seed_{seed}" / "dice_test.csv", delimiter=",")[1:, 1] for seed in (0, 1)]
        )
        for name in ("reference", "improved")
    }
    assert dice["improved"].shape == (2, 4)
    assert not np.array_equal(dice["improved"][0], dice["improved"][1])
    for name, of_name in dice.items():
        assert metrics[name]["dice_mean_over_seeds"].value == pytest.approx(of_name.mean())
    by_video = metrics["improved_minus_reference"]["dice_by_video"]
    by_seed = metrics["improved_minus_reference"]["dice_by_seed"]
    assert by_video.value == pytest.approx(np.mean(dice["improved"] - dice["reference"]))
    assert by_seed.value == pytest.approx(by_video.value)
    assert (by_video.n, by_seed.n) == (4, 2)
    assert by_seed.low < by_seed.value < by_seed.high


def test_both_learn_from_the_same_videos_in_as_many_steps(finished):
    configs = [
        json.loads((finished / f"{name}_seed_0" / "config.json").read_text())["config"]
        for name in ("reference", "improved")
    ]
    differing = {part for part in configs[0] if configs[0][part] != configs[1][part]}
    assert differing == {"dfkd"}
    assert {field for field, value in configs[0]["dfkd"].items() if value != configs[1]["dfkd"][field]} == {
        "variant",
        "periods",
        "dice_weight",
    }


def test_a_finished_comparison_is_not_run_again(finished, config, monkeypatch, capsys):
    monkeypatch.setattr(runs, "run_one", None)
    improvement.run_pipeline(config, finished)
    assert "0 of 4 runs were left to do" in capsys.readouterr().out


def test_students_of_unequal_size_are_refused(tmp_path):
    config = dfkd_improvement.get_config("smoke")
    config.students.improved.dfkd.width = 3
    with pytest.raises(UserError, match=r"the improved student has .* expected within 5 %"):
        improvement.run_pipeline(config, tmp_path)


def test_the_full_comparison_is_of_equal_sizes_and_three_seeds():
    config = dfkd_improvement.get_config()
    weights = {name: runs.count_weights(student) for name, student in config.students.items()}
    assert improvement.check_sizes(config.students) == weights
    assert 1 <= weights["improved"] / weights["reference"] <= 1.05
    assert len(set(config.seeds)) == 3
