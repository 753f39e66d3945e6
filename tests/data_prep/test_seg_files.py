"""EchoDFKD's folders of mask files and the truth of phantoms as mask records."""

import numpy as np
import pytest
import tiny_echonet

from data_prep import __main__ as command_line
from data_prep import echonet, seg_files, verify
from data_prep.phantom import dataset, render
from data_prep.phantom.truth import write_truth
from echojax import records
from echojax.errors import UserError

SPLITS = {"a": "TRAIN", "b": "TRAIN", "c": "VAL", "d": "TEST"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("seg")
    echonet.convert(tiny_echonet.make_source(SPLITS).write(root / "source"), root / "data", workers=1, progress=False)
    return records.open_videos(root / "data")


def make_masks(name: str) -> np.ndarray:
    return np.random.default_rng(ord(name)).integers(0, 256, (10, 32, 32), dtype=np.uint8)


@pytest.fixture
def source(tmp_path):
    """One folder for all splits, as the teacher's and the student's script leave it."""
    for name in SPLITS:
        layout = "student" if name == "c" else "teacher"
        records.write_seg_file(tmp_path / "Output" / f"{name}.seg.npz", make_masks(name), layout)
    return tmp_path / "Output"


def test_files_keep_their_bits_on_the_way_in_and_out(source, videos, tmp_path, capsys):
    arguments = ["masks", f"--source={source}", f"--data_dir={tmp_path / 'masks'}", f"--videos={videos.data_dir}"]
    assert command_line.main(arguments) == 0
    assert "masks of 4 videos" in capsys.readouterr().out
    masks = records.open_masks(tmp_path / "masks")
    assert masks.encoding == "floor"
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["test", "train", "val"]
    for name in SPLITS:
        np.testing.assert_array_equal(masks.frames(name), make_masks(name))
    back = ["masks", "--to_seg", f"--source={tmp_path / 'masks'}", f"--data_dir={tmp_path / 'back'}"]
    assert command_line.main(back) == 0
    for name in SPLITS:
        with np.load(tmp_path / "back" / f"{name}.seg.npz") as content:
            np.testing.assert_array_equal(content["arr_0"], make_masks(name)[:, None])


def test_files_of_logits_are_encoded(videos, tmp_path):
    logits = np.random.default_rng(0).normal(0, 4, (10, 32, 32)).astype(np.float32)
    for name in ("a", "c"):
        (tmp_path / "Output").mkdir(exist_ok=True)
        np.save(tmp_path / "Output" / f"{name}.npy", logits)
    seg_files.from_seg_files(tmp_path / "Output", tmp_path / "masks", videos, progress=False)
    masks = records.open_masks(tmp_path / "masks")
    assert masks.encoding == "uint8"
    np.testing.assert_array_equal(masks.frames("a"), records.encode_logits(logits, "uint8"))


def test_stored_probabilities_may_become_logits(source, videos, tmp_path):
    seg_files.from_seg_files(source, tmp_path / "masks", videos, "float32", progress=False)
    masks = records.open_masks(tmp_path / "masks")
    np.testing.assert_array_equal(masks.frames("a"), records.decode_logits(make_masks("a")))


@pytest.mark.parametrize(
    "change, kind",
    [
        (lambda folder: (folder / "b.seg.npz").write_bytes(b""), "mask_unreadable"),
        (lambda folder: np.savez(folder / "b.seg", np.zeros((10, 2, 32, 32), np.uint8)), "mask_unexpected"),
        (lambda folder: records.write_seg_file(folder / "b.seg.npz", make_masks("b")[:9]), "mask_shape_differs"),
        (lambda folder: records.write_seg_file(folder / "b.seg.npz", make_masks("b")[:, :16]), "mask_shape_differs"),
        (lambda folder: (folder / "b.seg.npz").rename(folder / "z.seg.npz"), "mask_without_video"),
    ],
    ids=["empty", "channels", "frames", "size", "unknown"],
)
def test_a_bad_file_never_loses_the_rest(change, kind, source, videos, tmp_path, capsys):
    change(source)
    arguments = ["masks", f"--source={source}", f"--data_dir={tmp_path / 'masks'}", f"--videos={videos.data_dir}"]
    assert command_line.main(arguments) == 1
    assert f"[{kind}; left out]" in capsys.readouterr().out
    assert sorted(records.open_masks(tmp_path / "masks").name) == ["a", "c", "d"]
    assert kind in (tmp_path / "masks" / "train" / "report.csv").read_text()
    assert verify.run(verify_arguments(tmp_path / "masks")) == 0


def test_interrupted_import_goes_on(source, videos, tmp_path):
    seg_files.from_seg_files(source, tmp_path / "masks", videos, progress=False)
    kept = next((tmp_path / "masks" / "train").glob("*.tfrecord-*"))
    time = kept.stat().st_mtime_ns
    next((tmp_path / "masks" / "val").glob("*.tfrecord-*")).unlink()
    seg_files.from_seg_files(source, tmp_path / "masks", videos, progress=False)
    assert kept.stat().st_mtime_ns == time
    np.testing.assert_array_equal(records.open_masks(tmp_path / "masks").frames("c"), make_masks("c"))


def test_wrong_use(source, videos, tmp_path, capsys):
    assert command_line.main(["masks", f"--source={source}", f"--data_dir={tmp_path / 'masks'}"]) == 2
    assert "give --videos=DATA_DIR" in capsys.readouterr().err
    assert command_line.main(["masks", f"--source={tmp_path / 'none'}", f"--data_dir={tmp_path / 'masks'}"]) == 2
    assert "no such folder" in capsys.readouterr().err
    for path in source.iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="holds no usable mask file; first: a: "):
        seg_files.from_seg_files(source, tmp_path / "masks", videos, progress=False)


def verify_arguments(directory):
    import argparse

    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)
    return parser.parse_args([str(directory)])


# --- The truth of phantoms --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "phantoms"
    return dataset.write_dataset(folder, 3, 11, num_frames=(16, 20), split_shares=(0.4, 0.3, 0.3), workers=1)


def test_truth_is_that_of_the_rendered_phantoms(phantoms, tmp_path, capsys):
    assert command_line.main(["masks", f"--source={phantoms}", f"--data_dir={tmp_path / 'truth'}"]) == 0
    assert "masks of 3 videos" in capsys.readouterr().out
    masks = records.open_masks(tmp_path / "truth")
    echonet.convert(phantoms, tmp_path / "data", workers=1, progress=False)
    videos = records.open_videos(tmp_path / "data")
    assert sorted(masks.name) == sorted(videos.name)
    request = dataset.read_request(phantoms)
    for index in range(3):
        phantom = render(dataset.draw_phantom(request, index))
        name = phantom.parameters.name
        np.testing.assert_array_equal(masks.frames(name), np.where(phantom.masks, 255, 0))
        assert name in records.open_masks(tmp_path / "truth" / videos.split[videos.position(name)].lower())


def test_truth_as_logits(phantoms, tmp_path):
    write_truth(phantoms, tmp_path / "truth", "float32")
    masks = records.open_masks(tmp_path / "truth")
    np.testing.assert_allclose(np.unique(masks.frames(masks.name[0])), [-6.93, 6.93], atol=0.01)


def test_truth_of_other_phantoms_is_refused(phantoms, tmp_path):
    write_truth(phantoms, tmp_path / "truth")
    other = dataset.write_dataset(tmp_path / "other", 3, 12, num_frames=16, workers=1)
    with pytest.raises(UserError, match="begun with"):
        write_truth(other, tmp_path / "truth")
    manifest = other / dataset.MANIFEST
    manifest.write_text(manifest.read_text().replace(f'"version": {dataset.GENERATOR_VERSION}', '"version": 0'))
    with pytest.raises(UserError, match="made by version 0 of the generator"):
        write_truth(other, tmp_path / "again")
    with pytest.raises(UserError, match="these are no phantoms"):
        write_truth(tmp_path, tmp_path / "again")
