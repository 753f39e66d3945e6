"""The criteria by which the best checkpoint of a stage is chosen."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from echojax import inference, losses
from echojax.errors import UserError
from echojax.stages import common

HEIGHT, WIDTH, BATCH_SIZE, NUM_VIDEOS = 12, 10, 4, 10  # blocks of 4, 4 and 2 videos


class Traced:
    """Ten videos whose ED and ES images are their own logits, as int16 hundredths."""

    def __init__(self):
        rng = np.random.default_rng(0)
        shape = (2, NUM_VIDEOS, HEIGHT, WIDTH)
        # Losses grow from video to video, so that weights of batches matter.
        self.hundredths = (rng.normal(size=shape) * 100 * np.arange(1, NUM_VIDEOS + 1)[:, None, None]).astype(np.int16)
        self.masks = rng.random(shape) < 0.3

    def __len__(self) -> int:
        return NUM_VIDEOS

    def example(self, item: int, rng) -> dict[str, np.ndarray]:
        return {
            "ed": self.hundredths[0, item],
            "es": self.hundredths[1, item],
            "ed_mask": self.masks[0, item],
            "es_mask": self.masks[1, item],
        }

    def batch_loss(self, first: int) -> tuple[int, float]:
        """Size and L_seg of the batch that begins with a video: the sum over its images, mean of ED and ES."""
        block = slice(first, first + BATCH_SIZE)
        sums = [
            losses.segmentation_loss(
                jnp.asarray(self.hundredths[phase, block] / 100), jnp.asarray(self.masks[phase, block])
            )
            for phase in (0, 1)
        ]
        return len(sums[0]), float(sum(map(jnp.sum, sums))) / 2


@pytest.fixture
def validation(monkeypatch):
    monkeypatch.setattr(inference, "make_segment", lambda *_: lambda params, stats, images: images / 100)
    preprocessing = types.SimpleNamespace(size=(HEIGHT, WIDTH))
    source = Traced()

    def validate(selection: str) -> dict[str, float]:
        settings = types.SimpleNamespace(selection=selection, batch_size=BATCH_SIZE)
        return common.make_segmentation_validation(None, preprocessing, source, settings)({}, {})

    return source, validate


def test_invariant_15_selection_as_in_the_original(validation):
    source, validate = validation
    batches = [source.batch_loss(first) for first in range(0, NUM_VIDEOS, BATCH_SIZE)]
    expected = sum(n * s for n, s in batches) / NUM_VIDEOS / (HEIGHT * WIDTH)
    assert validate("original")["loss"] == pytest.approx(expected, rel=1e-5)


def test_invariant_15_selection_by_the_loss_of_a_pixel(validation):
    source, validate = validation
    batches = [source.batch_loss(first) for first in range(0, NUM_VIDEOS, BATCH_SIZE)]
    expected = sum(s for _, s in batches) / NUM_VIDEOS / (HEIGHT * WIDTH)
    metrics = validate("per_pixel")
    assert metrics["loss"] == metrics["loss_per_pixel"] == pytest.approx(expected, rel=1e-5)
    assert validate("original")["loss_per_pixel"] == metrics["loss"]


def test_selection_of_another_name_is_an_error(validation):
    with pytest.raises(UserError, match="selection is 'best'"):
        validation[1]("best")
