"""Whole data sets through a network: the block size changes nothing (spec of CSS, invariants 18 and 19)."""

import numpy as np
import pytest
from tqdm import tqdm

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
