"""Phantoms as `echojax predict` sees them, and what it says of them: shared by the benchmarks that measure.

A phantom is rendered in another process, written as AVI, read back, segmented and measured as any clip is; no overlay
or report is drawn. A few clips at a time are on the disk and in memory.
"""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from data_prep.phantom import Phantom, PhantomParameters, render, sample_parameters
from data_prep.phantom.dataset import single_threaded_children
from echojax import evaluate, lv
from echojax.errors import UserError
from echojax.predict import Prediction, Segmentation, predict_clip
from echojax.predict.interval import Disagreement
from echojax.reading import read_clip
from echojax.sector import restore_masks
from echojax.video import write_video

# As many clips wait to be measured.
CLIPS_AHEAD = 16
# Of phantoms that are measured: long enough for a beat or two of most hearts; and as various as those that the packaged
# network was trained on (configs/weights.py).
NUM_FRAMES, VARIETY = (44, 72), (0.2, 1.0)


class KnownClip(NamedTuple):
    """A phantom on the disk and what is known about it; masks are packed along x.

    `lvef_percent` is that of `known_lvef`, `label_percent` what a data set's table says.
    """

    path: pathlib.Path
    lvef_percent: float
    label_percent: float
    ed_frame: int
    es_frame: int
    packed_masks: UInt8[np.ndarray, "t h w8"]


@dataclasses.dataclass(frozen=True)
class PhantomScore:
    """What was said of one phantom, beside the truth. LVEF in percent, nan where none was found.

    Attributes:
      known: LVEF of the true volumes, see `known_lvef`.
      label: LVEF as a data set's table says.
      lvef: as `echojax predict` says, corrected where the network is calibrated.
      simpson, area_length: LVEF by method, as read from the masks.
      disagreement: None where no LVEF was found.
      is_voided: a flag says that the clip is not of the kind that intervals are for.
      dice_ed, dice_es, dice_mean: of the known ED, the known ES, and the mean over all frames.
      flags: kinds.
    """

    known: float
    label: float
    lvef: float
    simpson: float
    area_length: float
    disagreement: Disagreement | None
    is_voided: bool
    dice_ed: float
    dice_es: float
    dice_mean: float
    flags: tuple[str, ...]

    @property
    def gets_interval(self) -> bool:
        """Whether a calibrated network gives an interval for a clip like this."""
        return not self.is_voided and self.disagreement is not None


def score_phantoms(
    segmentation: Segmentation,
    seed: int,
    indices: Sequence[int],
    num_views: int,
    workers: int | None = None,
    variety: float | tuple[float, float] = VARIETY,
) -> list[PhantomScore]:
    """Renders and measures phantoms of a seed."""
    jobs = [sample_parameters(seed, index, NUM_FRAMES, variety=variety) for index in indices]
    clips = draw_clips(jobs, workers)
    with contextlib.closing(clips):
        bar = tqdm(clips, total=len(jobs), desc="phantoms", unit="clip")
        return [score_clip(clip, segmentation, num_views) for clip in bar]


def score_clip(clip: KnownClip, segmentation: Segmentation, num_views: int) -> PhantomScore:
    """Measures one phantom."""
    prediction = try_predict(clip.path, segmentation, num_views)
    if prediction is None:
        known = clip.lvef_percent, clip.label_percent
        return PhantomScore(*known, np.nan, np.nan, np.nan, None, True, 0.0, 0.0, 0.0, ("unreadable",))
    measurement = prediction.measurement
    levels = np.rint(255 * measurement.probabilities).astype(np.uint8)
    known = np.unpackbits(clip.packed_masks, axis=-1, count=prediction.clip.frames.shape[2]).astype(bool)
    dice = evaluate.dice(restore_masks(levels, prediction.sector), known)
    return PhantomScore(
        known=clip.lvef_percent,
        label=clip.label_percent,
        lvef=_or_nan(prediction.lvef_percent),
        simpson=_or_nan(measurement.lvef_percent),
        area_length=_or_nan(measurement.pooled_percent("area_length")),
        disagreement=measurement.disagreement,
        is_voided=prediction.is_voided,
        dice_ed=float(dice[clip.ed_frame]),
        dice_es=float(dice[clip.es_frame]),
        dice_mean=float(dice.mean()),
        flags=tuple(dict.fromkeys(flag.kind for flag in prediction.flags)),
    )


def try_predict(path: pathlib.Path, segmentation: Segmentation, num_views: int) -> Prediction | None:
    """The prediction for a file; None where the file gives none."""
    try:
        return predict_clip(read_clip(path), segmentation, num_views=num_views)
    except UserError:
        return None


def draw_clips(
    jobs: Sequence[PhantomParameters], workers: int | None = None, frame_steps: Sequence[int] = (1,)
) -> Iterator[KnownClip]:
    """Renders phantoms in other processes, and yields them in order; a clip's file is gone when the next is asked for.

    Args:
      jobs: parameters of the phantoms.
      workers: processes; None for one per core.
      frame_steps: each phantom is yielded once per number, as a clip of every so many-th frame.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    with tempfile.TemporaryDirectory() as folder, single_threaded_children():
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
            rest = iter(jobs)
            waiting = [pool.submit(_draw, job, folder, frame_steps) for job in itertools.islice(rest, CLIPS_AHEAD)]
            while waiting:
                for clip in waiting.pop(0).result():
                    yield clip
                    clip.path.unlink()
                waiting += [pool.submit(_draw, job, folder, frame_steps) for job in itertools.islice(rest, 1)]


def known_lvef(phantom: Phantom) -> float:
    """What `echojax predict` wants to know: the median LVEF of the beats shown whole, here of the true volumes.

    A data set's table (`Phantom.ef_percent`) tells LVEF of the beat with the largest fall, which is more than that
    where beats differ.
    """
    beats = lv.find_beats(phantom.volume_ml, phantom.parameters.fps)
    return lv.pool_lvef(lv.lvef_of_beats(phantom.volume_ml, beats), beats) if beats else phantom.ef_percent


def _draw(parameters: PhantomParameters, folder: str, frame_steps: Sequence[int]) -> list[KnownClip]:
    phantom = render(parameters)
    clips = []
    for step in frame_steps:
        path = pathlib.Path(folder) / f"{parameters.name}_{step}.avi"
        write_video(path, phantom.frames[::step], parameters.fps / step)
        masks = np.packbits(phantom.masks[::step], axis=-1)
        frames = phantom.ed_frame // step, phantom.es_frame // step
        clips.append(KnownClip(path, known_lvef(phantom), phantom.ef_percent, *frames, masks))
    return clips


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
