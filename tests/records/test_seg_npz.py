"""EchoDFKD's mask files in every shape in which its scripts leave them."""

import numpy as np
import pytest

from echojax import records
from echojax.errors import UserError
from echojax.records.seg_npz import MaskFileError

MASKS = np.random.default_rng(0).integers(0, 256, (5, 6, 8), dtype=np.uint8)


@pytest.mark.parametrize("layout, shape", [("teacher", (5, 1, 6, 8)), ("student", (1, 5, 1, 6, 8))])
def test_written_files_have_the_originals_layout(layout, shape, tmp_path):
    path = tmp_path / "a.seg.npz"
    records.write_seg_file(path, MASKS, layout)
    with np.load(path) as content:
        assert content.files == ["arr_0"]
        assert (content["arr_0"].shape, content["arr_0"].dtype) == (shape, np.uint8)
    np.testing.assert_array_equal(records.read_seg_file(path), MASKS)
    assert [each.name for each in tmp_path.iterdir()] == ["a.seg.npz"]


def test_logits_are_rounded_down(tmp_path):
    logits = np.float32([[[-0.77, 0.0, 5.0]]])
    records.write_seg_file(tmp_path / "a.seg.npz", logits)
    assert records.read_seg_file(tmp_path / "a.seg.npz").ravel().tolist() == [80, 127, 253]


ARR_0_SHAPES = [(5, 6, 8), (5, 1, 6, 8), (1, 5, 6, 8), (1, 5, 1, 6, 8), (1, 1, 5, 6, 8)]


@pytest.mark.parametrize(
    "key, shape", [("output", (5, 1, 6, 8)), ("output", (5, 6, 8)), *(("arr_0", shape) for shape in ARR_0_SHAPES)]
)
def test_axes_of_length_one_are_dropped(key, shape, tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **{key: MASKS.reshape(shape)})
    np.testing.assert_array_equal(records.read_seg_file(tmp_path / "a.npz"), MASKS)


@pytest.mark.parametrize("shape", [(1, 6, 8), (1, 1, 6, 8), (1, 1, 1, 6, 8)])
def test_one_frame_stays_a_frame(shape, tmp_path):
    np.savez(tmp_path / "a.npz", MASKS[0].reshape(shape))
    np.testing.assert_array_equal(records.read_seg_file(tmp_path / "a.npz"), MASKS[:1])


def test_channel_zero_of_output_counts(tmp_path):
    np.savez(tmp_path / "a.npz", output=np.stack([MASKS, 255 - MASKS], axis=1))
    np.testing.assert_array_equal(records.read_seg_file(tmp_path / "a.npz"), MASKS)


def test_older_files_of_logits_and_of_binary_masks(tmp_path):
    logits = np.random.default_rng(1).normal(0, 4, (5, 6, 8))
    np.save(tmp_path / "logits.npy", logits)
    read = records.read_seg_file(tmp_path / "logits.npy")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, logits.astype(np.float32))
    for name, binary in (("bool", logits > 0), ("uint8", (logits > 0).astype(np.uint8)[:, None])):
        np.save(tmp_path / f"{name}.npy", binary)
        np.testing.assert_array_equal(records.read_seg_file(tmp_path / f"{name}.npy"), np.where(logits > 0, 255, 0))


def test_files_are_looked_for_in_the_originals_order(tmp_path):
    for name in ("a.npz", "a.seg.npz", "a_predictions.npz", "b.npz", "b_predictions.npz", "c.npz", "d.npy", ".e.npz"):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    found = {name: path.name for name, path in records.list_seg_files(tmp_path).items()}
    assert found == {"a": "a.seg.npz", "b": "b_predictions.npz", "c": "c.npz", "d": "d.npy"}


@pytest.mark.parametrize(
    "name, write, kind, text",
    [
        ("a.npz", lambda path: path.write_bytes(b""), "mask_unreadable", "no readable mask file"),
        ("a.npz", lambda path: path.write_bytes(b"PK\x03\x04 cut"), "mask_unreadable", "no readable mask file"),
        ("a.npz", lambda path: np.savez(path, masks=MASKS), "mask_unexpected", "the arrays masks, expected arr_0"),
        ("a.npz", lambda path: np.savez(path, MASKS[0]), "mask_unexpected", r"uint8 \(6, 8\)"),
        ("a.npz", lambda path: np.savez(path, MASKS.astype(int)), "mask_unexpected", r"int64 \(5, 6, 8\)"),
        ("a.npz", lambda path: np.savez(path, np.stack([MASKS, MASKS])), "mask_unexpected", r"\(2, 5, 6, 8\)"),
        ("a.npz", lambda path: np.savez(path, MASKS[:0]), "mask_unexpected", r"\(0, 6, 8\)"),
        ("a.npy", lambda path: np.save(path, np.full((2, 6, 8), np.nan)), "mask_unexpected", "not finite"),
        ("a.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True), "mask_unreadable", "no readable"),
    ],
    ids=["empty", "cut", "key", "axes", "type", "two videos", "no frame", "nan", "pickle"],
)
def test_other_files_are_refused(name, write, kind, text, tmp_path):
    write(tmp_path / name)
    with pytest.raises(MaskFileError, match=text) as caught:
        records.read_seg_file(tmp_path / name)
    assert caught.value.kind == kind
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("position", range(60, 180, 10))
def test_a_flipped_byte_is_noticed(position, tmp_path):
    path = tmp_path / "a.seg.npz"
    records.write_seg_file(path, MASKS)
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(MaskFileError):
        records.read_seg_file(path)


def test_unknown_layout(tmp_path):
    with pytest.raises(UserError, match="expected 'teacher' or 'student'"):
        records.write_seg_file(tmp_path / "a.seg.npz", MASKS, "nobody")


def test_export_keeps_what_is_there(tmp_path):
    writer = records.MaskWriter(tmp_path / "masks", "TRAIN", ["a", "b"], encoding="floor")
    for shard, names in writer.pending():
        writer.write_shard(shard, ((name, MASKS) for name in names))
    writer.finish()
    masks = records.open_masks(tmp_path / "masks")
    assert records.export_seg_files(masks, tmp_path / "files") == 2
    (tmp_path / "files" / "b.seg.npz").unlink()
    assert records.export_seg_files(masks, tmp_path / "files") == 1
    np.testing.assert_array_equal(records.read_seg_file(tmp_path / "files" / "b.seg.npz"), MASKS)
