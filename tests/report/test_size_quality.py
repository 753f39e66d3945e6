import numpy as np
import pytest

from echojax.errors import UserError
from echojax.evaluate import Interval
from echojax.report import drawing, size_quality, style
from echojax.report.size_quality import PUBLISHED, PUBLISHED_STUDENTS, SizedModel

QUICK = {"data": "9 made videos", "num_samples": 50}


def made_models(num: int = 6) -> list[SizedModel]:
    rng = np.random.default_rng(0)
    return [
        SizedModel(student.name, student.num_weights, np.clip(student.dice + rng.normal(0, 0.02, 9), 0, 1))
        for student in PUBLISHED_STUDENTS[::2][:num]
    ]


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_figure_shows_networks_fit_and_what_is_published(tmp_path):
    figure = size_quality.plot_quality_against_size(made_models(), "Sweep", **QUICK)
    shown = texts(figure)
    assert {"11", "13", "21", "23", "31", "33"} < set(shown)
    assert {model.name for model in PUBLISHED} < set(shown) and "EchoDFKD students" in shown
    caption = next(text for text in shown if text.startswith("filled"))
    assert "9 made videos" in caption and "saturating fit" in caption and "hollow: published" in caption
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    for model in made_models():
        assert any(np.allclose(line.get_xydata(), [[model.num_weights, 1 - model.dice.mean()]]) for line in axes.lines)
    png, svg = style.save_figure(figure, tmp_path / "size")
    assert min(png.stat().st_size, svg.stat().st_size) > 10_000


@pytest.mark.parametrize("num_models", [1, 2, 3])
def test_few_sizes_have_no_fit_but_a_figure(num_models):
    figure = size_quality.plot_quality_against_size(
        made_models(num_models), "Few", published=(), published_students=(), **QUICK
    )
    caption = next(text for text in texts(figure) if text.startswith("filled"))
    assert "fit" not in caption and "published" not in caption
    assert drawing.render(figure).std() > 0
    assert len(figure.axes[0].get_yticks()) >= 2


def test_published_numbers_are_those_of_the_literature():
    """ln(1 - Dice) of the figure's teacher line is -2.557; the ends of the students' row are 0.784 and 0.910."""
    by_name = {model.name: model for model in PUBLISHED}
    assert np.log(1 - by_name["DeepLabV3 (teacher)"].dice) == pytest.approx(-2.557, abs=5e-3)
    assert len(PUBLISHED_STUDENTS) == 16
    assert (PUBLISHED_STUDENTS[0].dice, PUBLISHED_STUDENTS[-1].dice) == (0.784, 0.910)
    assert PUBLISHED_STUDENTS[10].name == "33" and PUBLISHED_STUDENTS[10].num_weights == 611_185


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "no networks"),
        ([SizedModel("a", 10, np.ones(3)), SizedModel("b", 20, np.ones(2))], "3, 2 videos"),
        ([SizedModel("a", 10, np.ones(0))], "0 videos"),
    ],
)
def test_networks_must_be_measured_on_the_same_videos(models, message):
    with pytest.raises(UserError, match=message):
        size_quality.plot_quality_against_size(models, "Broken", data="")


def test_a_metric_over_weights_has_the_originals_title_and_logarithmic_axes(tmp_path):
    values = {"11": (5_701, Interval(0.8, 0.7, 0.9, 4)), "33": (611_185, Interval(0.9, np.nan, np.nan, 1))}
    figure = size_quality.plot_metric_against_size("ED_DICE", values)
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "ED_DICE function of weight"
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("Weights", "Score", "log")
    assert figure.get_size_inches().tolist() == [10, 6]
    style.save_figure(figure, tmp_path / "metric")


def test_scores_without_a_logarithm_stand_on_a_linear_axis_and_missing_ones_are_named():
    unknown = Interval(np.nan, np.nan, np.nan, 0)
    values = {
        "11": (5_701, Interval(-0.3, -0.8, 0.1, 4)),
        "22": (91_633, Interval(0.4, 0.2, 0.6, 4)),
        "33": (6e5, unknown),
    }
    figure = size_quality.plot_metric_against_size("r2", values)
    assert figure.axes[0].get_yscale() == "linear" and "no value: 33" in texts(figure)
    with pytest.raises(UserError, match="no network has a finite value of r2"):
        size_quality.plot_metric_against_size("r2", {"33": (6e5, unknown)})
