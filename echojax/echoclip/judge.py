"""EchoCLIP's verdicts on one video after the other, each frame embedded once, and what they amount to over a split.

judge = Judge(encoder, "runs/dfkd/echoclip/phantoms")
verdicts = [judge.judge(name, frames, masks, {"teacher": of_teacher}) for name, frames, masks, of_teacher in split]
metrics = summarise_verdicts(verdicts, ef_percent, area_lvef_percent)
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from echojax import evaluate, lv
from echojax.echoclip import features, scores
from echojax.echoclip.encoder import Encoder
from echojax.echoclip.evaluation import (
    MODES,
    MaskScore,
    ejection_fraction_of,
    phase_of,
    score_masks,
    summarise_mask_scores,
)
from echojax.echoclip.images import MASK_THRESHOLD
from echojax.errors import UserError


class Verdict(NamedTuple):
    """What EchoCLIP says of one video and of its masks.

    Attributes:
      ef_percent: its own zero-shot ejection fraction.
      phase_frames: ED and ES of its phase signal, as `evaluate.picked_frame` finds them.
      phase_correlation: of that signal with the area of the masks.
      mask_scores: {mode: MaskScore}.
    """

    ef_percent: float
    phase_frames: tuple[int, int]
    phase_correlation: float
    mask_scores: dict[str, MaskScore]


class Judge:
    """An encoder, the folder that keeps its embeddings of whole frames, and how closely it looks.

    Args:
      encoder: EchoCLIP.
      directory: of the features; what is there is not computed again.
      frame_period: every how many frames it looks at. The phase signal is interpolated between them.
      modes: of the mask score; see `score_masks`.
      phase_sign: see `scores.phase_signal`.

    Raises:
      UserError: the folder was begun with another checkpoint, precision or period.
    """

    def __init__(
        self,
        encoder: Encoder,
        directory: str | os.PathLike,
        frame_period: int = 1,
        modes: Sequence[str] = MODES,
        phase_sign: str = "open_minus_closed",
    ):
        if frame_period < 1:
            raise UserError(f"EchoCLIP's frame period is {frame_period}, expected 1 (every frame) or more")
        self._encoder, self._directory = encoder, directory
        self._frame_period, self._modes, self._phase_sign = frame_period, tuple(modes), phase_sign
        features.begin_features(encoder, directory, frame_period)

    def judge(
        self,
        name: str,
        frames: UInt8[np.ndarray, "t h w c"],
        masks: UInt8[np.ndarray, "t h w"],
        others: Mapping[str, UInt8[np.ndarray, "t h w"]] | None = None,
    ) -> Verdict:
        """Judges one video.

        Args:
          name: of the video; its features are kept under it.
          frames: RGB or grey levels.
          masks: as stored, probability times 255.
          others: masks to compare with by name, stored alike.

        Raises:
          UserError: masks of another size or number than the frames, or features of another video of this name.
        """
        embedded = self._embed(name, frames)
        frames, masks = frames[:: self._frame_period], masks[:: self._frame_period] > MASK_THRESHOLD
        others = {other: of_other[:: self._frame_period] > MASK_THRESHOLD for other, of_other in (others or {}).items()}
        encoder = _Memory(self._encoder, frames, embedded.frames)
        mask_scores = {mode: score_masks(encoder, frames, masks, others, mode) for mode in self._modes}
        phase = phase_of(self._encoder, embedded, self._phase_sign)
        return Verdict(
            ejection_fraction_of(self._encoder, embedded),
            self._phase_frames(phase),
            scores.phase_correlation(phase, lv.area_px(masks)),
            mask_scores,
        )

    def _embed(self, name: str, frames: np.ndarray) -> features.Features:
        extraction = features.extract_features(
            self._encoder, [name], lambda _: frames, self._directory, self._frame_period
        )
        list(extraction)
        found = features.load_features(self._directory, name)
        num_expected = len(range(0, len(frames), self._frame_period))
        if len(found.frames) != num_expected:
            raise UserError(
                f"{self._directory} holds {len(found.frames)} embeddings of {name}, expected {num_expected}: they are "
                "of another video of this name; remove the folder or choose another"
            )
        return found

    def _phase_frames(self, phase: Float[np.ndarray, "n"]) -> tuple[int, int]:
        """ED and ES in frames of the video."""
        looked_at = self._frame_period * np.arange(len(phase))
        signal = np.interp(np.arange(looked_at[-1] + 1), looked_at, phase)
        return evaluate.picked_frame(signal, "ED"), evaluate.picked_frame(signal, "ES")


class _Memory:
    """Embeds equal frames once: without their masks, and for every pair of masks, many a frame comes again."""

    def __init__(self, encoder: Encoder, frames: np.ndarray, embeddings: np.ndarray):
        self._encoder = encoder
        self._known = {frame.tobytes(): embedding for frame, embedding in zip(frames, embeddings, strict=True)}

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self._encoder.embed_texts(texts)

    def embed_frames(self, frames: np.ndarray) -> np.ndarray:
        keys = [frame.tobytes() for frame in frames]
        new = {key: position for position, key in enumerate(keys) if key not in self._known}
        if new:
            embeddings = self._encoder.embed_frames(frames[list(new.values())])
            self._known |= zip(new, embeddings, strict=True)
        return np.stack([self._known[key] for key in keys])


def summarise_verdicts(
    verdicts: Sequence[Verdict],
    ef_percent: Sequence[float],
    area_lvef_percent: Sequence[float],
    method: str = "percentile",
    level: float = 0.95,
) -> dict[str, dict[str, evaluate.Interval]]:
    """Metrics over videos with their intervals, by group.

    | group                            | what                                                                         |
    |----------------------------------|------------------------------------------------------------------------------|
    | `echoclip_<mode>`                | the mask score, and by how much it is above that of empty or other masks     |
    | `echoclip_phase`                 | `correlation` of the phase signal with the area of the masks                 |
    | `lvef_echoclip`                  | EchoCLIP's LVEF against the known one                                        |
    | `lvef_echodfkd_against_echoclip` | EchoDFKD's ratio of areas against EchoCLIP's LVEF                            |

    Args:
      verdicts: one per video.
      ef_percent, area_lvef_percent: the known LVEF of these videos and that of the masks' areas; nan where unknown.
      method, level: of the interval; see `evaluate.bootstrap`.
    """
    options = {"method": method, "level": level}
    groups = {}
    for mode in verdicts[0].mask_scores:
        groups[f"echoclip_{mode}"] = summarise_mask_scores([each.mask_scores[mode] for each in verdicts], **options)
    correlations = np.array([each.phase_correlation for each in verdicts])
    groups["echoclip_phase"] = {"correlation": evaluate.bootstrap(evaluate.mean, correlations, **options)}
    ef_echoclip = np.array([each.ef_percent for each in verdicts])
    for name, pair in {
        "lvef_echoclip": (ef_echoclip, ef_percent),
        "lvef_echodfkd_against_echoclip": (area_lvef_percent, ef_echoclip),
    }.items():
        if np.isfinite(pair).all(axis=0).any():
            groups[name] = evaluate.summarise_agreement(*pair, **options)
    return groups


def verdict_columns(verdicts: Sequence[Verdict | None]) -> dict[str, list[Any]]:
    """Verdicts as columns for `evaluate.write_csv`; None, a video that was not judged, leaves empty cells."""
    columns = {"lvef_echoclip": [np.nan if each is None else each.ef_percent for each in verdicts]}
    for phase, name in enumerate(("ed_echoclip", "es_echoclip")):
        columns[name] = ["" if each is None else each.phase_frames[phase] for each in verdicts]
    for mode in next((each.mask_scores for each in verdicts if each is not None), ()):
        found = [None if each is None else each.mask_scores[mode] for each in verdicts]
        columns[f"echoclip_{mode}"] = [np.nan if score is None else score.score for score in found]
        for other in dict.fromkeys(other for score in found if score for other in score.over):
            over = [np.nan if score is None else score.over.get(other, np.nan) for score in found]
            columns[f"echoclip_{mode}_over_{other}"] = over
    return columns
