"""Whole data sets through a network: the block size changes nothing (spec of CSS, invariants 18 and 19)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tqdm import tqdm

from data_prep.phantom.truth import write_truth
from echojax import data, inference, networks, records

DTYPE = "float32"


@pytest.fixture(scope="module")
def videos(phantom_data):
    return records.open_videos(phantom_data)


@pytest.fixture(scope="module")
def regression(videos):
    description = {
        "family": "video_resnet",
        "variant": "r2plus1d_18",
        "width": 4,
        "blocks": [1, 1, 1, 1],
        "in_channels": 3,
        "dtype": DTYPE,
    }
    network = networks.build_network(description)
    preprocessing = data.dataset_preprocessing(videos, num_frames=4, period=2, in_channels=3)
    return network, inference.make_regress(network, preprocessing)


@pytest.fixture(scope="module")
def segmentation(videos):
    description = {"family": "deeplabv3", "width": 2, "blocks": [1, 1, 1, 1], "in_channels": 3, "dtype": DTYPE}
    network = networks.build_network(description)
    preprocessing = data.dataset_preprocessing(videos, num_frames=0, period=1, in_channels=3)
    return network, inference.make_segment(network, preprocessing)


def test_invariant_18_all_clips_do_not_depend_on_the_block_size(videos, regression):
    network, regress = regression
    source = data.Clips(videos, videos.select("VAL")[:2], num_frames=4, period=2)
    starts = inference.all_clip_starts(source)
    assert [len(of_video) for of_video in starts] == [n - 6 for n in videos.num_frames[source.positions]]
    by_block = {
        size: inference.predict_ef(regress, network.params, network.stats, source, starts, size, "clips")
        for size in (1, 7)
    }
    for first, second in zip(by_block[1], by_block[7], strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5)
    one = inference.one_clip_starts(source, seed=3)
    single = inference.predict_ef(regress, network.params, network.stats, source, one, 7, "clips")
    for video, start in enumerate(one):
        np.testing.assert_allclose(single[video], by_block[7][video][start], rtol=1e-5)


@pytest.mark.parametrize("with_masks", [False, True])
def test_all_clips_are_cut_on_the_device_by_one_program(videos, phantom_data, with_masks, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "_WINDOW_FRAMES", 110)  # two videos
    masks = None
    if with_masks:
        write_truth(phantom_data.parent / "source", tmp_path)
        masks = records.open_masks(tmp_path)
    positions = videos.select("TRAIN")[:5]
    assert len(set(videos.num_frames[positions])) > 2
    source = data.Clips(videos, positions, num_frames=20, period=2, masks=masks)
    starts = inference.all_clip_starts(source)
    starts[1], starts[3] = starts[3][:0], starts[3][::7]  # a video that is not asked about, and few clips of another
    cut, read = [], []

    @jax.jit
    def regress(params, stats, batch):
        mask = jnp.mean(batch["mask"], axis=(1, 2, 3), dtype=jnp.float32) if with_masks else 0
        return jnp.mean(batch["clip"], axis=(1, 2, 3, 4), dtype=jnp.float32) + 1000 * mask + batch["start"]

    def seen(batches, log):
        for batch, num_real in batches:
            log.append(len(batch["clip"]))
            yield batch, num_real

    in_windows, one_by_one = inference._cut_clips, inference._read_clips
    monkeypatch.setattr(inference, "_cut_clips", lambda *arguments: seen(in_windows(*arguments), cut))
    monkeypatch.setattr(inference, "_read_clips", lambda *arguments: seen(one_by_one(*arguments), read))
    found = inference.predict_ef(regress, {}, {}, source, starts, 7, "clips")
    assert len(cut) > 3 and set(cut) == {7} and not read
    assert regress._cache_size() == 1
    assert [len(of_video) for of_video in found] == list(map(len, starts))
    for item, of_video in enumerate(starts):
        for number, start in enumerate(of_video):
            alone = [np.array([start]) if other == item else of_video[:0] for other in range(len(starts))]
            (expected,) = inference.predict_ef(regress, {}, {}, source, alone, 7, "clips")[item]
            assert found[item][number] == expected
    assert set(read) == {7}
    assert regress._cache_size() == 1


def test_a_network_says_the_same_of_clips_cut_on_the_device(videos, regression, monkeypatch):
    network, regress = regression
    source = data.Clips(videos, videos.select("VAL")[:2], num_frames=4, period=2)
    starts = [of_video[:12] for of_video in inference.all_clip_starts(source)]
    weights = network.params, network.stats
    monkeypatch.setattr(inference, "_cut_clips", inference._read_clips)
    expected = inference.predict_ef(regress, *weights, source, starts, 8, "clips")
    monkeypatch.undo()
    found = inference.predict_ef(regress, *weights, source, starts, 8, "clips")
    for cut, read in zip(found, expected, strict=True):
        np.testing.assert_array_equal(cut, read)


def test_a_second_evaluation_compiles_nothing(videos, regression):
    network, regress = regression
    source = data.Clips(videos, videos.select("VAL")[:2], num_frames=4, period=2)
    starts = inference.all_clip_starts(source)
    work = [], []
    for compiled in work:

        def listen(event, seconds, compiled=compiled, **kwargs):
            if event.startswith("/jax/core/compile/"):
                compiled.append(event)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            inference.predict_ef(regress, network.params, network.stats, source, starts, 9, "clips")
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
    assert work[0]
    assert work[1] == []


def test_invariant_19_masks_do_not_depend_on_the_block_size(videos, segmentation):
    network, segment = segmentation
    positions = videos.select("VAL")[:2]
    masks = {}
    for size in (1, 20):
        with tqdm(disable=True) as progress:
            masks[size] = list(
                inference.predict_masks(segment, network.params, network.stats, videos, positions, size, progress)
            )
    for of_one, of_twenty, position in zip(masks[1], masks[20], positions, strict=True):
        assert of_one.shape == (videos.num_frames[position], 112, 112)
        assert of_one.dtype == np.float32
        np.testing.assert_allclose(of_one, of_twenty, atol=1e-5 * np.abs(of_one).max())


def test_one_video_is_segmented_as_in_the_row_of_all(videos, segmentation):
    network, segment = segmentation
    positions = videos.select("VAL")[1:3]
    with tqdm(disable=True) as progress:
        row = list(inference.predict_masks(segment, network.params, network.stats, videos, positions, 20, progress))
    for position, expected in zip(positions, row, strict=True):
        alone = inference.segment_frames(segment, network.params, network.stats, videos.frames(position), 20)
        np.testing.assert_allclose(alone, expected, atol=1e-5 * np.abs(expected).max())
