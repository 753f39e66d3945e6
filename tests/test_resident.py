"""The data set in memory: every stage gets the batches that are streamed from disk, and trains with the same bits."""

import dataclasses
import importlib
import json

import jax
import numpy as np
import pytest

from configs import base
from echojax import data, networks, records, resident
from echojax.errors import UserError
from echojax.train import checkpoint
from echojax.train.loop import train
from echojax.train.mesh import make_mesh

STAGES = ("seg", "css", "ef", "teacher", "kd", "dfkd", "seg_masks")
STEPS = (0, 3, 8)


@pytest.fixture(scope="module")
def masks_dir(phantom_data, tmp_path_factory):
    """Masks of every frame of every split: noise, so that no two are alike."""
    videos, rng = records.open_videos(phantom_data), np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("masks")
    for split in ("TRAIN", "VAL"):
        positions = videos.select(split)
        names = videos.name[positions].tolist()
        writer = records.MaskWriter(folder, split, names, num_shards=2)
        shape = {name: (int(videos.num_frames[p]), 112, 112) for name, p in zip(names, positions, strict=True)}
        for shard, of_shard in writer.pending():
            masks = ((name, rng.integers(0, 256, shape[name], dtype=np.uint8)) for name in of_shard)
            writer.write_shard(shard, masks)
        writer.finish()
    return folder


@pytest.fixture(scope="module")
def teacher_dir(phantom_data, tmp_path_factory):
    """A teacher of random weights."""
    config = make_config("teacher", phantom_data, "")
    description = networks.describe_video(config.network, in_channels=4)
    network = networks.build_network(description)
    preprocessing = data.dataset_preprocessing(records.open_videos(phantom_data), 8, 2, 4)
    metadata = checkpoint.Metadata("teacher", network.description, preprocessing, 0, None, {}, {}, {})
    folder = tmp_path_factory.mktemp("teacher")
    checkpoint.save_weights(folder, network.params, network.stats, metadata)
    return folder


def make_config(stage, data_dir, masks_dir, teacher_dir=""):
    """Small networks; clips of 32 frames, period 2, reach beyond the ends of these videos."""
    config = base.get_config()
    config.stage, config.init_from = stage, "random"
    config.data_dir, config.masks_dir, config.teacher_dir = str(data_dir), str(masks_dir), str(teacher_dir)
    config.network.width, config.network.blocks = 2, (1, 1, 1, 1)
    config.labels.num_labelled, config.labels.num_unlabelled = 6, 6
    config.css.period = 1
    config.clip.num_frames = 8 if stage == "kd" else 32
    config.kd.unlabelled_batch_size = 4
    config.dfkd.num_blocks, config.dfkd.num_layers, config.dfkd.width = 1, 1, 2
    config.train.batch_size = 2
    if stage in ("dfkd", "seg_masks"):
        config.clip.num_frames = 5
    return config


def build(stage, *folders):
    return importlib.import_module(f"echojax.stages.{stage}").build(make_config(stage, *folders))


@pytest.mark.parametrize("name", STAGES)
def test_batches_have_the_bits_of_streamed_ones(name, phantom_data, masks_dir, teacher_dir):
    stage = build(name, phantom_data, masks_dir, teacher_dir)
    flats = resident.lay_out(sources_of(stage.batches))
    on_devices = resident.put_on_devices(stage.batches, flats, make_mesh())
    on_host = resident.read_from_host(stage.batches, flats)
    for step in STEPS:
        streamed = stage.batches.batch(step)
        numbered = on_devices.batches.batch(step)
        assert_equal(jax.jit(on_devices.cut)(on_devices.rows, numbered), streamed)
        assert_equal(on_host.batch(step), streamed)
        pictures = [field for stream in stage.batches.streams.values() for field in stream.source.pictures]
        for fields in numbered.values():
            assert all(fields[field].dtype == np.int32 for field in pictures if field in fields)


def test_clips_beyond_the_end_of_a_video_are_among_them(phantom_data, masks_dir):
    batch = build("teacher", phantom_data, masks_dir).batches.batch(0)["labelled"]
    assert (batch["num_valid"] < 32).all()
    assert not batch["clip"][:, -1].any() and not batch["mask"][:, -1].any()


@pytest.fixture(scope="module")
def rgb(tmp_path_factory):
    """Five videos in colour, with masks."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("rgb")
    frames = [rng.integers(0, 256, (12 + number, 16, 16, 3), dtype=np.uint8) for number in range(5)]
    videos = [records.VideoRecord(f"video{n}", "TRAIN", n, f, fps=50.0) for n, f in enumerate(frames)]
    path = folder / records.example.shard_name("echonet", "TRAIN", 0, 1)
    summary = records.write_video_shard(path, videos, channels=3)
    records.build_video_index(folder, channels=3)
    shards = {"TRAIN": [(summary.num_records, summary.num_bytes)]}
    records.example.write_dataset_info(folder, "echonet", records.example.video_codec(3), shards, "test")
    return records.open_videos(folder)


def test_colour_is_kept_or_dropped_as_in_streaming(rgb):
    from echojax.student_clips import StudentClips

    writer = records.MaskWriter(rgb.data_dir / "masks", "TRAIN", rgb.name, encoding="float32")
    for shard, names in writer.pending():
        writer.write_shard(shard, ((n, rgb.frames(rgb.position(n))[..., 0].astype(np.float32)) for n in names))
    writer.finish()
    masks = records.open_masks(rgb.data_dir / "masks")
    for source in (
        data.Clips(rgb, np.arange(4), num_frames=9, period=2, masks=masks, pad=3),
        StudentClips(rgb, np.arange(1, 5), masks, num_frames=6),
    ):
        batches = data.Batches({"clips": data.Stream(source, 3)}, seed=0)
        flats = resident.lay_out(sources_of(batches))
        assert flats["frames"].num_bytes == (1 + sum(rgb.num_frames[source.positions])) * 16 * 16 * 3
        on_devices = resident.put_on_devices(batches, flats, make_mesh())
        for step in STEPS:
            assert_equal(jax.jit(on_devices.cut)(on_devices.rows, on_devices.batches.batch(step)), batches.batch(step))


def test_blocks_of_every_size_make_the_same_row(rgb):
    flat = resident.FlatFrames(rgb.parts(["video1", "video3"]))
    whole = np.concatenate([np.zeros((1, 16, 16, 3), np.uint8), rgb.frames(1), rgb.frames(3)])
    for size in (1, 5, 14, 28, 29, 30, 100):
        blocks = list(flat.blocks(size))
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), whole)
        assert [first for first, _ in blocks] == list(range(0, len(whole), size))
    numbered = rgb.read_through(flat.numbers)
    np.testing.assert_array_equal(whole[numbered.frames(3, 2, 11, 4)[:, 0]], rgb.frames(3, 2, 11, 4))
    with pytest.raises(IndexError, match=r"record 0 of .* is not kept in memory"):
        numbered.frames(0)
    with pytest.raises(IndexError, match="not within the 13"):
        numbered.frames(1, 5, 14)


def test_training_has_the_same_bits_in_every_place(phantom_data, masks_dir, tmp_path):
    config = make_config("dfkd", phantom_data, masks_dir)
    config.train.max_steps, config.train.log_steps = 2, 1
    logs = {}
    for place in resident.PLACES:
        stage = resident.make_resident(importlib.import_module("echojax.stages.dfkd").build(config), place)
        workdir = tmp_path / f"run{place}"
        workdir.mkdir()
        train(stage, config, workdir, {})
        logs[place] = (workdir / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["phase"] for line in logs[""]] == ["train", "train", "validation"]
    assert logs[""] == logs["host"] == logs["device"]


def test_memory_that_does_not_suffice_is_named_before_anything_is_read(phantom_data, masks_dir, monkeypatch):
    stage = build("teacher", phantom_data, masks_dir)
    monkeypatch.setattr(resident, "free_host_bytes", lambda: 1_000_000)
    monkeypatch.setattr(resident.FlatFrames, "blocks", None)
    match = r"data\.resident=device needs 7\.\d MB for \d{3} frames \(3\.\d MB of uint8\), \d{3} masks .* 1\.0 MB free"
    with pytest.raises(UserError, match=match):
        resident.make_resident(stage, "device")
    with pytest.raises(UserError, match=r"data\.resident=host needs"):
        resident.make_resident(stage, "host")


def test_the_notes_say_what_is_kept(phantom_data, masks_dir):
    stage = build("seg", phantom_data, masks_dir)
    kept = resident.make_resident(stage, "host")
    assert kept.notes[:-1] == stage.notes and kept.notes[-1].startswith("in memory (host): ")
    assert kept.loss is stage.loss and kept.constants is stage.constants


def test_nothing_changes_unless_asked_for(phantom_data, masks_dir):
    stage = build("seg", phantom_data, masks_dir)
    assert resident.make_resident(stage, "") is stage
    with pytest.raises(UserError, match=r"data\.resident is 'gpu', expected '', 'host', 'device'"):
        resident.make_resident(stage, "gpu")


def test_a_source_that_makes_its_own_pictures_streams_on(phantom_data):
    videos = records.open_videos(phantom_data)

    @dataclasses.dataclass(frozen=True)
    class Flipped(data.ExampleSource):
        def example(self, item, rng):
            return {"clip": self.videos.frames(self.positions[item], 0, 4)[:, ::-1]}

    batches = data.Batches({"clips": data.Stream(Flipped(videos, videos.select("TRAIN")), 2)}, seed=0)
    assert resident.lay_out(sources_of(batches)) == {}
    on_devices = resident.put_on_devices(batches, {}, make_mesh())
    assert_equal(on_devices.batches.batch(1), batches.batch(1))


def sources_of(batches):
    return [stream.source for stream in batches.streams.values()]


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
