"""The size of EchoNet-Dynamic's list, on a made one: which rows are there, and which remain for Dice."""

from collections import Counter

import pytest
from tiny_echonet import make_tracing

from data_prep import source

COUNTS = {"TRAIN": 7465, "VAL": 1288, "TEST": 1277}
UNTRACED = {"TRAIN": 5, "TEST": 1}


@pytest.fixture(scope="module")
def made_source(tmp_path_factory):
    """10,030 rows whose videos are empty files, six of them without tracings."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "Videos").mkdir()
    names = [f"{split}{index:05d}" for split, count in COUNTS.items() for index in range(count)]
    untraced = {f"{split}{index:05d}" for split, count in UNTRACED.items() for index in range(count)}
    for name in names:
        (folder / "Videos" / f"{name}.avi").touch()
    rows = [f"{name},55.0,{name[:-5]}" for name in names]
    (folder / "FileList.csv").write_text("\n".join(["FileName,EF,Split", *rows]) + "\n")
    # The fewest chords that make a polygon: the list is what is tested.
    lines = [",".join(f"{value:.2f}" for value in row) for row in make_tracing(10.0, rows=4)]
    traced = [
        f"{name}.avi,{line},{frame}" for name in names if name not in untraced for frame in (3, 9) for line in lines
    ]
    (folder / "VolumeTracings.csv").write_text("\n".join(["FileName,X1,Y1,X2,Y2,Frame", *traced]) + "\n")
    return source.read_source(folder)


def test_invariant_19_every_row_of_the_list_is_read(made_source):
    assert len(made_source.listed) == len(made_source.rows) == 10_030
    assert Counter(split for _, split in made_source.listed) == COUNTS


def test_invariant_19_six_untraced_videos_leave_1276_for_testing(made_source):
    traced = Counter(row.split for row in made_source.rows if len({tracing.frame for tracing in row.tracings}) == 2)
    assert traced == {"TRAIN": 7460, "VAL": 1288, "TEST": 1276}
    assert sum(not row.tracings for row in made_source.rows) == 6
