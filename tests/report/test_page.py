import html.parser
import os
import shutil
import urllib.parse

import numpy as np
import pytest

from echojax.errors import UserError
from echojax.evaluate import Interval
from echojax.report import page

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Reader(html.parser.HTMLParser):
    """Checks that tags nest, and collects references, texts and the attributes of each tag."""

    def __init__(self):
        super().__init__()
        self.open, self.references, self.tags, self.text = [], [], {}, []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.setdefault(tag, []).append(attributes)
        self.references += [attributes[name] for name in ("src", "href", "poster") if name in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def make_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


METRICS = {
    "student": {"mae": Interval(4.9, 4.7, 5.1, 64), "r2": Interval(np.nan, np.nan, np.nan, 64)},
    "css": {"dice": Interval(0.91, 0.9, 0.92, 60), "hd95": Interval(-3.0, -4.0, -2.0, 60)},
}


@pytest.fixture
def written(tmp_path):
    run = tmp_path / "run"
    svg, mp4, png = (make_file(run / name) for name in ("plots/a b%.svg", "videos/c#1.mp4", "videos/c#1.png"))
    page.write_page(
        run / "index.html",
        title="Demo <1>",
        summary='Phantoms & "students".',
        data="phantom",
        tables=[page.metrics_table("Results", METRICS, labels={"css": "Segmentation (CSS)"})],
        sections=[
            page.Section(
                "Segmentation",
                text="Amber < blue.",
                tables=[page.Table("Counts", ("Split", "n"), [("TEST", "64")], caption="All of them", numeric=(1,))],
                figures=[page.Figure(svg, "Scatter", alt="Dots along a line", wide=True)],
                videos=[page.Video(mp4, "Case 1", poster=png, alt="Beating ventricle")],
            ),
            page.Section("Student"),
        ],
        notes=["Small <networks>."],
        files=[(make_file(run / "metrics.json"), "every metric")],
    )
    return run


def test_the_page_is_well_formed_and_what_it_shows_exists(written):
    reader = read(written / "index.html")
    files = [reference for reference in reader.references if not reference.startswith("#")]
    assert len(files) == 5  # Figure and its link, video and poster, one file.
    assert {"plots/a%20b%25.svg", "videos/c%231.mp4"} <= set(files)
    for reference in files:
        assert (written / urllib.parse.unquote(reference)).is_file()
    anchors = {attributes["id"] for attributes in reader.tags["section"] if "id" in attributes}
    assert {reference[1:] for reference in reader.references if reference.startswith("#")} == anchors


def test_the_page_asks_nothing_of_the_network(written):
    text = (written / "index.html").read_text()
    for forbidden in ("http:", "https:", "//", "@import", "url("):
        assert forbidden not in text
    assert "link" not in read(written / "index.html").tags


def test_the_folder_can_be_moved(written, tmp_path):
    moved = shutil.move(written, tmp_path / "elsewhere")
    reader = read(moved / "index.html")
    assert all((moved / urllib.parse.unquote(name)).is_file() for name in reader.references if not name.startswith("#"))


def test_texts_are_shown_as_they_were_given(written):
    text = "".join(read(written / "index.html").text)
    for expected in ("Demo <1>", 'Phantoms & "students".', "Amber < blue.", "Small <networks>.", "metrics.json"):
        assert expected in text


def test_pictures_have_words_and_videos_play_by_themselves(written):
    reader = read(written / "index.html")
    (image,) = reader.tags["img"]
    assert image["alt"] == "Dots along a line"
    (video,) = reader.tags["video"]
    assert video["aria-label"] == "Beating ventricle"
    assert {"autoplay", "muted", "loop", "playsinline"} <= set(video)
    assert reader.tags["html"][0]["lang"] == "en"
    assert len(reader.tags["button"]) == 1
    assert len(reader.tags["h1"]) == 1


@pytest.mark.parametrize(
    ("data", "name"), [("phantom", "Simulated hearts"), ("real", "Real echo"), ("synthetic", "Synthetic videos")]
)
def test_the_page_says_where_its_data_come_from(tmp_path, data, name):
    page.write_page(tmp_path / "index.html", title="t", summary="s", data=data)
    text = "".join(read(tmp_path / "index.html").text)
    assert name in text
    assert text.count("Research use only, not a medical device.") == 2


def test_metrics_are_grouped_named_and_given_with_their_interval():
    table = page.metrics_table("Results", METRICS, labels={"css": "Segmentation (CSS)"})
    assert table.rows == {
        "Segmentation (CSS)": [
            ("Dice, pooled", "0.910 [0.900, 0.920]", "60"),
            ("hd95", "−3.000 [−4.000, −2.000]", "60"),
        ],
        "student": [("LVEF MAE (points)", "4.90 [4.70, 5.10]", "64"), ("LVEF R²", "–", "64")],
    }
    chosen = page.metrics_table("Results", METRICS, names=["mae", "rmse"])
    assert chosen.rows == {"student": [("LVEF MAE (points)", "4.90 [4.70, 5.10]", "64")]}


def test_a_missing_file_is_an_error_and_no_page_is_written(tmp_path):
    sections = [page.Section("Student", figures=[page.Figure(tmp_path / "scatter.svg", "Scatter")])]
    with pytest.raises(UserError, match=r"scatter\.svg does not exist"):
        page.write_page(tmp_path / "index.html", title="t", summary="s", data="phantom", sections=sections)
    assert os.listdir(tmp_path) == []
    with pytest.raises(UserError, match=r"'clinic'; expected one of phantom"):
        page.write_page(tmp_path / "index.html", title="t", summary="s", data="clinic")
