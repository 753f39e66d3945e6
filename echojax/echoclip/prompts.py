"""What EchoCLIP is asked, word for word (blanks at the ends included)."""

from typing import NamedTuple

import numpy as np


class EfPrompts(NamedTuple):
    """Sentences that state an ejection fraction, and the percent that each states."""

    texts: tuple[str, ...]
    ef_percent: np.ndarray


# EchoDFKD's mask score: what a picture with the masked pixels blacked out should and should not look like.
WALL = "WALL"
NOTHING = "NOTHING"
LEFT_VENTRICLE = "LEFT VENTRICLE"
MASK_PROMPTS = (WALL, NOTHING, LEFT_VENTRICLE)

# EchoDFKD's phase signal.
VALVE_OPEN = "THE MITRAL VALVE IS OPEN"
VALVE_CLOSED = "THE MITRAL VALVE IS CLOSED"
VALVE_PROMPTS = (VALVE_OPEN, VALVE_CLOSED)

# EchoCLIP's zero-shot ejection fraction.
EF_TEMPLATES = (
    "THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE {percent}% ",
    "LV EJECTION FRACTION IS {percent}%. ",
)
EF_PERCENT = range(101)


def ef_prompts() -> EfPrompts:
    """The 202 prompts of EchoCLIP's ejection fraction: both templates at 0 to 100 %, one template after the other."""
    texts = tuple(template.format(percent=percent) for template in EF_TEMPLATES for percent in EF_PERCENT)
    return EfPrompts(texts, np.tile(np.array(EF_PERCENT), len(EF_TEMPLATES)))
