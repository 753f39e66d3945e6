"""Shards to batches: which videos take part, what one example is, and the endless, resumable row of batches.

A batch is a pure function of the seed and the step: every epoch has its own permutation, every example its own random
generator. The iterator's state is therefore one number, batches do not depend on the number of readers or hosts, and a
run that is resumed sees exactly what an undisturbed one would have seen.
"""

from echojax.data.batches import Batches, Stream
from echojax.data.cohorts import (
    Cohort,
    cohort,
    data_kind,
    is_traced,
    read_names,
    ssl_positions,
    traced_masks,
    usual_size,
)
from echojax.data.examples import (
    Clips,
    CycleClips,
    Example,
    ExampleSource,
    TracedFrames,
    padded_blocks,
    read_clip,
    stack,
)
from echojax.data.statistics import dataset_preprocessing, pixel_statistics

__all__ = [
    "Batches",
    "Clips",
    "Cohort",
    "CycleClips",
    "Example",
    "ExampleSource",
    "Stream",
    "TracedFrames",
    "cohort",
    "data_kind",
    "dataset_preprocessing",
    "is_traced",
    "padded_blocks",
    "pixel_statistics",
    "read_clip",
    "read_names",
    "ssl_positions",
    "stack",
    "traced_masks",
    "usual_size",
]
