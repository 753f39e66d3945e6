"""The files of one clip, in a folder of its own."""

import os
import pathlib

import numpy as np

from echojax.files import replaced_file, write_json
from echojax.predict.overlay import write_overlay
from echojax.predict.prediction import Prediction
from echojax.predict.report_page import format_percent, write_report
from echojax.predict.result import to_json
from echojax.sector import restore_masks

MASKS, OVERLAY = "masks.npz", "overlay.mp4"
FILES = ("result.json", MASKS, OVERLAY, "report.html")


def write_outputs(prediction: Prediction, folder: str | os.PathLike) -> list[pathlib.Path]:
    """Writes masks.npz, overlay.mp4, report.html and, last, result.json; each appears whole or not at all.

    Returns:
      their paths, as in `FILES`.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in FILES]
    result, masks, overlay, report = paths
    # Where a result of before stands, nobody shall take it for this clip's while the rest is written.
    result.unlink(missing_ok=True)
    probabilities = np.rint(255 * prediction.measurement.probabilities).astype(np.uint8)
    with replaced_file(masks) as temporary:
        np.savez_compressed(temporary, masks=restore_masks(probabilities, prediction.sector))
    title = f"{prediction.clip.name[:24]}  LVEF {format_percent(prediction.lvef_percent)}"
    shown = write_overlay(overlay, prediction, title)
    write_report(report, prediction, overlay, shown)
    write_json(result, to_json(prediction))
    return paths
