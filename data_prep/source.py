"""Reads a directory in EchoNet-Dynamic's layout: `FileList.csv`, `VolumeTracings.csv`, `Videos/`.

Tables come as people have them: names with or without `.avi`, splits in any case, byte-order marks, CRLF, extra
columns. Everything is keyed on the stem of the name. What cannot be used is listed as a `Problem`; the rest goes on.
"""

import dataclasses
import math
import pathlib
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from data_prep import tracings
from data_prep.problems import KEPT, LEFT_OUT, PARTLY_KEPT, SET_ASIDE, Problem
from echojax.errors import UserError
from echojax.records import Tracing

FILE_LIST = "FileList.csv"
VOLUME_TRACINGS = "VolumeTracings.csv"
VIDEO_FOLDER = "Videos"
VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".mkv", ".webm")
# What the phantom generator leaves beside its videos.
PHANTOM_MANIFEST = "phantoms.json"
SPLITS = ("TRAIN", "VAL", "TEST")
# EchoNet-Synthetic's name for videos beyond the three splits.
SPARE_SPLIT = "EXTRA"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a publisher's data set differs from EchoNet-Dynamic's.

    Attributes:
      command: of `python -m data_prep`, which converts it.
      kind: what results will say of such data, "real" or "synthetic".
      repair: mends the table of `FileList.csv` and adds what it did to the problems.
      wrong_container_fps: a frame rate that the video files are known to claim wrongly; NaN if none is known.
    """

    command: str
    kind: str
    repair: Callable[[pd.DataFrame, list[Problem]], pd.DataFrame] = lambda table, problems: table
    wrong_container_fps: float = math.nan


ECHONET = Layout(command="echonet", kind="real")


@dataclasses.dataclass(frozen=True, eq=False)
class SourceRow:
    """One usable row of the list; NaN or None where a value is absent."""

    name: str
    row: int
    split: str
    path: pathlib.Path
    fps: float
    ef_percent: float
    edv_ml: float
    esv_ml: float
    num_frames: int | None
    height: int | None
    width: int | None
    tracings: tuple[Tracing, ...]
    wrong_container_fps: float = math.nan


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A source directory.

    Attributes:
      directory: where it is.
      listed: name and split of every row of the list in file order, whether its video is usable or not.
      rows: the rows whose video file exists.
      problems: what the tables alone tell.
      kind: what the videos show, as results will say: "phantom", "synthetic" or "real".
    """

    directory: pathlib.Path
    listed: list[tuple[str, str]]
    rows: list[SourceRow]
    problems: list[Problem]
    kind: str


def read_source(directory: pathlib.Path, layout: Layout = ECHONET) -> Source:
    """Reads the tables and finds the files; opens no video.

    Raises:
      UserError: the directory has another layout, or a table is unreadable or lacks a column that is needed.
    """
    if not directory.is_dir():
        raise UserError(
            f"{directory}: no such directory; expected {FILE_LIST}, {VOLUME_TRACINGS} and {VIDEO_FOLDER}/ in it"
        )
    if not (directory / VIDEO_FOLDER).is_dir():
        raise UserError(f"{directory}: has no folder {VIDEO_FOLDER}/; --source is the folder that holds {FILE_LIST}")
    table = read_table(directory / FILE_LIST, required=("FileName", "Split"))
    problems = []
    table = layout.repair(table, problems)
    traced = _read_tracings(directory, problems)
    files = _find_videos(directory / VIDEO_FOLDER, problems)
    listed, rows = [], []
    seen = set()
    for number, values in enumerate(table.to_dict("records")):
        name, split = stem(values["FileName"]), values["Split"].upper()
        problem = _check_identity(name, split, number, seen)
        seen.add(name)
        if problem is not None:
            problems.append(problem)
            continue
        listed.append((name, split))
        if name not in files:
            problems.append(_missing_video(name))
            continue
        row = _read_row(number, name, split, values, files[name], traced, problems)
        rows.append(dataclasses.replace(row, wrong_container_fps=layout.wrong_container_fps))
    _add_column_problems(table, problems)
    _add_unlisted(files.keys() - seen, traced.keys() - seen, problems)
    kind = "phantom" if (directory / PHANTOM_MANIFEST).exists() else layout.kind
    return Source(directory, listed, rows, problems, kind)


def stem(name: str) -> str:
    """The name of a video without folder and without the extension of a video file."""
    path = pathlib.PurePosixPath(name.strip().replace("\\", "/"))
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name


def read_table(path: pathlib.Path, required: tuple[str, ...]) -> pd.DataFrame:
    """Reads a CSV as stripped strings, its columns named as in EchoNet-Dynamic whatever their case.

    Raises:
      UserError: missing, not UTF-8, not a table, or without a required column.
    """
    try:
        with warnings.catch_warnings():
            # Pandas would drop what is beyond the last column, such as the digits behind a decimal comma.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; --source is the folder that holds {FILE_LIST}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start}); save it as CSV UTF-8") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path}: is not a table of comma-separated values with decimal points ({error})") from error
    known = {name.lower(): name for name in _COLUMNS}
    table.columns = [known.get(str(c).strip().lower(), str(c).strip()) for c in table.columns]
    table = table.loc[:, ~table.columns.duplicated()]
    if absent := [name for name in required if name not in table.columns]:
        raise UserError(
            f"{path}: lacks the column {', '.join(absent)}; found {', '.join(table.columns)}. "
            "The first line must name the columns, separated by commas"
        )
    return table.apply(lambda column: column.str.strip())


_COLUMNS = (
    *("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"),
    *("X1", "Y1", "X2", "Y2", "Frame"),
)


def _read_tracings(directory: pathlib.Path, problems: list[Problem]) -> dict[str, tuple[Tracing, ...]]:
    path = directory / VOLUME_TRACINGS
    if not path.is_file():
        text = "no such file: no video has tracings"
        problems.append(
            Problem(VOLUME_TRACINGS, "tracings_table_absent", text, KEPT, "stored without; EF can still be used")
        )
        return {}
    table = read_table(path, required=("FileName", "X1", "Y1", "X2", "Y2", "Frame"))
    names = table["FileName"].map(stem).to_numpy()
    columns = ["X1", "Y1", "X2", "Y2"]
    points = np.column_stack([pd.to_numeric(table[c], errors="coerce").to_numpy(np.float64) for c in columns])
    frames = pd.to_numeric(table["Frame"], errors="coerce").to_numpy(np.float64)
    return tracings.group(names, frames, points, problems)


def _find_videos(folder: pathlib.Path, problems: list[Problem]) -> dict[str, pathlib.Path]:
    files = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            text = f"both {files[path.stem].name} and {path.name} are there"
            problems.append(Problem(path.stem, "video_ambiguous", text, KEPT, f"{files[path.stem].name} is used"))
            continue
        files[path.stem] = path
    return files


def _check_identity(name: str, split: str, number: int, seen: set[str]) -> Problem | None:
    line = f"line {number + 2} of {FILE_LIST}"
    if not name:
        return Problem(line, "name_absent", "the row has no FileName", LEFT_OUT, "the row is ignored; name its file")
    if name in seen:
        return Problem(
            name, "name_repeated", f"{line} names it again", LEFT_OUT, "the first row counts; remove the other"
        )
    if split == SPARE_SPLIT:
        text = f"{line} has Split {SPARE_SPLIT}: it is in none of the three"
        return Problem(name, "split_extra", text, SET_ASIDE, f"not converted; set its Split to {SPLITS[0]} to use it")
    if split not in SPLITS:
        text = f"{line} has Split {split!r}, expected {', '.join(SPLITS)}"
        return Problem(name, "split_unknown", text, LEFT_OUT, "the row is ignored; set its Split")
    return None


def _missing_video(name: str) -> Problem:
    text = f"{FILE_LIST} names it, but {VIDEO_FOLDER}/ has no such file"
    return Problem(name, "video_missing", text, LEFT_OUT, "fetch the file, or remove the row")


def _read_row(number, name, split, values, path, traced, problems) -> SourceRow:
    frame_size = {key: _to_count(values.get(key, "")) for key in ("NumberOfFrames", "FrameHeight", "FrameWidth")}
    return SourceRow(
        name=name,
        row=number,
        split=split,
        path=path,
        fps=_read_fps(name, values, problems),
        ef_percent=_read_ef(name, values, problems),
        edv_ml=_read_volume(name, "EDV", values, problems),
        esv_ml=_read_volume(name, "ESV", values, problems),
        num_frames=frame_size["NumberOfFrames"],
        height=frame_size["FrameHeight"],
        width=frame_size["FrameWidth"],
        tracings=_take_tracings(name, traced, problems),
    )


def _read_ef(name: str, values: dict[str, str], problems: list[Problem]) -> float:
    if "EF" not in values:
        return math.nan
    text, value = values["EF"], _to_float(values["EF"])
    if not text or text.lower() in ("nan", "na", "none"):
        problems.append(Problem(name, "ef_absent", "EF is empty", KEPT, "stored without EF; usable as unlabelled"))
        return math.nan
    if not 0 <= value <= 100:
        found = f"EF is {text}, expected 0 to 100 percent"
        problems.append(Problem(name, "ef_out_of_range", found, PARTLY_KEPT, "stored without EF; usable as unlabelled"))
        return math.nan
    return value


def _read_volume(name: str, column: str, values: dict[str, str], problems: list[Problem]) -> float:
    text = values.get(column, "")
    value = _to_float(text)
    if text and not value >= 0:
        found = f"{column} is {text}, expected mL"
        problems.append(Problem(name, "volume_out_of_range", found, PARTLY_KEPT, f"stored without {column}"))
        return math.nan
    return value


def _read_fps(name: str, values: dict[str, str], problems: list[Problem]) -> float:
    text = values.get("FPS", "")
    value = _to_float(text)
    if "FPS" in values and not value > 0:
        found = f"FPS is {text!r}, expected a positive number"
        problems.append(
            Problem(name, "fps_absent", found, KEPT, "the video file's own rate is used, which may be wrong")
        )
    return value if value > 0 else math.nan


def _take_tracings(name: str, traced: dict[str, tuple[Tracing, ...]], problems: list[Problem]) -> tuple[Tracing, ...]:
    found = traced.get(name, ())
    if traced and not found:
        text = f"{VOLUME_TRACINGS} has no usable rows for it"
        problems.append(
            Problem(name, "tracings_absent", text, KEPT, "stored without tracings; usable for EF and as unlabelled")
        )
    return found


def _add_column_problems(table: pd.DataFrame, problems: list[Problem]) -> None:
    actions = {
        "EF": "every video is stored without EF; usable as unlabelled",
        "FPS": "the video files' own rates are used, which may be wrong",
    }
    for column, action in actions.items():
        if column not in table.columns:
            problems.append(Problem(FILE_LIST, f"{column.lower()}_column_absent", f"no column {column}", KEPT, action))


def _add_unlisted(videos: set[str], traced: set[str], problems: list[Problem]) -> None:
    for name in videos:
        text = f"{VIDEO_FOLDER}/ has it, but no row of {FILE_LIST} names it"
        problems.append(Problem(name, "video_unlisted", text, LEFT_OUT, "add a row with its Split (EF may stay empty)"))
    for name in traced - videos:
        text = f"{VOLUME_TRACINGS} has rows for it, {FILE_LIST} and {VIDEO_FOLDER}/ do not"
        problems.append(Problem(name, "tracings_unlisted", text, LEFT_OUT, "its tracings are ignored"))


def _to_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _to_count(text: str) -> int | None:
    value = _to_float(text)
    return int(value) if value >= 0 and value == int(value) else None
