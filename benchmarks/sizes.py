"""How large the work of a suite is."""

import dataclasses

import jax

from echojax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Networks and batches of a suite.

    Attributes:
      width, blocks, video_blocks: of DeepLabV3 and of the video networks; 64, (3, 4, 6, 3) and (2, 2, 2, 2) are the
        papers'.
      student_blocks, student_layers, student_width: of the ConvLSTM; 3, 3 and 12 is the paper's "33".
      side_px: of pictures in the rows of single networks; videos have 112.
      clips, clip_frames: of the video networks.
      images: of DeepLabV3.
      student_clips, student_frames: of the ConvLSTM.
      css_labelled, css_frames, css_template: videos with labels, frames of the clip and of its template region.
      kd_labelled, kd_unlabelled: clips of a distillation step.
      num_videos, video_frames: of the phantoms that stages, evaluation and conversion work on.
      input_clips: of the original's input pipeline per run; ours are 20 times as many.
      mask_frames, evaluated_clips: whose masks and ejection fractions are predicted.
      batch: frames or clips per forward pass of inference.
      streamed_frames: shown to the student one by one.
      bootstrap_videos, bootstrap_samples: 1277 videos are TEST of EchoNet-Dynamic.
      cost_clips, cost_frames, cost_videos, cost_devices: along which costs are measured.
      split_clips: of the batch that is split over devices.
      num_repetitions: timed runs of a row.
      tried: which forms of PyTorch; see `measuring.Clock`.
    """

    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    video_blocks: tuple[int, ...] = (2, 2, 2, 2)
    student_blocks: int = 3
    student_layers: int = 3
    student_width: int = 12
    side_px: int = 112
    clips: int = 1
    clip_frames: int = 16
    images: int = 4
    student_clips: int = 2
    student_frames: int = 16
    css_labelled: int = 2
    css_frames: int = 12
    css_template: int = 6
    kd_labelled: int = 1
    kd_unlabelled: int = 1
    num_videos: int = 12
    video_frames: int = 160
    input_clips: int = 20
    mask_frames: int = 32
    evaluated_clips: int = 8
    batch: int = 4
    streamed_frames: int = 200
    bootstrap_videos: int = 1277
    bootstrap_samples: int = 10_000
    cost_clips: tuple[int, ...] = (1, 2, 4)
    cost_frames: tuple[int, ...] = (8, 16, 32)
    cost_videos: tuple[int, ...] = (4, 8, 12)
    cost_devices: tuple[int, ...] = (1, 2, 4)
    split_clips: int = 4
    num_repetitions: int = 3
    tried: str = "first"

    @property
    def dtype(self) -> str:
        """Of the computation: bfloat16 on accelerators; parameters and statistics stay float32."""
        return "float32" if jax.default_backend() == "cpu" else "bfloat16"


QUICK = Sizes()
# The papers' clips, smaller batches than theirs: what two cores do in an hour.
FULL = Sizes(
    clips=2,
    clip_frames=32,
    images=8,
    student_clips=2,
    student_frames=32,
    css_labelled=4,
    css_frames=40,
    css_template=15,
    kd_labelled=2,
    kd_unlabelled=1,
    num_videos=24,
    video_frames=176,
    input_clips=40,
    mask_frames=176,
    evaluated_clips=24,
    batch=8,
    streamed_frames=1000,
    cost_clips=(1, 2, 4, 8),
    cost_frames=(8, 16, 32, 64),
    cost_videos=(8, 16, 24),
    cost_devices=(1, 2, 4, 8),
    split_clips=8,
    num_repetitions=7,
    tried="all",
)
# Narrow and shallow, so that every row is gone through in a minute: for trying the suite out, not for its numbers.
TINY = Sizes(
    width=4,
    blocks=(1, 1, 1, 1),
    video_blocks=(1, 1, 1, 1),
    student_blocks=2,
    student_layers=1,
    student_width=2,
    side_px=32,
    clip_frames=4,
    images=2,
    student_clips=1,
    student_frames=3,
    num_videos=12,
    video_frames=48,
    input_clips=2,
    mask_frames=6,
    evaluated_clips=3,
    batch=2,
    streamed_frames=5,
    bootstrap_videos=20,
    bootstrap_samples=200,
    cost_clips=(1, 2),
    cost_frames=(4, 8),
    cost_videos=(2, 4),
    cost_devices=(1, 2),
    split_clips=2,
    num_repetitions=2,
)
# One H100 does these in one call of under ten minutes: the papers' batches.
ACCELERATOR = dataclasses.replace(
    FULL,
    clips=20,
    images=80,
    student_clips=8,
    css_labelled=20,
    kd_labelled=20,
    kd_unlabelled=10,
    num_videos=64,
    mask_frames=1024,
    evaluated_clips=112,
    batch=64,
    cost_clips=(5, 10, 20, 40),
    split_clips=40,
    num_repetitions=5,
    tried="eager",
)


def sizes_of(suite: str) -> Sizes:
    """The sizes of a suite; on an accelerator "quick" and "full" are the papers' batches."""
    suites = {"tiny": TINY, "quick": QUICK, "full": FULL}
    if suite not in suites:
        raise UserError(f"--suite is {suite!r}, expected one of {', '.join(suites)}")
    if suite == "tiny" or jax.default_backend() == "cpu":
        return suites[suite]
    return dataclasses.replace(ACCELERATOR, tried="all") if suite == "full" else ACCELERATOR
