"""Many files of many kinds: what is written, what is called how, and what of a person's identity is not there."""

import csv
import json
import pathlib

import numpy as np
import pytest
from chromium import chromium_page
from predict_clips import FPS, IDENTITY, SPACING_CM, bright_segmentation, make_bright_frames, write_dicom
from schema import find_violations

from echojax.errors import UserError
from echojax.predict import predict_paths
from echojax.predict.outputs import FILES
from echojax.video import read_video, write_video

# In the paths of the DICOM, which may not get out either.
FOLDER, FILE = "Quendorf_Ottilie_1937", "scan_of_ottilie.dcm"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> pathlib.Path:
    """A folder with a video, the same as an array, a DICOM of a person, and files that are no clips."""
    folder = tmp_path_factory.mktemp("in") / "study"
    (folder / FOLDER).mkdir(parents=True)
    frames = make_bright_frames()
    # Compression would blur the painted border: FFV1 loses nothing.
    write_video(folder / "a4c.avi", frames, FPS, codec="FFV1")
    np.save(folder / "array.npy", frames)
    write_dicom(folder / FOLDER / FILE, frames)
    (folder / "broken.avi").write_bytes((folder / "a4c.avi").read_bytes()[:5000])
    (folder / FOLDER / "empty_Quendorf.dcm").write_bytes(b"")
    (folder / "notes.txt").write_text("Ottilie Quendorf")
    return folder


@pytest.fixture(scope="module")
def output(study, tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def outcome(study, output):
    return predict_paths([study], output, bright_segmentation())


def dicom_folder(output) -> pathlib.Path:
    return next(output.glob("dicom-*"))


def test_every_clip_has_its_files(outcome, output):
    names = {"a4c", "array", dicom_folder(output).name}
    assert {path.name for path in output.iterdir() if path.is_dir()} == names
    expected = {output / name / file for name in names for file in FILES} | {output / "results.csv"}
    assert set(outcome.files) == expected | {output / "index.html"}
    assert all(path.stat().st_size > 100 for path in outcome.files)
    assert not list(output.rglob(".*"))


def test_bad_files_are_reported_and_stop_nobody(outcome, study):
    reasons = {failure.path.name: failure.reason for failure in outcome.failures}
    assert set(reasons) == {"broken.avi", "empty_Quendorf.dcm"}
    assert "0 bytes" in reasons["empty_Quendorf.dcm"]
    assert all("\n" not in reason and str(study) not in reason for reason in reasons.values())
    assert [path.name for path in outcome.passed_over] == ["notes.txt"]


def test_results_are_as_the_schema_says(outcome, output):
    for path in output.glob("*/result.json"):
        content = json.loads(path.read_text(), parse_constant=pytest.fail)
        assert find_violations(content) == []
        assert content["name"] == path.parent.name
        assert 10 < content["lvef_percent"]["value"] < 90
    assert find_violations({**content, "extra": 1}) == ["result.extra is not documented"]
    assert find_violations({**content, "beats": 3}) != []


def test_the_same_clip_has_the_same_lvef_in_every_format(outcome, output):
    results = {path.parent.name: json.loads(path.read_text()) for path in output.glob("*/result.json")}
    values = [result["lvef_percent"]["value"] for result in results.values()]
    assert max(values) - min(values) < 3
    dicom = results[dicom_folder(output).name]
    assert dicom["clip"]["spacing_cm"] == [SPACING_CM, SPACING_CM] and dicom["clip"]["fps"] == FPS
    assert dicom["volumes"]["edv_ml"] > 5 and dicom["volumes"]["edv_px3"] is None
    assert results["array"]["volumes"]["edv_ml"] is None
    assert "fps_assumed" in [flag["kind"] for flag in results["array"]["flags"]]


def test_masks_are_at_the_clips_own_size(outcome, output):
    masks = np.load(output / "a4c" / "masks.npz")["masks"]
    truth = make_bright_frames() > 170
    assert masks.dtype == bool and masks.shape == truth.shape
    dice = 2 * (masks & truth).sum() / (masks.sum() + truth.sum())
    assert dice > 0.98


def test_overlay_is_a_video_of_the_clip(outcome, output):
    frames, fps = read_video(output / "a4c" / "overlay.mp4")
    # 40 frames per second are thinned to 20.
    assert len(frames) == 36 and fps == pytest.approx(20, rel=0.01)
    amber = (frames[..., 0] > 180) & (frames[..., 1] > 110) & (frames[..., 2] < 110)
    assert amber[:, 26:314].any((1, 2)).all()


def test_table_has_a_row_for_every_file(outcome, output):
    with open(output / "results.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    names = sorted(name for name in rows if not name.startswith(("dicom-", "unreadable-")))
    assert names == ["a4c", "array", "broken"] and len(rows) == 5
    assert rows["broken"]["status"] == "failed" and rows["broken"]["lvef_percent"] == ""
    result = json.loads((output / "a4c" / "result.json").read_text())
    assert float(rows["a4c"]["lvef_percent"]) == result["lvef_percent"]["value"]
    assert int(rows["a4c"]["num_beats"]) == len(result["beats"])


def test_nothing_of_a_dicoms_identity_gets_out(outcome, study, output):
    words = {word.lower() for value in IDENTITY.values() for word in value.split("^")}
    words |= {"ottilie", "quendorf", pathlib.Path(FILE).stem, FOLDER.lower(), str(study).lower()}
    written = [path for path in output.rglob("*") if path.is_file()]
    for path in written:
        content = path.read_bytes().lower()
        for word in words:
            assert word.encode() not in content, f"{word} is in {path.name}"
            assert word.encode("utf-16-le") not in content
            assert word not in str(path.relative_to(output)).lower()
    assert len(written) == 3 * len(FILES) + 2


def test_keep_names(study, tmp_path):
    path = study / FOLDER / FILE
    outcome = predict_paths([path], tmp_path, bright_segmentation(), keep_names=True)
    assert outcome.rows[0]["name"] == "scan_of_ottilie"
    assert (tmp_path / "scan_of_ottilie" / "report.html").exists()
    # The header is still nobody's business.
    assert b"Quendorf" not in (tmp_path / "scan_of_ottilie" / "result.json").read_bytes()


def test_own_results_are_no_clips(study, tmp_path):
    (tmp_path / "a4c.avi").write_bytes((study / "a4c.avi").read_bytes())
    for place in ("results", "results", "."):
        outcome = predict_paths([tmp_path], tmp_path / place, bright_segmentation(), num_views=1)
        assert [row["name"] for row in outcome.rows] == ["a4c"] and not outcome.failures


def test_a_folder_without_clips_is_wrong_use(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UserError, match="no clips in"):
        predict_paths([tmp_path], tmp_path / "out", bright_segmentation())


def test_an_unforeseen_error_stops_nobody_and_is_not_quoted(study, tmp_path):
    def segment(frames):
        raise ZeroDivisionError("Ottilie Quendorf")

    outcome = predict_paths([study / "a4c.avi"], tmp_path, bright_segmentation(segment=segment))
    assert outcome.failures[0].reason == "cannot be processed (ZeroDivisionError); please report this"
    assert outcome.rows[0]["status"] == "failed" and (tmp_path / "index.html").exists()


def test_report_in_a_browser(outcome, output, tmp_path):
    """The video plays, the marker moves with it, curve and table are there, nothing is asked of the network."""
    with chromium_page(tmp_path / "profile") as page:
        for width, height, is_phone in ((1280, 900, False), (390, 844, True)):
            page.open(dicom_folder(output) / "report.html", width, height, is_phone)
            page.wait_for("document.querySelector('video').currentTime > 0.3")
            assert page.evaluate("document.querySelector('video').videoWidth") == 288
            first = page.evaluate("document.querySelector('.marker').style.left")
            page.wait_for(f"document.querySelector('.marker').style.left !== '{first}'")
            assert page.evaluate("document.querySelectorAll('.curve svg path').length") > 5
            result = json.loads((dicom_folder(output) / "result.json").read_text())
            # The first table is that of the beats.
            assert page.evaluate("document.querySelector('tbody').rows.length") == len(result["beats"])
            assert page.evaluate("[...document.querySelectorAll('.stills img')].map(i => i.naturalWidth)") == [288, 288]
            assert "Research use only" in page.evaluate("document.body.innerText")
            # Nothing but the tables and the curve, which scroll by themselves, is wider than the screen.
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert_nothing_left(page)
            page.open(output / "index.html", width, height, is_phone)
            assert page.evaluate("document.querySelector('tbody').rows.length") == len(outcome.rows)
            assert_nothing_left(page)


def assert_nothing_left(page):
    assert page.problems == []
    assert page.requests and all(address.startswith(("file://", "data:")) for address in page.requests)
