"""Many clips one after the other; one that fails is reported and never stops the others."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from tqdm import tqdm

from echojax.errors import UserError
from echojax.predict.index_page import write_index, write_table
from echojax.predict.networks import Regression, Segmentation
from echojax.predict.outputs import MASKS, OVERLAY, write_outputs
from echojax.predict.prediction import DEFAULT_LEVEL, DEFAULT_VIEWS, predict_clip
from echojax.predict.result import failure_row, to_row
from echojax.reading import ClipError, Skipped, Source, find_clips, read_clip
from echojax.reading.find import CLIP_SUFFIXES

# Names of other files may tell whom they show; those of DICOMs often do.
_DICOM_SUFFIXES = (".dcm", ".dicom")


@dataclasses.dataclass(frozen=True)
class Failure:
    """A file without a prediction: its path, for the person who asked, and why."""

    path: pathlib.Path
    reason: str


@dataclasses.dataclass
class Outcome:
    """What became of the files.

    Attributes:
      rows: of `results.csv`.
      files: all that was written.
      failures: files that should have given a prediction.
      passed_over: files of the folders that are no clips.
    """

    rows: list[dict] = dataclasses.field(default_factory=list)
    files: list[pathlib.Path] = dataclasses.field(default_factory=list)
    failures: list[Failure] = dataclasses.field(default_factory=list)
    passed_over: list[pathlib.Path] = dataclasses.field(default_factory=list)


def predict_paths(
    paths: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    segmentation: Segmentation,
    regression: Regression | None = None,
    *,
    keep_names: bool = False,
    num_views: int = DEFAULT_VIEWS,
    level: float = DEFAULT_LEVEL,
    progress: bool = False,
) -> Outcome:
    """Predicts every clip among files and folders, and writes a folder for each beside `results.csv` and `index.html`.

    Args:
      output: where to; overlays of earlier calls, here or elsewhere, are not taken for clips.
      keep_names: DICOMs keep their file names; otherwise nothing of a DICOM's identity gets into any file.
      num_views, level: see `predict_clip`.
      progress: show a bar on stderr.

    Raises:
      UserError: there is neither a clip nor a file that should be one.
    """
    output = pathlib.Path(output)
    found = find_clips(paths, keep_names)
    sources = [source for source in found.sources if not _is_own_overlay(source.path)]
    outcome = Outcome()
    for number, item in enumerate(found.skipped, 1):
        if item.is_failure:
            _note_failure(outcome, item.path, _public_name(item, number, keep_names), item.error.text)
        else:
            outcome.passed_over.append(item.path)
    if not sources and not outcome.failures:
        raise UserError(f"no clips in {', '.join(map(str, paths))}: expected AVI, MP4, MOV, GIF, DICOM, NIfTI or .npy")
    asked = {pathlib.Path(path) for path in paths}
    for source in tqdm(sources, desc="predicting", unit="clip", disable=not progress):
        # Whatever a strange file brings about, the other clips go on.
        try:
            clip = read_clip(source, keep_names)
            prediction = predict_clip(clip, segmentation, regression, num_views, level)
            outcome.files += write_outputs(prediction, output / source.name)
            outcome.rows.append(to_row(prediction))
        except Exception as error:
            if isinstance(error, ClipError) and error.is_bystander and source.path not in asked:
                outcome.passed_over.append(source.path)
            else:
                _note_failure(outcome, source.path, source.name, _explain(error, source))
    _write_overviews(outcome, output)
    return outcome


def _is_own_overlay(path: pathlib.Path) -> bool:
    """Tells an overlay of an earlier call from a clip: its masks lie beside it."""
    return path.name == OVERLAY and path.with_name(MASKS).exists()


def _explain(error: Exception, source: Source) -> str:
    """What went wrong, without paths. The unforeseen may quote what a file says of a person: only its kind is told."""
    if isinstance(error, ClipError):
        return error.text
    if isinstance(error, UserError):
        return str(error).removeprefix(f"{source.name}: ")
    if isinstance(error, OSError):
        return f"cannot be read or written ({error.strerror or type(error).__name__})"
    return f"cannot be processed ({type(error).__name__}); please report this"


def _public_name(skipped: Skipped, number: int, keep_names: bool) -> str:
    """The name in the results of a file whose kind is not known: that of a video, but not of what may be a DICOM."""
    name = skipped.path.name.lower()
    if keep_names or (name.removesuffix(".gz").endswith(CLIP_SUFFIXES) and not name.endswith(_DICOM_SUFFIXES)):
        return skipped.path.name
    return f"unreadable-{number}"


def _note_failure(outcome: Outcome, path: pathlib.Path, name: str, reason: str) -> None:
    outcome.failures.append(Failure(path, reason))
    outcome.rows.append(failure_row(name, reason))


def _write_overviews(outcome: Outcome, output: pathlib.Path) -> None:
    table, index = output / "results.csv", output / "index.html"
    write_table(table, outcome.rows)
    write_index(index, outcome.rows)
    outcome.files += [table, index]
