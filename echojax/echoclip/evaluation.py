"""EchoCLIP's verdicts on videos and on masks of them, and what they amount to over a split.

scores = [score_masks(encoder, frames, masks, {"teacher": teacher_masks}) for frames, masks, teacher_masks in split]
metrics = summarise_mask_scores(scores)      # {"echoclip_score": Interval, "echoclip_score_over_empty": ...}
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from echojax import evaluate
from echojax.echoclip import images, prompts, scores
from echojax.echoclip.encoder import Encoder
from echojax.echoclip.features import Features
from echojax.errors import UserError

MODES = ("intended", "as_coded")


class MaskScore(NamedTuple):
    """EchoCLIP's opinion on the masks of one video.

    Attributes:
      score: see `scores.mask_score`.
      over: what `score` is above that of "empty" masks (the video as it is) and of any other masks given, by name.
    """

    score: float
    over: dict[str, float]


def score_masks(
    encoder: Encoder,
    frames: UInt8[np.ndarray, "t h w c"],
    masks: Bool[np.ndarray, "t h w"],
    others: Mapping[str, Bool[np.ndarray, "t h w"]] | None = None,
    mode: str = "intended",
) -> MaskScore:
    """Scores the masks of one video by EchoDFKD's label-free measure.

    Args:
      encoder: EchoCLIP.
      frames: the video, RGB or grey levels.
      masks: stored values above `images.MASK_THRESHOLD`, of every frame.
      others: masks to compare with, for instance the teacher's.
      mode: "intended" widens the mask by `images.dilate` for the second and third term. "as_coded" is what EchoDFKD's
        script computes: the widened mask goes unused, and red and blue change places.

    Raises:
      UserError: unknown mode; masks of another size or number than the frames.
    """
    if mode not in MODES:
        raise UserError(f"mode of the EchoCLIP mask score is {mode!r}, expected one of {', '.join(MODES)}")
    texts = encoder.embed_texts(prompts.MASK_PROMPTS)
    empty = np.zeros(frames.shape[:3], bool)
    score, *references = (
        scores.mask_score(*_embed_masked(encoder, frames, each, mode), *texts)
        for each in (masks, empty, *(others or {}).values())
    )
    names = ("empty", *(others or {}))
    return MaskScore(score, {name: score - other for name, other in zip(names, references, strict=True)})


def summarise_mask_scores(
    mask_scores: Sequence[MaskScore], method: str = "percentile", level: float = 0.95
) -> dict[str, evaluate.Interval]:
    """Means over videos with intervals: `echoclip_score`, and `echoclip_score_over_<name>` for each comparison.

    A comparison counts the videos that have it: `n` says how many.

    Args:
      mask_scores: one per video.
      method, level: of the interval; see `evaluate.bootstrap`.
    """
    columns = {"echoclip_score": [each.score for each in mask_scores]}
    for name in dict.fromkeys(name for each in mask_scores for name in each.over):
        columns[f"echoclip_score_over_{name}"] = [each.over[name] for each in mask_scores if name in each.over]
    return {
        name: evaluate.bootstrap(evaluate.mean, np.array(values), method=method, level=level)
        for name, values in columns.items()
    }


def phase_of(encoder: Encoder, features: Features, sign: str = "open_minus_closed") -> Float[np.ndarray, "t"]:
    """EchoCLIP's phase signal of a video; see `scores.phase_signal`."""
    similarities = scores.similarity(features.frames, encoder.embed_texts(prompts.VALVE_PROMPTS))
    return scores.phase_signal(*similarities.T, sign=sign)


def ejection_fraction_of(encoder: Encoder, features: Features) -> float:
    """EchoCLIP's zero-shot ejection fraction of a video in percent; see `scores.ejection_fraction`."""
    asked = prompts.ef_prompts()
    similarities = scores.similarity(features.zoomed, encoder.embed_texts(asked.texts))
    return scores.ejection_fraction(similarities, asked.ef_percent)


def _embed_masked(
    encoder: Encoder, frames: np.ndarray, masks: np.ndarray, mode: str
) -> tuple[Float[np.ndarray, "t d"], Float[np.ndarray, "t d"]]:
    """Embeddings of the frames without what is masked, and without what the widened mask covers."""
    if mode == "as_coded":
        masked = encoder.embed_frames(images.black_out(frames, masks)[..., ::-1])
        return masked, masked
    masked = encoder.embed_frames(images.black_out(frames, masks))
    if not masks.any():
        return masked, masked
    return masked, encoder.embed_frames(images.black_out(frames, images.dilate(masks)))
