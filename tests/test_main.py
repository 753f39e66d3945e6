"""The command line: what it refuses, how it says so, and that every config exists in both variants."""

import importlib
import subprocess
import sys

import pytest
from programs import ROOT, call_main, run_main

from configs import base
from echojax import run

CSS_STAGES = ("seg", "css", "ef", "teacher", "kd")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/css.py", "--config.optimizer.learning_rate=1"], 'Did you mean "optimiser"'),
        (["--config=configs/css.py", "--config.optimiser.learning_rat=1"], 'Did you mean "learning_rate"'),
        (["--config=configs/css.py", "--config.optimiser.learning_rate=fast"], "could not convert string to float"),
        (["--config=configs/css.py:smok"], "variant of the config is 'smok'"),
        (["--config=configs/no.py"], "No such file or directory: 'configs/no.py'"),
        (["--config=configs/css.py", "--mode=test"], "train|evaluate|infer"),
        (["--config=configs/css.py", "css"], "unexpected argument 'css'"),
        (["--config=configs/css.py", "--config.data_dir=nowhere"], "python -m data_prep echonet"),
        ([], "python main.py --config=configs/demo.py"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments, message):
    refused = call_main(*arguments)
    assert refused.returncode == 2
    assert message in refused.stdout
    assert len(refused.stdout.strip().splitlines()) == 1


def test_the_process_itself_ends_with_that_code_and_line():
    refused = run_main(cwd=ROOT)
    assert (refused.returncode, len(refused.stdout.strip().splitlines())) == (2, 1)
    assert refused.stdout.startswith("echojax: which config?")


def test_help_teaches():
    shown = run_main("--help", cwd=ROOT)
    assert shown.returncode == 0
    assert "--config=configs/demo.py" in shown.stdout
    assert "--workdir" in shown.stdout


@pytest.mark.parametrize("stage", run.STAGES)
def test_every_stage_has_its_config_and_its_smoke_variant(stage):
    config = importlib.import_module(f"configs.{stage}").get_config()
    smoke = importlib.import_module(f"configs.{stage}").get_config("smoke")
    fields = set(base.get_config().keys())
    assert set(config.keys()) == set(smoke.keys()) == fields
    assert (config.stage, smoke.stage) == (stage, stage)
    assert smoke.phantoms.num_videos and not config.phantoms.num_videos
    assert smoke.network.width < config.network.width == 64
    if stage in CSS_STAGES:
        assert config.init_from == "" and config.data_dir == "data/echonet"
    else:
        assert config.data_dir == "data/synthetic"


def test_defaults_are_the_published_commands():
    css, teacher, kd = (importlib.import_module(f"configs.{name}").get_config() for name in ("css", "teacher", "kd"))
    assert (css.optimiser.learning_rate, css.optimiser.weight_decay, css.css.loss_weight) == (1e-5, 0, 0.01)
    assert (css.css.template, css.css.chunk, css.css.offset, css.css.temperature) == (15, 3, 2, 10.0)
    assert (css.css.num_frames, css.css.period, css.train.batch_size, css.train.num_epochs) == (40, 3, 20, 25)
    for config in (teacher, kd):
        assert (config.optimiser.learning_rate, config.optimiser.weight_decay) == (1e-4, 1e-4)
        assert (config.clip.num_frames, config.clip.period, config.clip.pad) == (32, 2, 12)
        assert (config.optimiser.decay_epochs, config.optimiser.decay_factor) == (15, 0.1)
    assert (kd.kd.unlabelled_weight, kd.kd.unlabelled_batch_size, kd.clip.sampling) == (5.0, 10, "uniform")


def test_main_is_short():
    assert len((ROOT / "main.py").read_text().splitlines()) < 60


def test_importing_echojax_is_light():
    heavy = "import echojax, sys; print(sorted({'tensorflow', 'torch', 'cv2', 'pandas'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"


def test_running_a_stage_needs_no_tensorflow_and_no_torch():
    code = "import echojax.run, sys; print(sorted({'tensorflow', 'torch'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"
