"""Step 1 of EchoDFKD: a teacher labels a data set; whatever becomes of it on the way."""

import dataclasses
import json

import numpy as np
import pytest

from configs import base, dfkd_targets
from data_prep import echonet
from echojax import data, networks, records, run
from echojax.data import dataset_preprocessing, read_names
from echojax.errors import UserError
from echojax.records import masks as masks_lib
from echojax.train.checkpoint import Metadata, save_weights

pytestmark = pytest.mark.usefixtures("quick_compiler")


def save_network(directory, description: dict, videos, in_channels: int = 3) -> None:
    """Saves a fresh network as a run's best checkpoint."""
    network = networks.build_network(description, seed=1)
    preprocessing = dataset_preprocessing(videos, num_frames=0, period=1, in_channels=in_channels)
    if in_channels == 1:
        preprocessing = dataclasses.replace(preprocessing, mean=(0.0,), std=(1.0,))
    metadata = Metadata("seg", description, preprocessing, 7, 0.5, {"seed": 0}, {}, {})
    save_weights(directory, network.params, network.stats, metadata)


@pytest.fixture(scope="module")
def videos(phantom_data):
    return records.open_videos(phantom_data)


@pytest.fixture(scope="module")
def teacher(videos, tmp_path_factory):
    network = base.get_config().network
    network.width, network.blocks = 2, (1, 1, 1, 1)
    directory = tmp_path_factory.mktemp("teacher") / "run"
    save_network(directory, networks.describe_segmentation(network), videos)
    return directory


@pytest.fixture
def config(phantom_data, teacher, compile_cache):
    config = dfkd_targets.get_config()
    config.data_dir, config.teacher_dir = str(phantom_data), str(teacher)
    config.compile_cache_dir = str(compile_cache)
    config.infer.videos_per_shard = 2
    return config


@pytest.fixture(scope="module")
def labelled(phantom_data, teacher, compile_cache, tmp_path_factory):
    """A finished run over all splits, with EchoDFKD's files beside the records."""
    config = dfkd_targets.get_config()
    config.data_dir, config.teacher_dir = str(phantom_data), str(teacher)
    config.compile_cache_dir = str(compile_cache)
    config.infer.encoding, config.infer.seg_npz = "floor", True
    workdir = tmp_path_factory.mktemp("runs") / "dfkd_targets"
    run.run(config, workdir, "train")
    return workdir


def test_every_frame_of_every_split_has_a_mask(labelled, videos):
    masks = records.open_masks(labelled / "masks")
    assert sorted(masks.name) == sorted(videos.name)
    for position, name in enumerate(videos.name):
        assert masks.num_frames(name) == videos.num_frames[position]
    assert sorted(path.name for path in (labelled / "masks").iterdir()) == ["test", "train", "val"]
    assert set(masks.producer.values()) == {"seg, step 7, best value 0.5"}


def test_masks_are_the_teachers(labelled, videos, config, tmp_path):
    expected = run.open_run(config, tmp_path).segment_frames(videos.frames(3)[:20])
    stored = records.open_masks(labelled / "masks").frames(videos.name[3], 0, 20)
    # floor(255 p) may fall to either side where rounding decides.
    assert np.abs(stored.astype(int) - masks_lib.encode_logits(expected, "floor")).max() <= 1
    assert stored.std() > 0


def test_files_in_the_originals_layout_hold_the_same(labelled, videos):
    masks = records.open_masks(labelled / "masks")
    files = records.list_seg_files(labelled / "seg_npz")
    assert sorted(files) == sorted(videos.name)
    for name, path in files.items():
        with np.load(path) as content:
            np.testing.assert_array_equal(content["arr_0"], masks.frames(name)[:, None])


def test_traced_videos_tell_how_good_the_targets_are(labelled):
    metrics = json.loads((labelled / "metrics.json").read_text())
    assert {"dfkd_targets", "dfkd_targets_val", "dice_at_80", "lvef_echodfkd_val"} <= set(metrics)
    assert not any("teacher" in group for group in metrics), "the teacher is not compared with itself"
    assert metrics["dfkd_targets"]["dice"]["n"] == 4
    assert metrics["dfkd_targets"]["dice"]["data"] == "phantom"
    assert (labelled / "index.html").is_file()


def test_a_killed_run_goes_on_where_it_stopped(config, tmp_path):
    config.infer.splits = ("VAL",)
    run.infer_stage(config, tmp_path)
    first, second = sorted((tmp_path / "masks" / "val").glob("*.tfrecord-*"))
    bits, time = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    (tmp_path / "masks" / "val" / "dataset_info.json").unlink()
    run.infer_stage(config, tmp_path)
    assert (second.read_bytes(), first.stat().st_mtime_ns) == (bits, time)
    assert len(records.open_masks(tmp_path / "masks")) == 4


def test_another_teacher_does_not_go_on_with_the_masks_of_the_first(config, tmp_path):
    config.infer.splits = ("VAL",)
    run.infer_stage(config, tmp_path)
    plan = tmp_path / "masks" / "val" / masks_lib.PLAN_NAME
    plan.write_text(plan.read_text().replace("step 7", "step 9"))
    with pytest.raises(UserError, match="begun with producer='seg, step 9"):
        run.infer_stage(config, tmp_path)


def test_a_recurrent_network_may_be_the_teacher(config, videos, tmp_path):
    student = networks.describe_student(base.get_config().dfkd, "float32")
    save_network(tmp_path / "student", student | {"num_blocks": 1, "num_layers": 1, "width": 2}, videos, in_channels=1)
    config.teacher_dir = str(tmp_path / "student")
    config.infer.splits = ("VAL",)
    run.infer_stage(config, tmp_path / "run")
    assert len(records.open_masks(tmp_path / "run" / "masks")) == 4


def test_a_network_that_segments_nothing_is_refused(config, videos, tmp_path):
    save_network(tmp_path / "ef", networks.describe_video(base.get_config().network, 3) | {"width": 2}, videos)
    config.teacher_dir = str(tmp_path / "ef")
    with pytest.raises(UserError, match="holds a network of family video_resnet, expected one that segments"):
        run.run(config, tmp_path / "run", "train")
    config.teacher_dir = str(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"nothing does not exist; make one with: .*echojax port"):
        run.run(config, tmp_path / "run", "train")


def test_videos_without_tracings_are_labelled_all_the_same(config, tmp_path, phantom_data):
    source = phantom_data.parent / "source"
    bare = tmp_path / "bare"
    (bare / "Videos").mkdir(parents=True)
    lines = (source / "FileList.csv").read_text().splitlines()
    (bare / "FileList.csv").write_text("\n".join([lines[0], *(line for line in lines if line.endswith("VAL"))]))
    for line in lines[1:]:
        name = line.split(",")[0]
        (bare / "Videos" / f"{name}.avi").symlink_to(source / "Videos" / f"{name}.avi")
    echonet.convert(bare, tmp_path / "data", pixels="gray", workers=1, progress=False)
    config.data_dir = str(tmp_path / "data")
    config.infer.splits = ("VAL",)
    run.run(config, tmp_path / "run", "train")
    assert len(records.open_masks(tmp_path / "run" / "masks")) == 4
    # An untrained network's masks do not beat, so that there is no LVEF either.
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {}
    assert "4 videos, 0 of them traced" in (tmp_path / "run" / "index.html").read_text()


def test_a_teacher_of_another_size_is_refused(config, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "usual_size", lambda videos: (64, 64))
    with pytest.raises(UserError, match="frames are 64x64, this network was trained on 112x112"):
        run.open_run(config, tmp_path)


# --- Lists of names ---------------------------------------------------------------------------------------------------


def test_a_list_of_names_chooses_the_videos(config, videos, tmp_path):
    chosen = [str(videos.name[position]) for position in videos.select("VAL")[[0, 2]]]
    (tmp_path / "names.txt").write_text(f"{chosen[0]}.avi\r\n\n  {chosen[1]}\n")
    config.names = str(tmp_path / "names.txt")
    config.infer.splits = ("VAL",)
    run.infer_stage(config, tmp_path)
    assert sorted(records.open_masks(tmp_path / "masks").name) == sorted(chosen)
    only = videos.only(read_names(config.names))
    assert len(only.select("ALL")) == 2 and not len(only.select("TRAIN"))
    assert len(videos.select("ALL")) == 20, "the set itself is as it was"
    assert data.usual_size(only) == (112, 112)


def test_lists_that_cannot_be_used(videos, tmp_path):
    with pytest.raises(UserError, match="1 of 2 names are unknown here, such as nobody"):
        videos.only([str(videos.name[0]), "nobody"])
    with pytest.raises(UserError, match="is no readable text file"):
        read_names(str(tmp_path / "none.txt"))
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(UserError, match="is empty, expected one video's name a line"):
        read_names(str(tmp_path / "empty.txt"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="is no readable text file"):
        read_names(str(tmp_path / "binary.txt"))
