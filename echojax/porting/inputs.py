"""What a ported network's input is to be: preprocessing that its file does not carry, and a fixed input to try."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from echojax.errors import UserError
from echojax.porting.echoclip import ECHOCLIP_PREPROCESSING
from echojax.preprocessing import Preprocessing

# What EchoNet-Dynamic's published networks were trained with. The EF networks' own files repeat frames and period.
ECHONET = Preprocessing(
    mean=(32.085175, 32.591923, 33.37932),
    std=(50.129288, 50.487717, 51.34619),
    size=(112, 112),
    num_frames=32,
    period=2,
    in_channels=3,
    source="EchoNet-Dynamic's published statistics",
)
_TRIAL_FRAMES = 8


def preprocessing_of(
    description: Mapping[str, Any],
    entries: Mapping[str, Any],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    file_name: str,
) -> Preprocessing:
    """The preprocessing of a network from PyTorch.

    Args:
      description: of the network.
      entries: what its file says beside tensors: `frames` and `period` of the original EF networks, `mean` and `std`
        of networks that were exported from here.
      mean, std: given by the user; they come before the file's, and those before the published ones.
      file_name: for the words about where they came from.

    Raises:
      UserError: one of mean and std alone, or not three numbers with std above 0.
    """
    family = description["family"]
    if (mean is None) != (std is None):
        raise UserError("--mean and --std belong together; one of them is missing")
    if family == "convlstm":
        if mean is not None:
            raise UserError("--mean and --std are not for the ConvLSTM student, which sees raw grey levels")
        return Preprocessing((0.0,), (1.0,), ECHONET.size, 0, 1, 1, "raw grey levels, as EchoDFKD trains its student")
    published = ECHOCLIP_PREPROCESSING if family == "echoclip" else ECHONET
    if mean is not None:
        statistics, source = (mean, std), "given to echojax port"
    elif "mean" in entries and "std" in entries:
        statistics, source = (entries["mean"], entries["std"]), f"{file_name}, which carries them"
    else:
        statistics, source = (published.mean, published.std), f"{published.source}; {file_name} carries none"
    is_video = family == "video_resnet"
    return Preprocessing(
        *map(_three_levels, ("mean", "std"), statistics),
        size=_size(entries, published.size),
        num_frames=int(entries.get("frames", ECHONET.num_frames)) if is_video else 0,
        period=int(entries.get("period", ECHONET.period)) if is_video else 1,
        in_channels=description.get("in_channels", 3),
        source=source,
        decimate=int(entries.get("decimate", 1)),
    )


def fixed_input(family: str, preprocessing: Preprocessing) -> np.ndarray:
    """sin(0), sin(1), sin(2), ... in the shape of one example, channels last; from 0 to 255 for raw grey levels."""
    frames = (_TRIAL_FRAMES,) if family in ("video_resnet", "convlstm") else ()
    shape = (1, *frames, *preprocessing.size, preprocessing.in_channels)
    wave = np.sin(np.arange(np.prod(shape))).reshape(shape).astype(np.float32)
    return 127.5 * (1 + wave) if family == "convlstm" else wave


def _three_levels(name: str, values: Sequence[float]) -> tuple[float, ...]:
    levels = tuple(map(float, values))
    if len(levels) != 3 or not np.isfinite(levels).all() or (name == "std" and min(levels) <= 0):
        raise UserError(f"{name} is {', '.join(map(str, levels))}; expected three grey levels (R,G,B), std above 0")
    return levels


def _size(entries: Mapping[str, Any], usual: tuple[int, int]) -> tuple[int, int]:
    height, width = entries.get("size", usual)
    return int(height), int(width)
