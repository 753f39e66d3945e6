"""Videos in pieces: the same masks as in one piece, one program for every length, the memory of one piece."""

import os
import resource
import subprocess
import sys

import jax
import numpy as np
import pytest
from programs import ROOT

from echojax.clips import to_gray
from echojax.errors import UserError
from echojax.models import functional
from echojax.networks import Network, build_network
from echojax.streaming import Streamer

DESCRIPTION = {
    "family": "convlstm",
    "variant": "improved",
    "num_blocks": 2,
    "num_layers": 1,
    "width": 4,
    "in_channels": 1,
    "dtype": "float32",
}
NUM_FRAMES, SIZE = 11, 16


@pytest.fixture(scope="module")
def network() -> Network:
    return build_network(DESCRIPTION, seed=3)


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, SIZE, SIZE), np.uint8)


@pytest.fixture(scope="module")
def whole(network, video) -> np.ndarray:
    """Logits of the video in one piece."""
    x = video.astype(np.float32)[None, ..., None]
    apply = jax.jit(lambda x: functional.apply(*network[1:], x, train=False)[0]["logits"][0])
    return np.asarray(apply(x))


@pytest.fixture(scope="module")
def streamer(network) -> Streamer:
    return Streamer(network, chunk_frames=4)


@pytest.mark.parametrize("chunk_frames", [1, 4, 11, 16])
def test_pieces_give_the_masks_of_the_whole_video(network, video, whole, chunk_frames):
    logits = Streamer(network, chunk_frames).segment(video)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, whole, rtol=0, atol=1e-6 * np.abs(whole).max())


def test_frame_in_mask_out(network, video, whole):
    streamer = Streamer(network, chunk_frames=1)
    state = streamer.begin(SIZE, SIZE)
    for frame, expected in zip(video, whole, strict=True):
        logits, state = streamer.push(frame[None], state)
        np.testing.assert_allclose(logits[0], expected, rtol=0, atol=1e-6 * np.abs(whole).max())


def test_one_program_serves_every_length(streamer, video):
    for length in (1, 3, 4, 5, 8, 11):
        assert streamer.segment(video[:length]).shape == (length, SIZE, SIZE)
    assert streamer._advance._cache_size() == 1


def test_every_video_starts_anew(streamer, video, whole):
    for _ in range(2):
        np.testing.assert_allclose(streamer.segment(video), whole, rtol=0, atol=1e-6 * np.abs(whole).max())


def test_wanted_frames_in_any_order(streamer, video, whole):
    asked = []

    def read(start, stop):
        asked.append(stop)
        return video[start:stop]

    logits = streamer.segment_at(read, [6, 2, 6])
    np.testing.assert_allclose(logits, whole[[6, 2, 6]], rtol=0, atol=1e-6 * np.abs(whole).max())
    assert max(asked) == 7


def test_colour_is_seen_as_grey(streamer):
    colour = np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(streamer.segment(colour), streamer.segment(to_gray(colour)))
    np.testing.assert_array_equal(streamer.segment(colour[..., :1]), streamer.segment(colour[..., 0]))


def test_wrong_use_is_named(streamer, video):
    state = streamer.begin(SIZE, SIZE)
    with pytest.raises(ValueError, match="got 3 frames, this streamer takes 4 at a time"):
        streamer.push(video[:3], state)
    with pytest.raises(UserError, match="frames are 15x16; with 2 blocks the sides must be multiples of 2"):
        streamer.segment(video[:, :15])


def peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def watch_long_videos() -> list[float]:
    """Peak memory of this process after a video of 100 and after one of 1000 frames, in MB."""
    streamer = Streamer(build_network(DESCRIPTION, seed=3))
    rng, peaks = np.random.default_rng(0), []
    for num_frames in (100, 1000):
        pieces = streamer.stream(
            lambda start, stop: rng.integers(0, 256, (stop - start, 112, 112), np.uint8), num_frames
        )
        assert sum(len(piece) for piece in pieces) == num_frames
        peaks.append(peak_memory_mb())
    return peaks


def test_memory_does_not_grow_with_the_video():
    code = "import test_streaming; print(*test_streaming.watch_long_videos())"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "tests", env=environment
    )
    short, long = map(float, shown.stdout.split())
    assert short <= long <= 1.2 * short
