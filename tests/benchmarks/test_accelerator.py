"""What is measured on an accelerator, tried out on a CPU: each part reports, ends in time, and costs no other."""

import dataclasses
import json
import signal
import subprocess
import sys

import pytest

from benchmarks import accelerator
from benchmarks.accelerator import PARTS, Part
from benchmarks.headline import PARTS as HEADLINE
from benchmarks.headline import describe, estimate
from benchmarks.measuring import Row

# Not on every machine with an accelerator.
OPTIONAL = ("grain", "tensorflow_datasets", "ml_collections", "tensorboardX", "google_crc32c", "pandas", "cv2")


def script(name: str, text: str, needs: tuple[str, ...] = ()) -> Part:
    return Part(name, ("-c", f"import json, sys, time\noutput = sys.argv[1]\n{text}", "{output}"), needs)


WRITE = "json.dump({{'rows': [{{'name': 'CSS step', 'frames': 80, 'ours': 0.5}}]}}, open(output, 'w'))"


def test_every_part_says_what_became_of_it(tmp_path, capsys):
    report = (
        "<testsuite><testcase name='a'/><testcase name='b'><failure message='far off&#10;more'/></testcase>"
        "<testcase name='c'><skipped/></testcase></testsuite>"
    )
    parts = [
        script("checks", f'open(output, "w").write("{report}"); sys.exit(1)'),
        script("elsewhere", WRITE, ("json", "no_such_module")),
        script("stages", WRITE),
    ]
    found = accelerator.measure(tmp_path / "out", 2, "tiny", parts)["parts"]
    checks = {"passed": 1, "skipped": 1, "failed": {"b": "far off"}}
    assert {name: found["checks"][name] for name in checks} == checks and found["checks"]["state"] == "exit code 1"
    assert found["elsewhere"]["state"] == "left out: no_such_module is not installed"
    assert (found["stages"]["state"], found["stages"]["rows"]) == ("done", ["CSS step"])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["parts"] == found
    assert summary["headline"]["seconds"] == {"segmentation, training": 1150 * 0.5}
    assert summary["headline"]["total"] is None and "distillation step" in summary["headline"]["not measured"]
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [part.name for part in parts]


def test_a_part_ends_when_the_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "_LEAST", 0.5)
    started = "import subprocess; subprocess.Popen(['sleep', '60'])"  # keeps the log open, if it is left
    parts = [script("hangs", f"{WRITE}; {started}; time.sleep(60)"), script("late", WRITE)]
    found = accelerator.measure(tmp_path / "out", 8 / 60, "tiny", parts)["parts"]
    assert (found["hangs"]["state"], found["hangs"]["rows"]) == ("cut off", ["CSS step"])
    assert 7 < found["hangs"]["seconds"] < 30
    assert found["late"]["state"] == "left out: 0 seconds were left"


def test_a_part_has_its_share_of_the_time_and_says_what_it_found(tmp_path, monkeypatch):
    """A signal that Python and pytest answer comes first."""
    monkeypatch.setattr(accelerator, "_LEAST", 0.5)
    report = "<testsuite><testcase name='a'/></testsuite>"
    text = f'try: time.sleep(60)\nexcept KeyboardInterrupt: open(output, "w").write("{report}")'
    checks = dataclasses.replace(script("checks", text), share=0.1)
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell's job in the background does
    try:
        found = accelerator.measure(tmp_path / "out", 0.5, "tiny", [checks])["parts"]["checks"]
    finally:
        signal.signal(signal.SIGINT, ignored)
    assert found["state"] == "cut off" and found["passed"] == 1
    assert 3 <= found["seconds"] < 20


def test_the_checks_are_tests_that_exist(tmp_path):
    (checks,) = (part for part in PARTS if part.name == "checks")
    arguments = [argument.format(output=tmp_path / "checks.xml") for argument in checks.arguments]
    command = [sys.executable, *arguments, "--collect-only", "-q"]
    collected = subprocess.run(command, cwd=accelerator._ROOT, capture_output=True, text=True)
    assert collected.returncode == 0, collected.stdout
    for name in ("test_winograd.py: ", "test_convolution.py: ", "test_networks.py: ", "test_convlstm.py: "):
        assert name in collected.stdout


def test_rows_are_measured_by_a_process_of_their_own(tmp_path):
    part = accelerator._rows("networks", "convlstm forward,bootstrap")
    (found,) = accelerator.measure(tmp_path, 2, "tiny", [part])["parts"].values()
    assert found["state"] == "done", (tmp_path / "log.txt").read_text()
    assert found["rows"] == ["ConvLSTM 33 forward", "bootstrap"] and not found["errors"]
    assert json.loads((tmp_path / "networks.json").read_text())["rows"][0]["frames"] == 3


def test_missing_packages_cost_the_rows_that_need_them(tmp_path):
    """Every module that says what is to be measured can be imported without them; so can rows of networks."""
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL}))\n"
        "from benchmarks import __main__ as suite, accelerator\n"
        f"sys.exit(suite.main(['--suite=tiny', '--output={tmp_path}/rows.json', '--rows=css,bootstrap']))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 1, run.stderr
    failed, measured = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert failed["error"].startswith("ModuleNotFoundError") and measured["ratio"] > 0


def test_parts_name_rows_that_exist(tmp_path, capsys):
    from benchmarks import suite
    from benchmarks.measuring import Clock
    from benchmarks.sizes import sizes_of

    known = suite.rows_and_curves("tiny", sizes_of("tiny"), Clock(1, "first"), tmp_path)
    names = set(known[0]) | set(known[1])
    asked = [argument for part in PARTS for argument in part.arguments if argument.startswith("--rows=")]
    assert len(asked) == 4
    for argument in asked:
        assert set(argument.removeprefix("--rows=").split(",")) <= names
    assert len(PARTS) + 2 <= 8  # files: one of each part, summary and log
    assert accelerator.main([f"--output={tmp_path}", "--parts=memory,all"]) == 2
    assert "there is no all" in capsys.readouterr().err


def test_the_whole_paper_from_rates():
    rows = [Row(part.row, 2.0, frames=4).to_json("cpu") for part in HEADLINE]
    seconds, missing = estimate(rows)
    assert not missing and seconds["masks of every frame"] == pytest.approx(1_770_000 / 2)
    assert seconds["student, training"] == 1.5 * seconds["teacher, training"]
    result = {"suite": "quick", "device": "2 CPU cores", "rows": rows}
    hours = sum(seconds.values()) / 3600
    assert f"{hours:,.2f} hours, {2 * hours:,.2f} at 2 an hour." in describe(result, 2.0)
    partly = describe(result | {"rows": rows[:1]})
    assert "No total: not measured are R(2+1)D-18 training step, all-clips" in partly and "hours" not in partly
