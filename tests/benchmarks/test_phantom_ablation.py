"""The ablation with a tiny network and a few phantoms: what differs between its lines, what is kept and written."""

import itertools
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import phantom_ablation
from benchmarks.phantom_ablation import choose_lines, compare_lines, main, render_table, training_stage
from configs import weights
from data_prep.phantom.ingredients import INGREDIENTS
from echojax import run
from echojax.evaluate import Interval

pytestmark = pytest.mark.usefixtures("quick_compiler")

LINES = ("full", "repeated")
SIZES = {"num_phantoms": 9, "num_steps": 2, "num_held_out": 3, "seed": 7010}


@pytest.fixture(scope="module")
def tiny(compile_cache):
    """Makes the packaged network's config one of seconds, and renders in this process."""
    config_of = weights.get_config

    def tiny_config():
        config = config_of("smoke")
        config.network.width, config.network.decoder = 4, 0
        config.phantoms.num_frames = (16, 16)
        for kind in config.segmentation.augment:
            config.segmentation.augment[kind] = 0.0
        config.compile_cache_dir = str(compile_cache)
        return config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "get_config", tiny_config)
        patch.setattr(os, "cpu_count", lambda: 1)
        yield


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """Folder of a finished ablation; its real videos are the held-out phantoms."""
    folder = tmp_path_factory.mktemp("ablation")
    assert main([f"--real={make_real(folder)}", *flags(folder)]) == 0
    return folder


def flags(folder):
    sizes = [f"--{name}={value}" for name, value in SIZES.items()]
    return [f"--output={folder / 'ablation.json'}", f"--workdir={folder / 'work'}", "--groups=repeated", *sizes]


def make_real(folder):
    """The held-out phantoms, made beforehand."""
    arguments = SimpleNamespace(workdir=folder / "work", **SIZES)
    phantom_ablation.make_phantoms(phantom_ablation.held_out_stage(arguments), folder / "work" / "held_out")
    return folder / "work" / "held_out" / "phantoms_source"


def settings(folder, line):
    return json.loads((folder / "work" / line / "config.json").read_text())["config"]


def differing(one, other):
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def test_groups_hold_every_ingredient_once():
    assert sorted(itertools.chain(*phantom_ablation.GROUPS.values())) == sorted(INGREDIENTS)
    assert not phantom_ablation.GROUPS.keys() & INGREDIENTS.keys()


def test_lines_are_groups_or_single_ingredients_beside_the_full_generator():
    chosen = choose_lines(["jpeg", "speckle", "everything"])
    assert list(chosen) == ["full", "jpeg", "speckle", "everything"]
    assert (chosen["full"], chosen["jpeg"]) == ((), ("jpeg",))
    assert set(chosen["speckle"]) == {"transducer", "compounding"} and set(chosen["everything"]) == set(INGREDIENTS)


def test_an_unknown_group_is_an_error_that_names_the_known(tmp_path, capsys):
    output = tmp_path / "x.json"
    assert main([f"--output={output}", f"--workdir={tmp_path}", "--groups=speckle,shading"]) == 2
    message = capsys.readouterr().err
    assert "there is no shading" in message and "anatomy" in message and "papillary" in message
    assert not output.exists()


def test_lines_differ_in_what_is_left_out_alone(tiny, tmp_path):
    arguments = SimpleNamespace(workdir=tmp_path, **SIZES)
    stages = [training_stage(*line, arguments) for line in (("full", ()), ("jpeg", ("jpeg",)))]
    full, jpeg = (stage.to_dict() for stage in stages)
    assert differing(full, jpeg) == {"data_dir", "masks_dir", "phantoms"}
    assert full["phantoms"] | {"without": ("jpeg",)} == jpeg["phantoms"]


def test_the_repeated_line_differs_in_its_seed_alone(finished):
    assert differing(settings(finished, "full"), settings(finished, "repeated")) == {"seed"}
    assert not (finished / "work" / "repeated" / "phantoms").exists()
    for line in LINES:
        log = (finished / "work" / line / "log.jsonl").read_text().splitlines()
        assert max(json.loads(entry)["step"] for entry in log) == 2


def test_the_file_holds_numbers_over_all_videos(finished):
    text = (finished / "ablation.json").read_text()
    content = json.loads(text, parse_constant=pytest.fail)
    assert tuple(content["lines"]) == LINES and content["num_steps"] == 2
    dice = {line: np.load(finished / "work" / line / "values.npz")["held_out.dice_mean"] for line in LINES}
    for line in LINES:
        metrics = content["lines"][line]["metrics"]
        assert metrics["held_out"]["dice_mean"]["value"] == pytest.approx(dice[line].mean())
        assert (metrics["held_out"]["dice_mean"]["n"], metrics["held_out"]["dice_mean"]["data"]) == (3, "phantom")
        assert (metrics["real_dice"]["dice"]["n"], metrics["real_dice"]["dice"]["data"]) == (3, "real")
        assert {"mae", "bias"} <= metrics["real_lvef_simpson"].keys()
    assert "dice_mean_minus_full" not in content["lines"]["full"]["metrics"]["held_out"]
    difference = content["lines"]["repeated"]["metrics"]["held_out"]["dice_mean_minus_full"]
    assert difference["value"] == pytest.approx(np.mean(dice["repeated"] - dice["full"]))
    assert difference["value"] != 0
    assert str(finished) not in text and "phantom_000" not in text


def test_what_is_finished_is_skipped(finished, tiny, monkeypatch, capsys):
    monkeypatch.setattr(run, "train_network", None)
    monkeypatch.setattr(phantom_ablation, "measure_line", None)
    before = json.loads((finished / "ablation.json").read_text())
    assert main([f"--real={make_real(finished)}", *flags(finished)]) == 0
    assert json.loads((finished / "ablation.json").read_text()) == before
    table = capsys.readouterr().out.splitlines()[-4:]
    assert [row.split("|")[1].strip() for row in table] == ["left out", "---", *LINES]
    assert len({row.count("|") for row in table}) == 1


def test_other_settings_are_refused(finished, tiny, capsys):
    assert main([*flags(finished), "--num_steps=3"]) == 2
    assert "give another --workdir" in capsys.readouterr().err


def test_the_phantoms_of_training_are_not_held_out(tiny, tmp_path, capsys):
    assert main([*flags(tmp_path), f"--seed={weights.get_config().phantoms.seed}"]) == 2
    assert "trained on these phantoms" in capsys.readouterr().err


def test_differences_are_of_videos_that_both_lines_have():
    full = {"held_out.dice_mean": np.array([0.5, 0.7]), "real_lvef_simpson.mae": np.array([1, 2, np.nan, 4])}
    line = {"held_out.dice_mean": np.array([0.4, 0.5]), "real_lvef_simpson.mae": np.array([2, 4, 9, np.nan])}
    differences = compare_lines(line, full)
    assert differences["held_out"]["dice_mean_minus_full"].value == pytest.approx(-0.15)
    assert differences["real_lvef_simpson"]["mae_minus_full"][0::3] == (1.5, 2)
    assert "real_lvef_simpson" not in compare_lines(line | {"real_lvef_simpson.mae": np.full(4, np.nan)}, full)


def test_the_table_without_real_videos():
    dice, difference = Interval(0.8, 0.75, 0.85, 3), Interval(-0.1, -0.12, -0.08, 3)
    lines = {"full": {"held_out": {"dice_mean": dice}}}
    lines["jpeg"] = {"held_out": {"dice_mean": dice, "dice_mean_minus_full": difference}}
    assert render_table(lines).splitlines() == [
        "| left out | Dice, held-out phantoms | minus full |",
        "| --- | --- | --- |",
        "| full | 0.800 [0.750, 0.850] |  |",
        "| jpeg | 0.800 [0.750, 0.850] | -0.100 [-0.120, -0.080] |",
    ]
