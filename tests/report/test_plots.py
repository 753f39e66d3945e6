import xml.etree.ElementTree as ElementTree

import matplotlib.image
import numpy as np
import pytest

from echojax import evaluate
from echojax.errors import UserError
from echojax.evaluate import Interval
from echojax.report import plots, style

ALL_PLOTS = [plots.plot_scatter, plots.plot_bland_altman, plots.plot_roc]


def simulated(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ef = rng.uniform(15, 75, n)
    return ef + rng.normal(1, 5, n), ef


def texts(figure) -> str:
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


@pytest.mark.parametrize("plot", ALL_PLOTS)
def test_a_plot_is_saved_as_png_and_svg(plot, tmp_path):
    figure = plot(*simulated(), "Student · TEST")
    png, svg = style.save_figure(figure, tmp_path / "plots" / "figure.v1")
    assert (png.name, svg.name) == ("figure.v1.png", "figure.v1.svg")
    height, width, _ = matplotlib.image.imread(png).shape
    assert width == round(style.SIZE_INCHES[0] * style.PNG_DPI)
    assert height == round(style.SIZE_INCHES[1] * style.PNG_DPI)
    assert len(np.unique(matplotlib.image.imread(png))) > 20
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert figure.axes[0].get_title(loc="left") == "Student · TEST"


def test_equal_data_give_equal_files(tmp_path):
    for name in ("a", "b"):
        style.save_figure(plots.plot_bland_altman(*simulated(), "Same"), tmp_path / name)
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("plot", ALL_PLOTS)
@pytest.mark.parametrize(
    ("ef_predicted", "ef"),
    [
        ([61.0], [60.0]),
        ([60.0], [60.0]),
        ([61.0, 63.0], [60.0, 60.0]),
        ([60.0, 60.0, 60.0], [60.0, 60.0, 60.0]),
        ([55.6, 55.6, 55.6], [30.0, 60.0, 45.0]),
        ([-400.0, 900.0], [30.0, 60.0]),
    ],
)
def test_few_constant_and_absurd_values_are_drawn(plot, ef_predicted, ef, tmp_path):
    png, _ = style.save_figure(plot(ef_predicted, ef, "Degenerate"), tmp_path / "figure")
    assert png.stat().st_size > 5_000


@pytest.mark.parametrize("plot", ALL_PLOTS)
@pytest.mark.parametrize(
    ("ef_predicted", "ef", "message"),
    [
        ([np.nan, 50.0], [40.0, 50.0], "1 of 2 predicted LVEF are not finite"),
        ([40.0, 50.0], [np.nan, np.nan], "2 of 2 known LVEF are not finite"),
        ([], [], "no videos"),
        ([40.0], [40.0, 50.0], r"\(1,\) predictions and \(2,\) known"),
    ],
)
def test_values_that_cannot_be_drawn_are_errors_that_say_why(plot, ef_predicted, ef, message):
    with pytest.raises(UserError, match=message):
        plot(ef_predicted, ef, "Broken")


def test_scatter_states_the_metrics_it_is_given():
    ef_predicted, ef = simulated()
    summary = evaluate.summarise_ef(ef_predicted, ef, num_samples=100)
    shown = texts(plots.plot_scatter(ef_predicted, ef, "Student", summary))
    for name in ("mae", "rmse", "r2", "pearson"):
        assert plots.format_interval(summary[name]) in shown
    assert "n    40" in shown
    slope, intercept = np.polyfit(ef, ef_predicted, 1)
    assert f"fit: {slope:.2f}·x {'+' if intercept > 0 else '−'} {abs(intercept):.1f}" in shown


def test_bland_altman_states_bias_and_limits():
    ef_predicted, ef = simulated()
    shown = texts(plots.plot_bland_altman(ef_predicted, ef, "Student"))
    agreement = evaluate.limits_of_agreement(ef_predicted, ef)
    for name, interval in (
        ("bias", agreement.bias),
        ("upper limit", agreement.upper),
        ("lower limit", agreement.lower),
    ):
        assert f"{name} {plots.format_interval(interval, 1)}".replace(" [", "\n[") in shown


def test_roc_says_where_a_class_is_absent():
    ef = np.array([45.0, 55.0, 38.0, 60.0])
    shown = texts(plots.plot_roc(ef, ef, "Student"))
    assert "LVEF < 50 (2 of 4): AUC 1.00 [1.00, 1.00]" in shown
    assert "LVEF < 40 (1 of 4): AUC 1.00 [1.00, 1.00]" in shown
    assert "LVEF < 35: no video, no curve" in shown
    assert "LVEF < 50: every video, no curve" in texts(plots.plot_roc([30.0], [30.0], "Low"))


def test_intervals_are_written_for_people():
    assert plots.format_interval(Interval(4.089, 3.928, 4.254, 9)) == "4.09 [3.93, 4.25]"
    assert plots.format_interval(Interval(-0.004, -1.25, 1.0, 9), 1) == "0.0 [−1.2, 1.0]"
    assert plots.format_interval(Interval(-2.5, np.nan, np.nan, 1), 1) == "−2.5"
    assert plots.format_interval(Interval(np.nan, np.nan, np.nan, 3)) == "–"
