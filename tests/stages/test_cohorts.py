"""Which videos are evaluated when a list holds some that cannot be: of the published 7465, 1288 and 1277 in TRAIN, VAL
and TEST, 7460, 1288 and 1276."""

import pytest
import tiny_echonet

from data_prep import echonet
from echojax import records
from echojax.stages import common

# Of the published list's six videos without tracings, which are also of another size, five are of TRAIN, one of TEST.
LISTED = {"TRAIN": 11, "VAL": 3, "TEST": 4}
UNTRACED = {"TRAIN": 5, "VAL": 0, "TEST": 1}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A made list with the published list's faults: 18 videos, six of them larger and untraced."""
    names = {f"{split}{number}": split for split, count in LISTED.items() for number in range(count)}
    source = tiny_echonet.make_source(names)
    for split, count in UNTRACED.items():
        for number in range(count):
            name = f"{split}{number}"
            del source.tracings[name]
            source.files[f"{name}.avi"] = tiny_echonet.make_avi(number, height=48, width=64)
    root = tmp_path_factory.mktemp("cohorts")
    echonet.convert(source.write(root / "source"), root / "data", workers=1, progress=False)
    return records.open_videos(root / "data")


def test_invariant_19_videos_without_tracings_are_left_out_of_evaluation_and_counted(videos):
    assert {split: len(videos.select(split)) for split in LISTED} == LISTED
    for split, count in LISTED.items():
        cohort = common.traced_cohort(videos, videos.select(split))
        assert len(cohort) == count - UNTRACED[split]
        assert sum(cohort.left_out.values()) == UNTRACED[split]
        assert all(videos.tracings(position) for position in cohort.positions)


def test_invariant_19_nothing_is_left_out_without_a_line_in_the_report(videos):
    report = (videos.data_dir / "report.csv").read_text()
    untraced = [name for name in videos.name if not videos.tracings(videos.position(name))]
    assert len(untraced) == 6
    for name in untraced:
        assert f"{name},tracings_absent," in report and f"{name},size_unusual," in report
    assert report.count("tracings_absent") == 6
