"""The suite: what a row says, what happens when one fails, and that PyTorch's networks compute what ours do."""

import argparse
import json
import types

import numpy as np
import pytest

from benchmarks import __main__ as benchmarks_main
from benchmarks import measuring, pytorch, suite
from benchmarks.measuring import Clock, Row, peak_flops, relative_deviation
from benchmarks.rows import networks
from benchmarks.sizes import FULL, QUICK, TINY, sizes_of
from benchmarks.table import render
from echojax.errors import UserError
from echojax.networks import make_apply


@pytest.fixture(autouse=True)
def memory_as_it_is(monkeypatch):
    """It would be kept for all tests to come."""
    monkeypatch.setattr(benchmarks_main.memory, "keep_freed_memory", lambda: False)


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr(pytorch, "is_installed", lambda: False)


@pytest.fixture
def sleeping(monkeypatch):
    """Makes work that takes exactly so many seconds, on a clock of its own."""
    now = [0.0]
    clock = types.SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: now[0] / 2)
    monkeypatch.setattr(measuring, "time", clock)

    def make(seconds: float):
        def work():
            now[0] += seconds

        return work

    return make


def test_medians_and_the_fastest_form(sleeping):
    forms = {"slow": lambda: sleeping(4.0), "fast": lambda: sleeping(0.5), "slower": lambda: sleeping(8.0)}
    clock = Clock(num_repetitions=3, tried="all", peak_flops=1e6)
    row = clock.against("sleep", sleeping(1.0), forms, "", deviation=0.0, tolerance=0.1, flops=8e3)
    assert (row.counterpart, row.ours, row.theirs, row.ratio) == ("fast", 1, 0.5, 2)
    assert row.ours_range == (1, 1) and (row.ours_cpu_s, row.theirs_cpu_s) == (0.5, 0.25)
    assert (row.flops_per_s, row.share_of_peak) == (8e3, 8e-3)
    quick = Clock(num_repetitions=1, tried="first").against("sleep", sleeping(1.0), forms, "", 0.0, 0.1)
    assert (quick.counterpart, quick.ratio, quick.share_of_peak) == ("slow", 0.25, None)


def test_without_torch_compile_where_it_takes_too_long(sleeping):
    forms = {"compiled": lambda: sleeping(0.1), "slow": lambda: sleeping(2.0), "fast": lambda: sleeping(1.0)}
    row = Clock(1, "eager").against("sleep", sleeping(1.0), forms, "", 0.0, 0.1)
    assert row.counterpart == "fast"
    row = Clock(1, "eager").against("sleep", sleeping(1.0), {"compiled": forms["compiled"]}, "", 0.0, 0.1)
    assert row.counterpart == "compiled"


def test_the_median_is_of_alternating_runs(sleeping):
    calls, seconds = [], iter([9.0, 1.0, 3.0, 2.0])

    def ours():
        calls.append("ours")
        sleeping(next(seconds))()

    row = Clock(3, "first").against("row", ours, {"form": lambda: lambda: calls.append("theirs")}, "", 0.0, 0.1)
    assert row.ours == 2 and row.ours_range == (1, 3) and row.ratio is None
    assert calls == ["ours", "theirs", "ours", "theirs", "ours", "theirs", "ours", "theirs"]


def test_rows_that_compute_something_else_are_refused(sleeping):
    with pytest.raises(ArithmeticError, match=r"differ by 0\.3 of the largest, expected at most 0\.2"):
        Clock(1, "first").against("row", sleeping(0), {"form": lambda: sleeping(0)}, "", deviation=0.3, tolerance=0.2)
    with pytest.raises(ArithmeticError, match="differ by nan"):
        Clock(1, "first").against("row", sleeping(0), {"form": lambda: sleeping(0)}, "", float("nan"), tolerance=0.2)
    assert relative_deviation([1.0, -4.0], [1.0, -5.0]) == pytest.approx(0.2)
    assert relative_deviation(0.0, 0.0) == 0 and relative_deviation(0.1, 0.0) == np.inf
    assert np.isnan(relative_deviation([1.0, np.nan], [1.0, 2.0]))


def test_a_row_that_fails_costs_no_other():
    def fail():
        raise RuntimeError("out of memory")

    said = []
    measures = {"first": lambda: Row("first", 1.0), "second": fail, "third": lambda: [Row("a", 2.0), Row("b", 3.0)]}
    found = dict(suite.run(measures, said.append))
    assert found["second"] == "RuntimeError: out of memory" and found["first"].ours == 1 and len(found["third"]) == 2
    assert [line.split(":")[0] for line in said if line.startswith("[")] == [
        "[1/3] first",
        "[2/3] second",
        "[3/3] third",
    ]


def test_every_suite_has_every_row(tmp_path):
    names = [
        set(suite.rows_and_curves(name, sizes_of(name), Clock(1, "first"), tmp_path)[0])
        for name in ("tiny", "quick", "full")
    ]
    assert names[0] == names[1] == names[2]
    for name in ("r2plus1d_18 training", "mc3_18 forward", "deeplabv3 training", "convlstm forward", "css", "kd"):
        assert name in names[0]
    assert (QUICK.width, QUICK.blocks, FULL.clip_frames, FULL.tried) == (64, (3, 4, 6, 3), 32, "all")


def test_quick_leaves_the_curves_to_a_call_of_their_own(tmp_path):
    def chosen(suite_name: str, names: str) -> dict:
        arguments = argparse.Namespace(suite=suite_name, rows=names)
        return benchmarks_main._chosen({"css": 1, "kd": 2}, {"cost over clips": 3}, arguments)

    assert chosen("quick", "") == {"css": 1, "kd": 2} and chosen("full", "") == chosen("tiny", "")
    assert chosen("full", "").keys() == {"css", "kd", "cost over clips"}
    assert chosen("quick", "costs") == {"cost over clips": 3} and chosen("quick", "kd,cost over clips").keys() == {
        "kd",
        "cost over clips",
    }


def test_rows_without_pytorch(without_torch, tmp_path, capsys):
    output = tmp_path / "rows.json"
    assert benchmarks_main.main([f"--output={output}", "--suite=tiny", "--rows=convlstm forward,bootstrap"]) == 0
    result = json.loads(output.read_text())
    alone, compared = result["rows"]
    assert alone["name"] == "ConvLSTM 33 forward" and alone["ratio"] is None and alone["ours"] > 0
    assert alone["frames"] == 3 and alone["device"] and alone["unit"] == "s"
    assert compared["ratio"] == pytest.approx(compared["ours"] / compared["theirs"])
    assert result["versions"]["jax"] and result["costs"] == []
    printed = capsys.readouterr()
    assert "[1/2] convlstm forward" in printed.err and "| bootstrap" in printed.out


def test_the_curve_over_devices_is_measured_where_there_are_so_many(tmp_path):
    output = tmp_path / "curves.json"
    assert benchmarks_main.main([f"--output={output}", "--suite=tiny", "--rows=cost over devices"]) == 0
    (curve,) = json.loads(output.read_text())["costs"]
    assert curve["axis"] == "devices" and curve["sizes"] == list(TINY.cost_devices)
    assert all(seconds > 0 for seconds in curve["seconds"]) and len(curve["seconds"]) == len(curve["sizes"])


def test_a_failed_row_is_in_the_file_and_in_the_exit_code(monkeypatch, tmp_path, capsys):
    def fail(*_):
        raise ValueError("no such thing")

    monkeypatch.setattr(suite.statistics, "bootstrap_row", fail)
    assert benchmarks_main.main([f"--output={tmp_path}/rows.json", "--suite=tiny", "--rows=bootstrap"]) == 1
    (row,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert row["error"] == "ValueError: no such thing" and row["ratio"] is None
    assert "failed: ValueError: no such thing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "message"),
    [("--suite=huge", "expected one of tiny, quick, full"), ("--rows=css,kdd", "there is no kdd")],
)
def test_wrong_use(argument, message, tmp_path, capsys):
    assert benchmarks_main.main([f"--output={tmp_path}/rows.json", argument]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "rows.json").exists()


def test_nothing_is_compiled_without_a_compiler(monkeypatch):
    forms = ("channels-last, compiled", "channels-first")
    monkeypatch.setattr(pytorch, "is_installed", lambda: True)
    monkeypatch.setattr(pytorch.shutil, "which", lambda name: name if name == "g++" else None)
    assert pytorch.usable(forms) == forms
    monkeypatch.setattr(pytorch.shutil, "which", lambda name: None)
    assert pytorch.usable(forms) == ("channels-first",)
    monkeypatch.setattr(pytorch, "is_installed", lambda: False)
    assert pytorch.usable(forms) == ()


def test_the_table_is_markdown():
    rows = [Row("one", 0.5, 1.0, what="work", counterpart="theirs"), Row("two", error="OSError: gone\nmore")]
    lines = render([row.to_json("cpu") for row in rows]).splitlines()
    assert len({len(line) for line in lines}) == 1 and lines[1].startswith("|--")
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["one", "0.5", "0.5", "1", "s", "work", "theirs"]
    assert "failed: OSError: gone" in lines[3] and "more" not in lines[3]


def test_the_peak_of_a_card_that_is_not_known_is_not_guessed():
    assert peak_flops(5e12) == 5e12 and peak_flops(None) is None
    with pytest.raises(UserError, match="expected one of"):
        sizes_of("")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile's own
@pytest.mark.parametrize("name", networks.SUBJECTS)
def test_pytorch_computes_what_ours_does(name):
    pytest.importorskip("torch", reason="compares with PyTorch, which is not installed: pip install .[bench]")
    row = networks.forward_row(name, TINY, Clock(1, "first"))
    assert row.ratio > 0 and row.deviation < 1e-4


def test_the_check_of_a_forward_pass_sees_the_input():
    """Outputs of different inputs differ by far more than the tolerance."""
    network = networks.build_lively(networks.video_description("mc3_18", 3, TINY))
    x = np.random.default_rng(0).standard_normal((2, 4, 32, 32, 3), np.float32)
    first, second = np.asarray(make_apply(network)(network.params, network.stats, x)["ef"])
    assert abs(first - second) > 10 * networks.FORWARD_TOLERANCE["float32"] * max(abs(first), abs(second))


def test_steps_move_alike():
    pytest.importorskip("torch", reason="compares with PyTorch, which is not installed: pip install .[bench]")
    subject = networks.build_subject("convlstm", TINY)
    stepped = networks.step_work(networks.compile_training_step(subject))().params
    assert networks.movement_deviation(subject, stepped, "channels-last") < 1e-3
    assert np.any(stepped["out.kernel"] != subject.network.params["out.kernel"])
