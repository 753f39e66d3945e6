"""The command `echojax`: it teaches, it is quick, and it says in one line what is wrong."""

import subprocess
import sys

import pytest
from programs import ROOT

from echojax import cli
from echojax.commands import doctor


def run_cli(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "echojax.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_help_teaches_without_loading_anything_heavy():
    heavy = "sorted({'jax', 'flax', 'torch', 'orbax', 'cv2', 'numpy'} & set(sys.modules))"
    code = f"import sys; from echojax import cli; cli.main(['--help']); print({heavy})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip().endswith("[]")
    for words in (
        "port",
        "export-torch",
        "doctor",
        "echojax port deeplabv3_resnet50_random.pt",
        "not a medical device",
    ):
        assert words in shown.stdout


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: echojax {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["prot"], ["port"], ["port", "a.pt"], ["doctor", "--no-such-option"]])
def test_wrong_use_has_exit_code_2(arguments):
    shown = run_cli(*arguments)
    assert shown.returncode == 2
    assert "Traceback" not in shown.stderr


def test_user_errors_are_one_line():
    shown = run_cli("port", "no.pt", "out")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == "echojax: no.pt: no such file\n"


def test_the_console_script_is_this_command():
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"echojax": "echojax.cli:main"}


def test_doctor(capsys):
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for words in ("jax ", "devices: ", "Python 3.", "Everything that is needed is there."):
        assert words in shown


def test_doctor_names_what_is_missing(capsys, monkeypatch):
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("safetensors", "torch") else version(name))
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "problem: safetensors is missing: pip install" in shown
    assert 'pip install "echojax[port]"' in shown and "1 problem." in shown
