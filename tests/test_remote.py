"""Folders in a bucket: copied to work on, and back, whole or not at all."""

import json
import os

import numpy as np
import pytest
from bucket import connect

from configs import dfkd
from data_prep.phantom.truth import write_truth
from echojax import files, records, remote, run
from echojax.errors import UserError
from echojax.train import checkpoint


@pytest.fixture(autouse=True)
def bucket(tmp_path, monkeypatch):
    monkeypatch.setenv("EPATH_USE_TF", "false")
    monkeypatch.setattr(remote, "_cache", tmp_path / "cache")
    bucket = connect()
    bucket.empty()
    yield bucket
    bucket.empty()


def put(bucket, folder, place):
    """Copies a local folder to the bucket."""
    bucket().put(str(folder), place, recursive=True)


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read_all(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_local_places_stay_what_they_are(tmp_path, bucket):
    assert remote.local_folder(tmp_path) == tmp_path
    with remote.working_folder(str(tmp_path)) as folder:
        assert folder == tmp_path
        remote.publish(folder)
    assert not bucket.log and not remote.is_remote(tmp_path) and remote.is_remote("gs://b/x")


def test_videos_and_masks_are_read_from_a_copy_that_is_made_once(phantom_data, tmp_path, bucket):
    put(bucket, phantom_data, "gs://bucket/echonet")
    write_truth(phantom_data.parent / "source", tmp_path / "truth")
    put(bucket, tmp_path / "truth", "gs://bucket/truth")
    videos, masks = records.open_videos("gs://bucket/echonet"), records.open_masks("gs://bucket/truth")
    assert videos.data_dir == tmp_path / "cache/gs/bucket/echonet"
    local = records.open_videos(phantom_data)
    np.testing.assert_array_equal(videos.frames(3, 5, 20, 3), local.frames(3, 5, 20, 3))
    assert masks.frames(local.name[3]).shape == (local.num_frames[3], 112, 112)
    bucket.log.clear()
    records.open_videos("gs://bucket/echonet")
    assert not [name for mode, name in bucket.log if mode == "rb"]


def test_what_changed_in_the_bucket_is_copied_again_and_what_went_is_removed(tmp_path, bucket):
    write(tmp_path / "a", {"index.npz": "one", "old": "x", "sub/shard": "two"})
    put(bucket, tmp_path / "a", "gs://bucket/a")
    folder = remote.local_folder("gs://bucket/a")
    assert read_all(folder) == read_all(tmp_path / "a")
    bucket().rm("gs://bucket/a/old")
    bucket().pipe("gs://bucket/a/sub/shard", b"three")
    bucket.log.clear()
    assert read_all(remote.local_folder("gs://bucket/a")) == {"index.npz": "one", "sub/shard": "three"}
    assert [name for mode, name in bucket.log if mode == "rb"] == ["/bucket/a/sub/shard"]
    # A copy that somebody touched is no copy.
    os.utime(folder / "index.npz", (1, 1))
    (folder / "index.npz").write_text("two")
    os.utime(folder / "index.npz", (1, 1))
    assert read_all(remote.local_folder("gs://bucket/a"))["index.npz"] == "one"


def test_a_download_that_breaks_off_leaves_no_half_file(tmp_path, bucket, monkeypatch):
    write(tmp_path / "a", {"shard": "whole"})
    put(bucket, tmp_path / "a", "gs://bucket/a")

    def break_off(source, target, size):
        target.write(b"wh")
        raise ConnectionError("the network is down")

    monkeypatch.setattr(remote.shutil, "copyfileobj", break_off)
    with pytest.raises(UserError, match=r"gs://bucket/a: cannot be reached or copied .*network is down"):
        remote.local_folder("gs://bucket/a")
    assert read_all(tmp_path / "cache/gs/bucket/a") == {}


def test_errors_name_the_place(bucket, monkeypatch):
    with pytest.raises(UserError, match=r"gs://bucket/none: holds no files"):
        records.open_videos("gs://bucket/none")
    with pytest.raises(UserError, match=r"ftp://bucket/none: cannot be reached"):
        remote.local_folder("ftp://bucket/none")
    bucket().pipe("gs://bucket/a/shard", b"12345")
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda path: os.terminal_size((1, 2)) and _Free())
    with pytest.raises(UserError, match=r"0\.0 GB are to be copied to .*, which has 0\.0 GB free; give another disk"):
        remote.local_folder("gs://bucket/a")


class _Free:
    free = 4


CHECKPOINTS = {
    "best/_CHECKPOINT_METADATA": "best 1",
    "best/weights/d/1": "w1",
    "checkpoints/1/_CHECKPOINT_METADATA": "step 1",
    "checkpoints/1/weights/d/1": "w1",
    "log.jsonl": "1\n",
}


def test_a_run_goes_on_from_the_bucket_and_back(bucket):
    with remote.working_folder("gs://bucket/runs/css") as workdir:
        write(workdir, CHECKPOINTS)
        with files.replaced_file(workdir / "half") as temporary:
            temporary.write_text("not yet whole")
            remote.publish(workdir)
            assert not any("half" in name for name in bucket.names())
        (workdir / "half").unlink()
        assert bucket.names() == {f"bucket/runs/css/{name}" for name in CHECKPOINTS}
        (workdir / "log.jsonl").write_text("1\n2\n")
        bucket.log.clear()
    uploads = [name for mode, name in bucket.log if mode == "wb"]
    assert uploads == ["/bucket/runs/css/log.jsonl"]
    write(workdir, {"left behind": "by a run that was killed"})
    with remote.working_folder("gs://bucket/runs/css") as workdir:
        assert read_all(workdir) == CHECKPOINTS | {"log.jsonl": "1\n2\n"}
    assert uploads == [name for mode, name in bucket.log if mode == "wb"]


def test_a_log_that_grows_while_it_is_copied_goes_again(bucket, monkeypatch):
    copy = remote.shutil.copyfileobj

    def copy_while_it_grows(source, target, size):
        copy(source, target, size)
        with open(source.name, "a") as log:
            log.write("2\n")

    with remote.working_folder("gs://bucket/runs/css") as workdir:
        write(workdir, {"log.jsonl": "1\n"})
        with monkeypatch.context() as patch:
            patch.setattr(remote.shutil, "copyfileobj", copy_while_it_grows)
            remote.publish(workdir)
    assert bucket().cat("gs://bucket/runs/css/log.jsonl") == b"1\n2\n"


def next_step(workdir):
    """A new best checkpoint, a new step in the place of the old one."""
    (workdir / "checkpoints/1/weights/d/1").unlink()
    (workdir / "checkpoints/1/_CHECKPOINT_METADATA").unlink()
    (workdir / "best/weights/d/1").unlink()
    write(
        workdir,
        {
            "best/_CHECKPOINT_METADATA": "best 2",
            "best/weights/d/2": "w2",
            "checkpoints/2/_CHECKPOINT_METADATA": "step 2",
            "checkpoints/2/weights/d/2": "w2",
            "log.jsonl": "1\n2\n",
        },
    )


@pytest.mark.parametrize("uploads", range(6))
def test_checkpoints_are_whole_wherever_the_machine_is_lost(uploads, bucket):
    with remote.working_folder("gs://bucket/runs/css") as workdir:
        write(workdir, CHECKPOINTS)
        remote.publish(workdir)
        next_step(workdir)
        bucket.uploads_left = uploads
        if uploads < 5:
            with pytest.raises(UserError, match="network is down"):
                remote.publish(workdir)
        else:
            remote.publish(workdir)
        found = {
            name.removeprefix("bucket/runs/css/"): bucket().cat(f"gs://{name}").decode() for name in bucket.names()
        }
        bucket.uploads_left = float("inf")
    weights = {"best 1": "w1", "best 2": "w2", "step 1": "w1", "step 2": "w2"}
    steps = {name: text for name, text in found.items() if name.endswith("_CHECKPOINT_METADATA")}
    for name, text in steps.items():
        assert found[name.replace("_CHECKPOINT_METADATA", f"weights/d/{text[-1]}")] == weights[text]
    assert any(text.startswith("step") for text in steps.values()), "nothing to resume from"
    if "step 2" in steps.values():
        assert steps["best/_CHECKPOINT_METADATA"] == "best 2"
    assert bucket.names() == {f"bucket/runs/css/{name}" for name in read_all(workdir)}


@pytest.fixture
def student(phantom_data, tmp_path, bucket):
    """The config of a small student whose inputs are in the bucket, and the same with local inputs."""
    write_truth(phantom_data.parent / "source", tmp_path / "truth")
    put(bucket, phantom_data, "gs://bucket/echonet")
    put(bucket, tmp_path / "truth", "gs://bucket/truth")
    config = dfkd.get_config()
    config.dfkd.update(num_blocks=1, num_layers=1, width=2)
    config.clip.num_frames, config.compile_cache_dir = 3, ""
    config.train.update(batch_size=6, num_epochs=2, log_steps=1, keep_checkpoints=1)
    config.infer.splits = ("VAL",)
    config.data_dir, config.masks_dir = str(phantom_data), str(tmp_path / "truth")
    local = config.copy_and_resolve_references()
    config.data_dir, config.masks_dir = "gs://bucket/echonet", "gs://bucket/truth"
    return config, local


def test_a_run_in_a_bucket_that_changes_machines_is_an_undisturbed_one(student, tmp_path, bucket):
    config, local = student
    for machine, max_steps in (("first", 2), ("second", -1)):
        remote.use_cache(tmp_path / machine)
        config.train.max_steps = max_steps
        with remote.working_folder("gs://bucket/runs/dfkd") as workdir:
            run.train_network(config, workdir)
    (tmp_path / "local").mkdir()
    run.train_network(local, tmp_path / "local")
    logs = [(tmp_path / "local/log.jsonl").read_bytes(), bucket().cat("gs://bucket/runs/dfkd/log.jsonl")]
    undisturbed, resumed = ([json.loads(line) for line in log.splitlines()] for log in logs)
    assert [entry["step"] for entry in undisturbed] == [1, 2, 2, 3, 4, 4]  # a validation after each epoch
    assert resumed == undisturbed
    names = {name.removeprefix("bucket/runs/dfkd/") for name in bucket.names() if name.startswith("bucket/runs/dfkd/")}
    assert {name.split("/")[1] for name in names if name.startswith("checkpoints/")} == {"4"}
    assert {"best/_CHECKPOINT_METADATA", "checkpoints/4/_CHECKPOINT_METADATA", "config.json", "log.jsonl"} <= names
    assert not [name for name in names if ".tmp" in name or ".old" in name or ".new" in name]

    config.data.cache_dir = str(tmp_path / "third")
    assert run.run(config, "gs://bucket/runs/dfkd", "infer") == 0
    masks = records.open_masks("gs://bucket/runs/dfkd/masks")
    assert len(masks) == 4 and masks.masks_dir == tmp_path / "third/gs/bucket/runs/dfkd/masks"
    remote.use_cache(tmp_path / "fourth")
    found = checkpoint.find_checkpoint("gs://bucket/runs/dfkd", "main.py")
    assert found == tmp_path / "fourth/gs/bucket/runs/dfkd/best"
    assert checkpoint.load_metadata(found).stage == "dfkd"
    assert not (tmp_path / "fourth/gs/bucket/runs/dfkd/masks").exists()


def test_shards_of_masks_are_published_one_by_one(bucket):
    with remote.working_folder("gs://bucket/runs/css") as workdir:
        writer = records.MaskWriter(workdir / "masks", "VAL", ["a", "b"], num_shards=2)
        for shard, names in writer.pending():
            writer.write_shard(shard, ((name, np.zeros((2, 4, 4), np.uint8)) for name in names))
            assert sum("tfrecord" in name for name in bucket.names()) == shard + 1
        writer.finish()
    masks = records.open_masks("gs://bucket/runs/css/masks")
    assert sorted(masks.name) == ["a", "b"]


def test_places_that_must_be_local_are_refused(phantom_data, monkeypatch):
    config = dfkd.get_config("smoke")
    config.data_dir = "gs://bucket/phantoms"
    with pytest.raises(UserError, match="phantoms are made in a local folder"):
        run.run(config, "gs://bucket/runs/dfkd", "train")
    monkeypatch.setattr(run.jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="several processes write into one folder; mount the bucket"):
        run.run(config, "gs://bucket/runs/dfkd", "train")
