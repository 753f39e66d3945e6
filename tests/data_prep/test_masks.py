import numpy as np
import pytest
import tiny_echonet

from data_prep import __main__ as command_line
from data_prep import echonet, masks
from echojax import records
from echojax.errors import UserError

SPLITS = {"a": "TRAIN", "b": "TRAIN", "c": "VAL"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("masks")
    echonet.convert(tiny_echonet.make_source(SPLITS).write(root / "source"), root / "data", workers=1, progress=False)
    return records.open_videos(root / "data")


@pytest.fixture
def source(tmp_path):
    """As CSS writes them: float32 logits, one per frame."""
    rng = np.random.default_rng(0)
    for name, split in SPLITS.items():
        folder = tmp_path / "output" / f"{split.lower()}_infer_cmpct"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", rng.normal(0, 5, (10, 32, 32)).astype(np.float32))
    return tmp_path / "output"


def read_npy(folder):
    return {path.relative_to(folder).as_posix(): np.load(path) for path in sorted(folder.rglob("*.npy"))}


def test_logits_come_back_as_they_were(source, videos, tmp_path):
    assert masks.from_npy(source, tmp_path / "masks", videos, "float32", progress=False) == []
    assert masks.to_npy(tmp_path / "masks", tmp_path / "back", progress=False) == 3
    before, after = read_npy(source), read_npy(tmp_path / "back")
    assert list(before) == list(after)
    for path, logits in after.items():
        np.testing.assert_array_equal(logits, before[path])
        # What the original's loader expects of such a file.
        assert logits.dtype == np.float32
        assert logits.shape == (videos.num_frames[videos.position(path.split("/")[1][:-4])], 32, 32)


@pytest.mark.parametrize("encoding", ["uint8", "floor"])
def test_quantised_masks_come_back_as_logits(encoding, source, tmp_path):
    masks.from_npy(source, tmp_path / "masks", encoding=encoding, progress=False)
    masks.to_npy(tmp_path / "masks", tmp_path / "back", progress=False)
    before, after = read_npy(source), read_npy(tmp_path / "back")
    for path, logits in after.items():
        probability, expected = 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-before[path]))
        assert np.abs(probability - expected).max() <= 1.001 / 255
        assert logits.dtype == np.float32


@pytest.mark.parametrize(
    "change, kind",
    [
        (lambda path: np.save(path, np.zeros((9, 32, 32), np.float32)), "mask_shape_differs"),
        (lambda path: np.save(path, np.zeros((10, 32, 16), np.float32)), "mask_shape_differs"),
        (lambda path: np.save(path, np.zeros((10, 32, 32), np.float64)), "mask_not_logits"),
        (lambda path: np.save(path, np.zeros((10, 1, 32, 32), np.float32)), "mask_not_logits"),
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "mask_unreadable"),
        (lambda path: path.write_bytes(b""), "mask_unreadable"),
        (lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True), "mask_unreadable"),
        (lambda path: path.rename(path.with_name("z.npy")), "mask_without_video"),
    ],
    ids=["frames", "size", "dtype", "axes", "cut", "empty", "pickle", "unknown"],
)
def test_unusable_files_are_listed(change, kind, source, videos, tmp_path, capsys):
    change(source / "train_infer_cmpct" / "b.npy")
    arguments = ["masks", f"--source={source}", f"--data_dir={tmp_path / 'masks'}", f"--videos={videos.data_dir}"]
    assert command_line.main(arguments) == 1
    assert f"[{kind}; left out]" in capsys.readouterr().out
    assert sorted(records.open_masks(tmp_path / "masks").name) == ["a", "c"]
    assert kind in (tmp_path / "masks" / "train" / "report.csv").read_text()


def test_command_line_both_ways(source, videos, tmp_path, capsys):
    arguments = ["masks", f"--source={source}", f"--data_dir={tmp_path / 'masks'}", f"--videos={videos.data_dir}"]
    assert command_line.main(arguments) == 0
    assert "masks of 3 videos" in capsys.readouterr().out
    stored = records.open_masks(tmp_path / "masks")
    expected = records.encode_logits(np.load(source / "val_infer_cmpct" / "c.npy"), "uint8")
    np.testing.assert_array_equal(stored.frames("c", 2, 9, 3), expected[2:9:3])
    back = ["masks", "--to_npy", f"--source={tmp_path / 'masks'}", f"--data_dir={tmp_path / 'back'}"]
    assert command_line.main(back) == 0
    assert "3 files written" in capsys.readouterr().out
    (tmp_path / "back" / "val_infer_cmpct" / "c.npy").unlink()
    assert command_line.main(back) == 0
    assert "1 files written" in capsys.readouterr().out


def test_interrupted_import_goes_on(source, tmp_path):
    masks.from_npy(source, tmp_path / "masks", progress=False)
    shard = next((tmp_path / "masks" / "train").glob("*.tfrecord-*"))
    time = shard.stat().st_mtime_ns
    (tmp_path / "masks" / "train" / "dataset_info.json").unlink()
    masks.from_npy(source, tmp_path / "masks", progress=False)
    assert shard.stat().st_mtime_ns == time
    assert len(records.open_masks(tmp_path / "masks")) == 3


def test_wrong_use(tmp_path, capsys):
    with pytest.raises(UserError, match="holds none of the folders train_infer_cmpct"):
        masks.from_npy(tmp_path, tmp_path / "masks", progress=False)
    (tmp_path / "val_infer_cmpct").mkdir()
    with pytest.raises(UserError, match=r"holds no usable \.npy file"):
        masks.from_npy(tmp_path, tmp_path / "masks", progress=False)
    assert command_line.main(["masks", "--to_npy", f"--source={tmp_path}", f"--data_dir={tmp_path / 'back'}"]) == 2
    assert "holds no folder of masks" in capsys.readouterr().err
