"""The networks of `echojax predict`: opened once, tried on an empty picture, then shown every clip."""

import hashlib
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from echojax import clips
from echojax.errors import UserError
from echojax.loading import Model
from echojax.models import functional
from echojax.networks import describe_kind, load_network
from echojax.predict.interval import FILE_NAME, Calibration, load_calibration
from echojax.train.checkpoint import find_checkpoint

# Weights that come with the package, trained on phantoms alone. A version without them asks for --segmentation.
PACKAGED_WEIGHTS = pathlib.Path(__file__).parents[1] / "weights" / "segmentation"
_MADE_BY = "python main.py --config=configs/<stage>.py, or from PyTorch with: echojax port SOURCE OUTPUT_DIR"
_HASH_DIGITS = 16
# Clips per video that direct regression sees, spread evenly: more move its mean by less than its error.
MAX_REGRESSION_CLIPS = 8


class Segmentation(NamedTuple):
    """A network that outlines the left ventricle.

    Attributes:
      segment: uint8 (t, size, size, c) -> logits (t, size, size); c = 1 or 3.
      size: pixels a side.
      description: JSON for the result: `family`, `num_parameters`, `weights_sha256` (its beginning), `packaged`.
      calibration: what corrects LVEF and turns disagreement into an interval; None where there is none, and
        `why_uncalibrated` says so.
      is_recurrent: sees a clip's frames in order, each in the light of those before it; else each by itself.
    """

    segment: Callable[[UInt8[np.ndarray, "t s s c"]], Float[np.ndarray, "t s s"]]
    size: int
    description: dict
    calibration: Calibration | None = None
    why_uncalibrated: str = "this network has no calibration"
    is_recurrent: bool = False


class Regression(NamedTuple):
    """A network that reads LVEF from pictures directly.

    Attributes:
      regress: (uint8 (t, size, size, c), logits (t, size, size)) -> LVEF in percent of some clips, (n,).
      size: pixels a side.
      description: as of `Segmentation`.
    """

    regress: Callable[[UInt8[np.ndarray, "t s s c"], Float[np.ndarray, "t s s"]], Float[np.ndarray, "n"]]
    size: int
    description: dict


def load_segmentation(directory: str | None = None) -> Segmentation:
    """Opens a segmentation network of any family, or the packaged one.

    Raises:
      UserError: no checkpoint, one of another purpose, or no packaged weights in this version.
    """
    if directory is None and not PACKAGED_WEIGHTS.is_dir():
        raise UserError(
            "this version comes without packaged weights; give a segmentation network with --segmentation=DIR: a run "
            "of configs/seg.py, css.py or dfkd.py, or what echojax port made of PyTorch's weights"
        )
    path = find_checkpoint(directory or PACKAGED_WEIGHTS, _MADE_BY)
    model, weights_sha256 = _open(path)
    size = _side_px(model, path)
    model.segment(np.zeros((1, size, size), np.uint8))
    calibration, why_uncalibrated = _find_calibration(path, weights_sha256)
    description = _describe(model, weights_sha256, is_packaged=directory is None)
    is_recurrent = description["family"] == "convlstm"
    return Segmentation(model.segment, size, description, calibration, why_uncalibrated, is_recurrent)


def load_regression(directory: str, segmentation: Segmentation) -> Regression:
    """Opens an EF network; one that sees masks gets those of `segmentation`.

    Raises:
      UserError: no checkpoint, one of another purpose, or of another size than the masks it wants.
    """
    path = find_checkpoint(directory, _MADE_BY)
    model, weights_sha256 = _open(path)
    size = _side_px(model, path)
    sees_masks = model.preprocessing.in_channels == 4
    if sees_masks and size != segmentation.size:
        raise UserError(
            f"{directory}: sees masks of {size}x{size} pixels, but the segmentation network makes them "
            f"{segmentation.size}x{segmentation.size}; use networks of one size"
        )

    def regress(frames: np.ndarray, logits: np.ndarray) -> np.ndarray:
        masks = logits if sees_masks else None
        return model.ejection_fraction(frames, _spread_starts(model, len(frames)), masks)

    regress(np.zeros((1, size, size), np.uint8), np.zeros((1, size, size), np.float32))
    return Regression(regress, size, _describe(model, weights_sha256, is_packaged=False))


def hash_weights(*parts: functional.Arrays) -> str:
    """The beginning of the SHA-256 of all names and values: tells whether a calibration belongs to a network."""
    digest = hashlib.sha256()
    for part in parts:
        for name in sorted(part):
            digest.update(name.encode() + b"\0" + np.ascontiguousarray(part[name]).tobytes())
    return digest.hexdigest()[:_HASH_DIGITS]


def _open(path: pathlib.Path) -> tuple[Model, str]:
    """As `echojax.load`, with the hash of the weights."""
    network, preprocessing = load_network(str(path), _MADE_BY)
    return Model(network, preprocessing), hash_weights(network.params, network.stats)


def _side_px(model: Model, path: pathlib.Path) -> int:
    height, width = model.preprocessing.size
    if height != width:
        raise UserError(f"{path}: was trained on {height}x{width} pixels; expected a network of square pictures")
    return height


def _spread_starts(model: Model, num_frames: int) -> np.ndarray:
    starts = clips.all_starts(num_frames, model.preprocessing.num_frames, model.preprocessing.period)
    return starts[np.unique(np.linspace(0, len(starts) - 1, MAX_REGRESSION_CLIPS).round().astype(int))]


def _describe(model: Model, weights_sha256: str, is_packaged: bool) -> dict:
    return {
        "family": describe_kind(model.network),
        "num_parameters": model.num_parameters,
        "weights_sha256": weights_sha256,
        "packaged": is_packaged,
    }


def _find_calibration(path: pathlib.Path, weights_sha256: str) -> tuple[Calibration | None, str]:
    file = path / FILE_NAME
    if not file.exists():
        return None, (
            f"this network has no {FILE_NAME} beside its weights; make it with: "
            "python -m benchmarks.calibrate_interval --segmentation=DIR"
        )
    calibration = load_calibration(file)
    if calibration.weights_sha256 != weights_sha256:
        return None, f"the {FILE_NAME} beside the network belongs to other weights; make it again"
    return calibration, ""
