import numpy as np
import pytest

from echojax import lv
from echojax.errors import UserError
from echojax.report import area_curve, drawing, style

AREA = 1000 + 200 * np.cos(2 * np.pi * np.arange(90) / 30)


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_every_beat_is_marked_with_its_lvef(tmp_path):
    beats = lv.find_beats(AREA, 50.0)
    figure = area_curve.plot_area_curve(AREA, "a", fps=50, lvef_percent=np.array([33.4, 34.6, np.nan]))
    shown = texts(figure)
    assert shown.count("ED") == shown.count("ES") == len(beats) == 3
    assert {"LVEF 33 %", "LVEF 35 %", "LVEF –"} < set(shown)
    assert figure.axes[0].get_xlabel() == "Time (s)"
    png, svg = style.save_figure(figure, tmp_path / "curve")
    assert min(png.stat().st_size, svg.stat().st_size) > 10_000


def test_traced_frames_are_named_and_frames_counted_without_a_rate():
    figure = area_curve.plot_area_curve(AREA, "a", traced={"ED": 30, "ES": 45}, unit="cm²")
    assert {"traced ED", "traced ES"} < set(texts(figure))
    assert figure.axes[0].get_xlabel() == "Frame" and figure.axes[0].get_ylabel() == "LV area (cm²)"


def test_lost_frames_do_not_flatten_the_curve_and_are_counted():
    damaged = AREA.copy()
    damaged[[10, 50]] = 0
    figure = area_curve.plot_area_curve(damaged, "a", fps=50)
    assert "× lost or stray: 2 of 90 frames" in texts(figure)
    assert figure.axes[0].get_ylim()[0] > 500


@pytest.mark.parametrize("area", [np.zeros(20), np.full(20, 900.0), np.array([900.0]), np.full(5, np.nan)])
def test_a_curve_without_beats_says_so(area):
    figure = area_curve.plot_area_curve(area, "a", fps=50)
    assert "no beat found" in texts(figure)
    assert drawing.render(figure).std() > 0


@pytest.mark.parametrize(
    ("area", "lvef", "message"),
    [
        (np.zeros((2, 2)), None, r"shape \(2, 2\)"),
        (np.zeros(0), None, r"\(0,\)"),
        (AREA, np.ones(2), "LVEF of 2 beats"),
    ],
)
def test_what_does_not_fit_is_refused(area, lvef, message):
    with pytest.raises(UserError, match=message):
        area_curve.plot_area_curve(area, "a", fps=50, lvef_percent=lvef)
