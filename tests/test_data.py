"""Batches: what they hold, in which order, for whom."""

import jax
import numpy as np
import pytest

from configs import base
from echojax import data, records
from echojax.errors import UserError
from echojax.stages import common


@pytest.fixture(scope="module")
def videos(phantom_data):
    return records.open_videos(phantom_data)


def make_batches(videos, batch_size=3, seed=0, **hosts):
    positions = videos.select("TRAIN")
    clips = data.Clips(videos, positions, num_frames=8, period=2, pad=12)
    return data.Batches(
        {
            "labelled": data.Stream(data.TracedFrames(videos, positions), batch_size),
            "clips": data.Stream(clips, 5),
        },
        seed,
        **hosts,
    )


def test_a_batch_is_a_function_of_seed_and_step(videos):
    first, second = make_batches(videos), make_batches(videos)
    for step in (0, 3, 9):
        assert_equal(first.batch(step), second.batch(step))
    other_seed = make_batches(videos, seed=1)
    assert any(first.names(step) != other_seed.names(step) for step in range(4))


def test_reading_ahead_and_resuming_change_nothing(videos):
    batches = make_batches(videos)
    read = list(batches.iterate(first_step=2, num_steps=7, num_threads=2, prefetch=3))
    assert len(read) == 5
    for step, batch in enumerate(read, start=2):
        assert_equal(batch, batches.batch(step))


def test_an_epoch_holds_every_video_once_and_the_next_in_another_order(videos):
    batches = make_batches(videos)
    assert batches.steps_per_epoch == 4  # 12 videos in threes
    epochs = [[name for step in range(4 * e, 4 * e + 4) for name in batches.names(step)["labelled"]] for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(videos.name[videos.select("TRAIN")])
    assert epochs[0] != epochs[1]


def test_a_stream_shorter_than_an_epoch_is_shuffled_anew(videos):
    batches = make_batches(videos)  # 4 steps of 5 clips out of 12 videos
    names = [name for step in range(4) for name in batches.names(step)["clips"]]
    assert len(set(names[:12])) == 12
    assert len(names) == 20


def test_hosts_read_their_part_of_the_same_global_batch(videos):
    whole = make_batches(videos, batch_size=4)
    parts = [make_batches(videos, batch_size=4, host=host, num_hosts=2) for host in (0, 1)]
    for step in (0, 2):
        expected = whole.batch(step)["labelled"]
        for field, values in expected.items():
            np.testing.assert_array_equal(np.concatenate([p.batch(step)["labelled"][field] for p in parts]), values)
        # Five clips are not divided by two hosts: every host reads them all.
        assert_equal(parts[1].batch(step)["clips"], whole.batch(step)["clips"])


def test_clips_are_the_frames_of_the_video_from_their_start(videos):
    positions = videos.select("VAL")
    clips = data.Clips(videos, positions, num_frames=8, period=3)
    example = clips.example(1, np.random.default_rng(4))
    start, frames = int(example["start"]), videos.frames(positions[1])
    np.testing.assert_array_equal(example["clip"], frames[start : start + 24 : 3][:8])
    assert example["num_valid"] == 8
    assert example["ef"] == np.float32(videos.ef_percent[positions[1]])


def test_a_clip_longer_than_its_video_ends_in_zeros(videos):
    position = videos.select("VAL")[0]
    clips = data.Clips(videos, np.array([position]), num_frames=32, period=2)
    example = clips.clip_at(0, 1)
    num_frames = int(videos.num_frames[position])
    assert example["num_valid"] == -(-(num_frames - 1) // 2) < 32
    assert not example["clip"][example["num_valid"] :].any()
    np.testing.assert_array_equal(example["clip"][: example["num_valid"]], videos.frames(position)[1::2])


def test_annotated_sampling_holds_a_traced_frame(videos):
    positions = videos.select("TRAIN")
    clips = data.Clips(videos, positions, num_frames=4, period=2, sampling="annotated")
    for item in range(len(clips)):
        traced = {tracing.frame for tracing in videos.tracings(positions[item])}
        for seed in range(5):
            start = clips.draw_start(item, np.random.default_rng(seed))
            assert traced & set(range(start, start + 8, 2))


def test_ed_has_the_larger_mask(videos):
    frames = data.TracedFrames(videos, videos.select("ALL"))
    for item in range(len(frames)):
        example = frames.example(item, np.random.default_rng(0))
        assert example["ed_mask"].sum() > example["es_mask"].sum() > 0
        assert example["ed"].shape == (112, 112, 1)


def test_cohorts_count_what_they_leave_out(videos):
    positions = videos.select("TRAIN")
    cohort = data.cohort(videos, positions, {"odd": lambda p: p % 2 == 0, "first": lambda p: p != positions[0]})
    assert len(cohort) + sum(cohort.left_out.values()) == len(positions)
    assert "left out: odd" in cohort.describe()


def test_too_few_videos_for_a_batch_is_an_error_that_says_so(videos):
    with pytest.raises(UserError, match=r"train.batch_size is 13, but only 12"):
        make_batches(videos, batch_size=13)


def test_ssl_parts_are_disjoint_and_follow_the_published_shares(videos):
    labelled, unlabelled = data.ssl_positions(videos, -1, -1)
    assert (len(labelled), len(unlabelled)) == (round(12 * 920 / 7465), round(12 * 6440 / 7465))
    assert not set(labelled) & set(unlabelled)
    assert set(labelled) | set(unlabelled) <= set(videos.select("TRAIN"))
    everyone, nobody = common.training_positions(videos, override(subset="all"))
    assert (len(everyone), len(nobody)) == (12, 0)
    with pytest.raises(UserError, match=r"labels\.subset is 'some'"):
        common.training_positions(videos, override(subset="some"))


def test_pixel_statistics_are_those_of_the_clips(videos):
    mean, std = data.pixel_statistics(videos, (112, 112))
    pixels = np.concatenate([videos.frames(p).ravel() for p in videos.select("TRAIN")])
    np.testing.assert_allclose(mean, pixels.mean(), rtol=0.1)
    np.testing.assert_allclose(std, pixels.std(), rtol=0.1)
    np.testing.assert_array_equal(mean, data.pixel_statistics(videos, (112, 112))[0])
    with pytest.raises(UserError, match="no TRAIN video of 64x64"):
        data.pixel_statistics(videos, (64, 64))


def test_phantoms_say_that_they_are_phantoms(videos):
    assert data.data_kind(videos) == "phantom"


def override(**fields):
    labels = base.get_config().labels
    labels.update(fields)
    return labels


def assert_equal(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)
