import numpy as np
from lv_shapes import Body

from echojax import evaluate
from echojax.evaluate import MaskedVideo
from echojax.report import dfkd, page

NUM_FRAMES, SIZE = 40, 32


def make_video(name: str, error_px: float, is_traced: bool = True) -> MaskedVideo:
    contraction = (1 - np.cos(2 * np.pi * np.arange(NUM_FRAMES) / 20)) / 2
    widths = 14 * (1 - 0.3 * contraction)
    true = np.stack([Body(22, width, 0.2, 16, 16).mask(SIZE) for width in widths])
    found = np.stack([Body(22, width, 0.2, 16 + error_px, 16).mask(SIZE) for width in widths])
    traced = {"traced_frames": (20, 30), "traced_masks": true[[20, 30]]} if is_traced else {}
    return MaskedVideo(name, 255 * found.astype(np.uint8), 50.0, 51.0 + error_px, **traced)


def section_of(videos, folder) -> page.Section:
    by_name = {video.name: video for video in videos}
    frames = np.full((NUM_FRAMES, SIZE, SIZE), 60, np.uint8)
    scores = [evaluate.score_video(video) for video in videos]
    return dfkd.evaluation_section(
        scores, lambda name: (by_name[name], frames), folder, title="Student on TEST", suffix="_test"
    )


def test_the_section_holds_cases_curves_and_lvef_plots(tmp_path):
    videos = [make_video(f"v{index}", float(index)) for index in range(4)]
    section = section_of([*videos, make_video("untraced", 0.0, is_traced=False)], tmp_path)
    names = [figure.path.name for figure in section.figures]
    areas = ["area_best_test.png", "area_median_test.png", "area_worst_test.png"]
    assert names == ["cases_test.png", *areas, "lvef_scatter_test.png", "lvef_bland_altman_test.png"]
    assert section.text == "5 videos, 4 of them traced."
    page.write_page(tmp_path / "index.html", title="a", summary="b", data="phantom", sections=[section])
    assert "cases_test.png" in (tmp_path / "index.html").read_text()


def test_without_tracings_and_known_lvef_one_curve_remains(tmp_path):
    video = MaskedVideo("bare", make_video("a", 0.0).masks, 50.0)
    section = section_of([video], tmp_path)
    assert [figure.path.name for figure in section.figures] == ["area_first_test.png"]
