import os

import pytest

from echojax import files


def test_a_writer_that_fails_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.replaced_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_file_appears_at_the_end_in_folders_that_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "table.csv"
    with files.replaced_file(path) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".csv"
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["table.csv"]


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    (tmp_path / ".shard.1.tmp").write_text("half")
    writing = files.replaced_file(tmp_path / "index.npz")
    writing.__enter__().write_text("half")
    kept = {"shard", ".hidden", "notes.tmp"}
    for name in kept:
        (tmp_path / name).write_text("whole")
    files.remove_leftovers(tmp_path)
    assert set(os.listdir(tmp_path)) == kept
