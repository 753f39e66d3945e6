import json
import math

import pytest

from echojax.errors import UserError
from echojax.report import curves, style


def write_log(path, *entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_a_log_is_read_by_quantity_phase_and_step(tmp_path):
    path = write_log(
        tmp_path / "log.jsonl",
        {"step": 1, "phase": "train", "loss": 2, "note": "text"},
        {"step": 2, "phase": "train", "loss": 1.5, "time": 3.0},
        {"step": 2, "phase": "validation", "loss": math.nan, "dice": 0.5},
        {"step": 2, "phase": "train", "loss": 1.25},
    )
    path.write_text(path.read_text() + '{"step": 3, "phase": "tr')  # The process was killed here.
    log = curves.load_log(path)
    assert set(log) == {"loss", "dice"}
    assert log["loss"]["train"] == {1: 2.0, 2: 1.25}
    assert math.isnan(log["loss"]["validation"][2])
    assert log["dice"] == {"validation": {2: 0.5}}


def test_each_quantity_has_a_panel_and_each_phase_its_colour(tmp_path):
    entries = [{"step": step, "phase": "train", "loss": 1 / step, "loss_cyc": 2.0} for step in range(1, 40)]
    entries += [{"step": step, "phase": "validation", "loss": 1 / step, "dice": 0.5} for step in (20, 39)]
    figure = curves.plot_curves(write_log(tmp_path / "log.jsonl", *entries), "Training")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "loss cyc", "dice"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["train", "validation"]
    heights = [text.get_position()[1] for text in figure.axes[0].texts]
    assert heights[1] - heights[0] >= curves.LABEL_GAP - 1e-9
    assert figure.axes[0].lines[1].get_color() == figure.axes[2].lines[0].get_color()
    png, _ = style.save_figure(figure, tmp_path / "curves")
    assert png.stat().st_size > 10_000
    chosen = curves.plot_curves(tmp_path / "log.jsonl", "Training", names=("dice",))
    assert len(chosen.axes) == 1


def test_a_curve_of_a_diverged_run_is_drawn(tmp_path):
    path = write_log(tmp_path / "log.jsonl", {"step": 1, "loss": 1.0}, {"step": 2, "loss": math.nan})
    png, _ = style.save_figure(curves.plot_curves(path, "Diverged"), tmp_path / "curves")
    assert png.stat().st_size > 10_000


def test_unusable_logs_are_errors_that_say_where(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        curves.load_log(tmp_path / "log.jsonl")
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 1}\nnonsense\n{"step": 2, "loss": 1}\n')
    with pytest.raises(UserError, match=r"log\.jsonl line 2"):
        curves.load_log(path)
    write_log(path, {"step": 1, "phase": "train"})
    with pytest.raises(UserError, match="no curves"):
        curves.plot_curves(path, "Empty")
