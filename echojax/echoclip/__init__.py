"""EchoCLIP as a judge: it compares frames with sentences and needs no label.

>>> from echojax import echoclip
>>> encoder = echoclip.load_encoder("weights/echoclip")
>>> echoclip.score_masks(encoder, frames, masks).score
>>> features = echoclip.embed_video(encoder, frames)
>>> echoclip.ejection_fraction_of(encoder, features), echoclip.phase_of(encoder, features)

The weights are `open_clip_pytorch_model.bin` of https://huggingface.co/mkaichristensen/echo-clip (listed there as MIT),
converted by `echojax port open_clip_pytorch_model.bin weights/echoclip`.
"""

from echojax.echoclip.encoder import Encoder, load_encoder
from echojax.echoclip.evaluation import (
    MaskScore,
    ejection_fraction_of,
    phase_of,
    score_masks,
    summarise_mask_scores,
)
from echojax.echoclip.features import Features, embed_video, extract_features, load_features
from echojax.echoclip.images import MASK_THRESHOLD
from echojax.echoclip.judge import Judge, Verdict, summarise_verdicts, verdict_columns
from echojax.echoclip.prompts import MASK_PROMPTS, VALVE_PROMPTS, ef_prompts
from echojax.echoclip.scores import (
    check_phase,
    ejection_fraction,
    mask_score,
    phase_correlation,
    phase_signal,
    similarity,
)
from echojax.echoclip.tokenizer import tokenize

__all__ = [
    "MASK_PROMPTS",
    "MASK_THRESHOLD",
    "VALVE_PROMPTS",
    "Encoder",
    "Features",
    "Judge",
    "MaskScore",
    "Verdict",
    "check_phase",
    "ef_prompts",
    "ejection_fraction",
    "ejection_fraction_of",
    "embed_video",
    "extract_features",
    "load_encoder",
    "load_features",
    "mask_score",
    "phase_correlation",
    "phase_of",
    "phase_signal",
    "score_masks",
    "similarity",
    "summarise_mask_scores",
    "summarise_verdicts",
    "tokenize",
    "verdict_columns",
]
