"""Every way in which a source directory may be damaged or unusual, and what must become of it.

Each `Damage` acts on one video of a source. It is tried alone, and all are tried at once, each on a video of its own.
"""

import csv
import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pytest
import tiny_echonet
from tiny_echonet import ED_FRAME, ES_FRAME, TinyEchonet, make_avi, make_tracing

from data_prep import echonet
from data_prep.problems import KEPT, LEFT_OUT, PARTLY_KEPT
from echojax import records, video


@dataclasses.dataclass(frozen=True)
class Damage:
    """One damage.

    Attributes:
      apply: changes a source at the video of the given name.
      rows: `(kind, outcome)` of each line about that video in the report.
      reason: must occur in the text of the first of these lines.
      check: receives the record (None if left out) and the source's tracings before the damage.
    """

    name: str
    apply: Callable[[TinyEchonet, str], None]
    rows: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    check: Callable[[records.VideoRecord], None] = lambda record: None


def set_value(column: str, value: str) -> Callable[[TinyEchonet, str], None]:
    def apply(source: TinyEchonet, name: str) -> None:
        source.rows[name][column] = value

    return apply


def set_tracings(*tracings) -> Callable[[TinyEchonet, str], None]:
    def apply(source: TinyEchonet, name: str) -> None:
        source.tracings[name] = list(tracings)

    return apply


def set_file(change: Callable[[bytes], bytes]) -> Callable[[TinyEchonet, str], None]:
    def apply(source: TinyEchonet, name: str) -> None:
        source.files[f"{name}.avi"] = change(source.files[f"{name}.avi"])

    return apply


def remove_file(source: TinyEchonet, name: str) -> None:
    del source.files[f"{name}.avi"]


def remove_row(source: TinyEchonet, name: str) -> None:
    del source.rows[name], source.tracings[name]


def remove_row_and_file(source: TinyEchonet, name: str) -> None:
    del source.rows[name], source.files[f"{name}.avi"]


def repeat_row(source: TinyEchonet, name: str) -> None:
    source.rows[f"{name} again"] = source.rows[name] | {"EF": "1"}


def add_second_file(source: TinyEchonet, name: str) -> None:
    source.files[f"{name}.mp4"] = b"other"


def cut_at_frame(frame: int) -> Callable[[bytes], bytes]:
    """Cuts in the middle of a frame's JPEG, and everything behind it."""
    return lambda avi: avi[: [match.start() for match in re.finditer(b"\xff\xd8", avi)][frame] + 40]


def cut_seek_index(avi: bytes) -> bytes:
    return avi[: avi.rindex(b"idx1")]


def expect_frames(record: records.VideoRecord, *frames: int) -> None:
    assert [tracing.frame for tracing in record.tracings] == list(frames)


def expect_rows(record: records.VideoRecord, *rows: int) -> None:
    assert [len(tracing.points) for tracing in record.tracings] == list(rows)


def expect_no_ef(record: records.VideoRecord) -> None:
    assert np.isnan(record.ef_percent)
    assert record.edv_ml == 100.25
    expect_frames(record, ES_FRAME, ED_FRAME)


def expect_shape(*shape: int) -> Callable[[records.VideoRecord], None]:
    def check(record: records.VideoRecord) -> None:
        assert record.frames.shape == shape

    return check


SMALL, LARGE = make_tracing(6), make_tracing(8)
OUTSIDE = make_tracing(8, center=30.0)

DAMAGES = (
    # Loads right, nothing to report.
    Damage("avi_in_list", lambda s, n: set_value("FileName", f"{n}.avi")(s, n)),
    Damage("avi_upper_case", lambda s, n: set_value("FileName", f"{n}.AVI")(s, n)),
    Damage("folder_in_name", lambda s, n: set_value("FileName", f"D:\\Videos\\{n}.avi")(s, n)),
    Damage("blanks_around_name", lambda s, n: set_value("FileName", f" {n} ")(s, n)),
    Damage("lower_case_split", set_value("Split", "train"), check=lambda r: None),
    Damage(
        "ed_first",
        set_tracings((ED_FRAME, LARGE), (ES_FRAME, SMALL)),
        check=lambda r: expect_frames(r, ED_FRAME, ES_FRAME),
    ),
    Damage("es_first", lambda s, n: None, check=lambda r: expect_frames(r, ES_FRAME, ED_FRAME)),
    Damage(
        "frames_written_as_floats",
        set_tracings(("2.0", SMALL), ("7.0", LARGE)),
        check=lambda r: expect_frames(r, ES_FRAME, ED_FRAME),
    ),
    Damage("seek_index_cut", set_file(cut_seek_index), check=expect_shape(10, 32, 32, 3)),
    # Loads, with a note.
    Damage("no_tracings", set_tracings(), (("tracings_absent", KEPT),), "no usable rows", lambda r: expect_frames(r)),
    Damage(
        "two_experts",
        set_tracings((ES_FRAME, np.vstack([SMALL, make_tracing(6, tilt=0.3)])), (ED_FRAME, LARGE)),
        (("tracing_repeated", KEPT),),
        "frame 2 has 42 rows: 2 tracings",
        lambda r: (expect_frames(r, ES_FRAME, ES_FRAME, ED_FRAME), expect_rows(r, 21, 21, 21)),
    ),
    Damage(
        "two_experts_apart",
        set_tracings((ES_FRAME, SMALL), (ED_FRAME, LARGE), (ES_FRAME, make_tracing(5))),
        (("tracing_repeated", KEPT),),
        "42 rows: 2 tracings",
        lambda r: (expect_frames(r, ES_FRAME, ES_FRAME, ED_FRAME), expect_rows(r, 21, 21, 21)),
    ),
    Damage(
        "second_expert_incomplete",
        set_tracings((ES_FRAME, np.vstack([SMALL, make_tracing(6, rows=17)])), (ED_FRAME, LARGE)),
        (("tracing_repeated", KEPT), ("tracing_short", KEPT)),
        "38 rows: 2 tracings",
        lambda r: expect_rows(r, 21, 17, 21),
    ),
    Damage(
        "one_traced_frame",
        set_tracings((ED_FRAME, LARGE)),
        (("tracing_single_frame", KEPT),),
        "one frame is traced",
        lambda r: expect_frames(r, ED_FRAME),
    ),
    Damage(
        "three_traced_frames",
        set_tracings((ES_FRAME, SMALL), (ED_FRAME, LARGE), (4, SMALL)),
        (("tracing_many_frames", KEPT),),
        "3 frames are traced",
        lambda r: expect_frames(r, ES_FRAME, ED_FRAME, 4),
    ),
    Damage(
        "fewer_than_21_rows",
        set_tracings((ES_FRAME, make_tracing(6, rows=15)), (ED_FRAME, LARGE)),
        (("tracing_short", KEPT),),
        "15 rows, expected 21",
        lambda r: expect_rows(r, 15, 21),
    ),
    Damage(
        "tracing_leaves_image",
        set_tracings((ES_FRAME, SMALL), (ED_FRAME, OUTSIDE)),
        (("tracing_outside_image", KEPT),),
        "32x32",
        lambda r: expect_frames(r, ES_FRAME, ED_FRAME),
    ),
    Damage(
        "container_fps",
        set_file(lambda _: make_avi(0, fps=30.0)),
        (("fps_differs", KEPT),),
        "says 30 frames per second, FileList.csv says 50",
        lambda r: np.testing.assert_equal(r.fps, 50.0),
    ),
    Damage(
        "no_fps",
        set_value("FPS", ""),
        (("fps_absent", KEPT),),
        "expected a positive number",
        lambda r: np.testing.assert_equal(r.fps, 50.0),
    ),
    Damage(
        "other_size",
        set_file(lambda _: make_avi(0, height=48, width=40)),
        (("size_differs", KEPT), ("size_unusual", KEPT)),
        "the video is 40x48, FileList.csv says 32x32",
        expect_shape(10, 48, 40, 3),
    ),
    Damage(
        "other_number_of_frames",
        set_value("NumberOfFrames", "9"),
        (("num_frames_differs", KEPT),),
        "has 10 frames, FileList.csv says 9",
        expect_shape(10, 32, 32, 3),
    ),
    Damage("ef_absent", set_value("EF", ""), (("ef_absent", KEPT),), "EF is empty", expect_no_ef),
    Damage("two_files", add_second_file, (("video_ambiguous", KEPT),), "both", expect_shape(10, 32, 32, 3)),
    # A part is lost.
    Damage("ef_above_100", set_value("EF", "100.5"), (("ef_out_of_range", PARTLY_KEPT),), "EF is 100.5", expect_no_ef),
    Damage("ef_below_0", set_value("EF", "-3"), (("ef_out_of_range", PARTLY_KEPT),), "EF is -3", expect_no_ef),
    Damage("ef_text", set_value("EF", "high"), (("ef_out_of_range", PARTLY_KEPT),), "EF is high", expect_no_ef),
    Damage(
        "edv_negative",
        set_value("EDV", "-1"),
        (("volume_out_of_range", PARTLY_KEPT),),
        "EDV is -1",
        lambda r: np.testing.assert_equal((r.edv_ml, r.esv_ml), (np.nan, 60.5)),
    ),
    Damage(
        "frame_beyond_end",
        set_tracings((ES_FRAME, SMALL), (10, LARGE)),
        (("tracing_beyond_end", PARTLY_KEPT),),
        "frame 10 is traced, but the video has frames 0 to 9",
        lambda r: expect_frames(r, ES_FRAME),
    ),
    Damage(
        "frame_negative",
        set_tracings((ES_FRAME, SMALL), (-1, LARGE)),
        (("tracing_beyond_end", PARTLY_KEPT),),
        "frame -1",
        lambda r: expect_frames(r, ES_FRAME),
    ),
    Damage(
        "two_rows",
        set_tracings((ES_FRAME, SMALL[:2]), (ED_FRAME, LARGE)),
        (("tracing_single_frame", KEPT), ("tracing_too_short", PARTLY_KEPT)),
        "",
        lambda r: expect_frames(r, ED_FRAME),
    ),
    Damage(
        "coordinate_not_a_number",
        set_tracings((ES_FRAME, np.where(np.arange(84).reshape(21, 4) == 30, np.nan, SMALL)), (ED_FRAME, LARGE)),
        (("tracing_not_numeric", PARTLY_KEPT), ("tracing_single_frame", KEPT)),
        "21 rows of frame 2 hold something else than finite numbers",
        lambda r: expect_frames(r, ED_FRAME),
    ),
    Damage(
        "frame_not_a_number",
        set_tracings((ES_FRAME, SMALL), ("ED", LARGE)),
        (("tracing_not_numeric", PARTLY_KEPT), ("tracing_single_frame", KEPT)),
        "21 rows without a frame number",
        lambda r: expect_frames(r, ES_FRAME),
    ),
    # No record.
    Damage("truncated", set_file(cut_at_frame(5)), (("video_truncated", LEFT_OUT),), "of 10 declared"),
    Damage("last_frame_cut", set_file(cut_at_frame(-1)), (("video_truncated", LEFT_OUT),), "ends early"),
    Damage("unreadable", set_file(lambda _: b"no video" * 99), (("video_unreadable", LEFT_OUT),), "not a video"),
    Damage("empty", set_file(lambda _: b""), (("video_empty", LEFT_OUT),), "0 bytes"),
    Damage("missing", remove_file, (("video_missing", LEFT_OUT),), "no such file"),
    Damage("unlisted", remove_row, (("video_unlisted", LEFT_OUT),), "no row of FileList.csv"),
    Damage("tracings_only", remove_row_and_file, (("tracings_unlisted", LEFT_OUT),), "VolumeTracings.csv has rows"),
    Damage("split_unknown", set_value("Split", "DEV"), (("split_unknown", LEFT_OUT),), "Split 'DEV'"),
    Damage("row_repeated", repeat_row, (("name_repeated", LEFT_OUT),), "names it again", expect_shape(10, 32, 32, 3)),
)


def read_report(directory) -> list[dict[str, str]]:
    with open(directory / "report.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_outcome(damage: Damage, name: str, report: list[dict[str, str]], stored: records.VideoSet) -> None:
    rows = [row for row in report if row["name"] == name]
    assert sorted((row["kind"], row["outcome"]) for row in rows) == sorted(damage.rows)
    if damage.rows:
        assert damage.reason in next(row["problem"] for row in rows if row["kind"] == damage.rows[0][0])
    assert all(row["action"] for row in rows)
    if any(outcome == LEFT_OUT for _, outcome in damage.rows) and damage.name != "row_repeated":
        assert name not in stored
    else:
        damage.check(stored.record(stored.position(name)))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_one_damage_is_reported_and_the_rest_goes_on(damage, tmp_path):
    source = tiny_echonet.make_source()
    damage.apply(source, "b")
    summary = echonet.convert(source.write(tmp_path / "source"), tmp_path / "data", workers=1, progress=False)
    stored, report = records.open_videos(tmp_path / "data"), read_report(tmp_path / "data")
    check_outcome(damage, "b", report, stored)
    assert [row["name"] for row in report if row["name"] != "b"] == []
    assert [name for name in stored.name if name != "b"] == ["a", "c", "d", "e"]
    assert summary.num_failures == sum(outcome != KEPT for _, outcome in damage.rows)


def test_all_damages_at_once(tmp_path):
    names = {f"v{number:02d}": damage for number, damage in enumerate(DAMAGES)}
    source = tiny_echonet.make_source(dict.fromkeys(names, "TRAIN") | {"good": "TEST"})
    for name, damage in names.items():
        damage.apply(source, name)
    source.prefix, source.newline = b"\xef\xbb\xbf", "\r\n"
    source.tracing_suffix = ""
    source.columns = ["Comment", *reversed(source.columns), "Site"]
    echonet.convert(source.write(tmp_path / "source"), tmp_path / "data", workers=2, progress=False, videos_per_shard=7)
    stored, report = records.open_videos(tmp_path / "data"), read_report(tmp_path / "data")
    for name, damage in names.items():
        check_outcome(damage, name, report, stored)
    assert {row["name"] for row in report} == {name for name, damage in names.items() if damage.rows}
    assert "good" in stored
    kept = [name for name, d in names.items() if d.name not in ("unlisted", "tracings_only", "split_unknown")]
    assert stored.source_names("TRAIN") == kept


@pytest.mark.parametrize(
    "change",
    [
        {"prefix": b"\xef\xbb\xbf"},
        {"newline": "\r\n"},
        {"tracing_suffix": ""},
        {"columns": ["Site", *tiny_echonet.LIST_COLUMNS[::-1], "Comment"]},
        {"columns": [column.lower() for column in tiny_echonet.LIST_COLUMNS]},
    ],
    ids=["bom", "crlf", "tracings_without_avi", "extra_columns", "lower_case_header"],
)
def test_unusual_tables_load_right(change, tmp_path):
    source = tiny_echonet.make_source()
    if change.get("columns", [""])[0] == "filename":
        source.rows = {n: {key.lower(): value for key, value in row.items()} for n, row in source.rows.items()}
    for key, value in change.items():
        setattr(source, key, value)
    summary = echonet.convert(source.write(tmp_path / "source"), tmp_path / "data", workers=1, progress=False)
    stored = records.open_videos(tmp_path / "data")
    assert summary.problems == ()
    assert list(stored.name) == ["a", "b", "c", "d", "e"]
    assert list(stored.split) == ["TRAIN", "TRAIN", "TRAIN", "VAL", "TEST"]
    np.testing.assert_array_equal(stored.ef_percent, np.float32([40 + number / 7 for number in range(5)]))
    assert all([tracing.frame for tracing in stored.tracings(p)] == [ES_FRAME, ED_FRAME] for p in range(5))
    np.testing.assert_array_equal(stored.tracings(0)[1].points, LARGE)


def test_table_of_tracings_may_be_missing(tmp_path):
    source = tiny_echonet.make_source()
    source.with_tracings = False
    summary = echonet.convert(source.write(tmp_path / "source"), tmp_path / "data", workers=1, progress=False)
    assert [(p.name, p.kind) for p in summary.problems] == [("VolumeTracings.csv", "tracings_table_absent")]
    assert records.open_videos(tmp_path / "data").tracings(0) == ()


def test_columns_ef_and_fps_may_be_missing(tmp_path):
    source = tiny_echonet.make_source()
    source.columns = ["FileName", "Split"]
    summary = echonet.convert(source.write(tmp_path / "source"), tmp_path / "data", workers=1, progress=False)
    stored = records.open_videos(tmp_path / "data")
    assert [p.kind for p in summary.problems] == ["ef_column_absent", "fps_column_absent"]
    assert np.isnan(stored.ef_percent).all()
    assert (stored.fps == 50).all()


def test_decoded_pixels_are_stored_unchanged(tmp_path):
    source = tiny_echonet.make_source().write(tmp_path / "source")
    echonet.convert(source, tmp_path / "data", workers=1, progress=False)
    stored = records.open_videos(tmp_path / "data")
    for position, name in enumerate("abcde"):
        frames, _ = video.read_video(source / "Videos" / f"{name}.avi")
        np.testing.assert_array_equal(stored.frames(position), frames)
        np.testing.assert_array_equal(stored.record(position).frames, frames)
