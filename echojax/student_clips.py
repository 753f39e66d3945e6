"""What EchoDFKD's student learns from: grey clips of a data set with a teacher's masks of the same frames.

    videos, masks = open_videos("data/phantoms"), open_masks("runs/dfkd_targets/masks")
    cohort = common.unlabelled_cohort(videos, videos.select("TRAIN"), labels, min_frames=24, masks=masks)
    batches = Batches({"clips": Stream(StudentClips(videos, cohort.positions, masks), batch_size=32)}, seed=0)
    x, targets = clips.prepare_student(batch["clips"]["clip"], batch["clips"]["target"], recipe)  # on the device

Recipes are `clips.STUDENT_RECIPES`. Batches are uint8 on the host; casting, decimation and thresholds are the device's.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from echojax import clips
from echojax.data import Example, ExampleSource
from echojax.errors import UserError
from echojax.records import MaskSet

SAMPLINGS = ("uniform", "centre")


@dataclasses.dataclass(frozen=True)
class StudentClips(ExampleSource):
    """One clip per video: `clip` uint8 grey levels (t, h, w); `target` (t, h, w) as stored; `start`; `period`.

    Every video must hold a clip of the shortest period, and have a mask for each of its frames.

    Attributes:
      masks: the teacher's, of every video.
      num_frames: frames per clip; the original's 25.
      periods: every how many frames of the video; one of those that fit, drawn per example. The original's is 1;
        several show the student beats of several speeds, and more of each.
      sampling: "uniform", every start equally likely, drawn anew in each epoch; or "centre", the clip in the middle of
        the video with the shortest period, always the same: for validation.
    """

    pictures: ClassVar[Mapping[str, str]] = {"clip": "gray", "target": "masks"}

    masks: MaskSet
    num_frames: int = 25
    periods: tuple[int, ...] = (1,)
    sampling: str = "uniform"

    def __post_init__(self):
        if self.sampling not in SAMPLINGS:
            raise UserError(f"sampling of the student's clips is {self.sampling!r}, expected {' or '.join(SAMPLINGS)}")
        if self.num_frames < 1 or not self.periods or min(self.periods) < 1:
            raise UserError(
                f"the student's clips have {self.num_frames} frames of periods {tuple(self.periods)}, expected at "
                "least one frame and positive periods, such as (1,) or (1, 2, 3)"
            )

    def example(self, item: int, rng: np.random.Generator) -> Example:
        num_frames = int(self.videos.num_frames[self.positions[item]])
        if self.sampling == "centre":
            period = min(self.periods)
            return self.clip_at(item, clips.centre_start(num_frames, self.num_frames, period), period)
        period = clips.draw_period(rng, num_frames, self.num_frames, self.periods)
        return self.clip_at(item, clips.uniform_start(rng, num_frames, self.num_frames, period), period)

    def clip_at(self, item: int, start: int, period: int) -> Example:
        """The clip that starts at a given frame.

        Raises:
          IndexError: it reaches beyond the video.
        """
        span = start, start + (self.num_frames - 1) * period + 1, period
        return {
            "clip": clips.to_gray(self.videos.view(self.positions[item], *span)),
            "target": self.masks.view(self.name(item), *span),
            "start": np.int32(start),
            "period": np.int32(period),
        }
