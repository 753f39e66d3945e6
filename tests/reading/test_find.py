import os
import subprocess
import sys

import numpy as np
import pytest
from tiny_dicom import NAME, make_grey, write_clip
from tiny_echonet import make_avi
from tiny_nifti import write_nifti

from echojax.reading import find_clips, read_clip


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(found) -> list[str]:
    return [source.name for source in found.sources]


def test_a_mixed_folder(tmp_path):
    put(tmp_path / "a" / "clip.avi", make_avi(0))
    put(tmp_path / "a" / "README.txt", b"hello")
    put(tmp_path / "a" / "broken.mp4", b"hello")
    put(tmp_path / "a" / ".hidden.avi", make_avi(0))
    put(tmp_path / "b" / "DICOMDIR", b"\0" * 128 + b"DICM")
    write_clip(tmp_path / "b" / "IM0001")
    np.save(tmp_path / "b" / "frames.npy", make_grey())
    write_nifti(tmp_path / "b" / "sequence.nii.gz", make_grey())
    found = find_clips([tmp_path])
    assert [source.path.name for source in found.sources] == ["clip.avi", "IM0001", "frames.npy", "sequence.nii.gz"]
    assert [source.kind.name for source in found.sources] == ["AVI", "DICOM", "NumPy", "NIfTI"]
    assert names(found)[0] == "clip" and names(found)[2:] == ["frames", "sequence"]
    failures = {skipped.path.name: skipped.is_failure for skipped in found.skipped}
    assert failures == {"README.txt": False, "broken.mp4": True, "DICOMDIR": False}


def test_what_is_asked_for_by_name_is_a_failure(tmp_path):
    found = find_clips([put(tmp_path / "README.txt", b"hello"), tmp_path / "nowhere"])
    assert [(skipped.path.name, skipped.is_failure, skipped.error.reason) for skipped in found.skipped] == [
        ("README.txt", True, "unknown"),
        ("nowhere", True, "missing"),
    ]


def test_equal_stems_are_told_apart_by_extension_or_folder(tmp_path):
    for place in ("x/one/clip.avi", "x/two/clip.avi", "y/two/clip.avi", "z/only.avi"):
        put(tmp_path / place, make_avi(0))
    assert names(find_clips([tmp_path])) == ["x-one-clip", "x-two-clip", "y-two-clip", "only"]
    assert names(find_clips([tmp_path / "x"])) == ["one-clip", "two-clip"]
    put(tmp_path / "s" / "clip.avi", make_avi(0))
    put(tmp_path / "s" / "clip.divx", make_avi(0))
    assert names(find_clips([tmp_path / "s"])) == ["clip-avi", "clip-divx"]


def test_names_fit_folders_and_never_clash(tmp_path):
    for name in ("Ä b:c?.avi", "+.avi", "q-avi.avi", "q.avi", "q.divx", "Q.AVI2", "x" * 200 + ".avi"):
        put(tmp_path / name, make_avi(0))
    found = names(find_clips([tmp_path]))
    assert len({name.lower() for name in found}) == 7
    assert all(name and not name.startswith(".") and "/" not in name and len(name) <= 125 for name in found)


def test_dicoms_are_named_by_content_and_copies_are_numbered(tmp_path):
    first = write_clip(tmp_path / f"{NAME}_1.dcm")
    put(tmp_path / f"{NAME}_2.dcm", first.read_bytes())
    one, two = names(find_clips([tmp_path]))
    assert one == read_clip(first).name and two == f"{one}-2"
    assert names(find_clips([tmp_path], keep_names=True)) == ["Doe_Jane_1", "Doe_Jane_2"]
    assert read_clip(find_clips([tmp_path]).sources[1]).name == two


def test_links_and_loops(tmp_path):
    put(tmp_path / "a" / "clip.avi", make_avi(0))
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "self.avi").symlink_to(tmp_path / "self.avi")
    (tmp_path / "gone.avi").symlink_to(tmp_path / "nowhere")
    found = find_clips([tmp_path, tmp_path / "a" / "clip.avi", tmp_path])
    assert names(found) == ["clip"]
    assert {skipped.path.name: skipped.error.reason for skipped in found.skipped} == {
        "gone.avi": "missing",
        "self.avi": "unreadable",
    }


def test_a_folder_named_like_a_clip_is_walked(tmp_path):
    put(tmp_path / "study.avi" / "clip", make_avi(0))
    assert names(find_clips([tmp_path])) == ["clip"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    (tmp_path / "locked").mkdir(mode=0)
    found = find_clips([tmp_path])
    assert [skipped.error.reason for skipped in found.skipped] == ["not_a_file"]


def test_finding_loads_no_decoder():
    program = "import sys, echojax.reading; print({'cv2', 'pydicom'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"
