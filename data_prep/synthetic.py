"""EchoNet-Synthetic as its authors publish it to records: EchoNet-Dynamic's layout, with a table that needs repair.

    python -m data_prep synthetic --source=EchoNet-Synthetic/dynamic --data_dir=data/synthetic

Reynaud et al., MICCAI 2024, arXiv 2406.00808: 10,030 videos `sample_000000.avi` ... of 192 frames, made by a diffusion
model that was told an LVEF, and no tracings. What is wrong with `FileList.csv` and what becomes of it:

| found                                                      | stored                                                 |
|------------------------------------------------------------|--------------------------------------------------------|
| FrameHeight, FrameWidth, NumberOfFrames: in truth the      | put right, and compared with each video                |
| frames, the height and the size of a batch                 |                                                        |
| ESV and EDV: 0                                             | unknown                                                |
| FPS: empty, or the 30 of the AVI headers                   | 32, the rate at which the videos were generated        |
| EF: a whole percent, at times one too low by truncation    | as it is: what the generator was asked for             |
| Split: EXTRA                                               | not converted                                          |

All 10,030 videos take 72 GB, and a third of it with `--pixels=gray`: their three channels show one, and EchoDFKD's
student sees one.
"""

import argparse
import pathlib
import re

import numpy as np
import pandas as pd

from data_prep import echonet
from data_prep.problems import KEPT, Problem
from data_prep.source import ECHONET, FILE_LIST, Layout, read_table, stem
from echojax.errors import UserError

FPS = 32.0
# OpenCV's writer was given a default instead of the true rate.
WRONG_CONTAINER_FPS = 30.0
_NAME = re.compile(r"sample_\d+")


def repair(table: pd.DataFrame, problems: list[Problem]) -> pd.DataFrame:
    """Mends the table of `FileList.csv`, all strings, and says so.

    Raises:
      UserError: its names are not those of EchoNet-Synthetic, whose faults others do not share.
    """
    if not _has_synthetic_names(table):
        first = table["FileName"].iloc[0] if len(table) else "no row at all"
        raise UserError(
            f"{FILE_LIST}: names {first}, expected sample_000000 ...: this is not EchoNet-Synthetic; use "
            "`python -m data_prep echonet`"
        )
    table = table.copy()
    _repair_sizes(table, problems)
    _repair_fps(table, problems)
    _repair_volumes(table, problems)
    text = "EF is what the generator was asked for, a whole percent, at times one too low through truncation"
    problems.append(Problem(FILE_LIST, "ef_requested", text, KEPT, "stored as it is; nobody measured it"))
    return table


SYNTHETIC = Layout("synthetic", "synthetic", repair, WRONG_CONTAINER_FPS)


def find_layout(directory: pathlib.Path) -> Layout:
    """EchoNet-Synthetic's layout if the names of the source say so, else EchoNet-Dynamic's."""
    if not (directory / FILE_LIST).is_file():
        return ECHONET
    table = read_table(directory / FILE_LIST, required=("FileName",))
    return SYNTHETIC if _has_synthetic_names(table) else ECHONET


def _has_synthetic_names(table: pd.DataFrame) -> bool:
    return len(table) > 0 and bool(_NAME.fullmatch(stem(table["FileName"].iloc[0])))


def _repair_sizes(table: pd.DataFrame, problems: list[Problem]) -> None:
    """The writer took the shape of a batch, (b, t, h, w, c), for that of a video, (h, w, t): one axis off."""
    columns = ["FrameHeight", "FrameWidth", "NumberOfFrames"]
    if not set(columns) <= set(table.columns):
        return
    height, width, _ = (pd.to_numeric(table[column], errors="coerce") for column in columns)
    # The videos are square: where the two differ, the first is the number of frames.
    shifted = ((height != width) & height.notna() & width.notna()).to_numpy()
    if not shifted.any():
        return
    first = ", ".join(table.loc[shifted, columns].iloc[0])
    table.loc[shifted, columns] = table.loc[shifted, ["FrameWidth", "FrameWidth", "FrameHeight"]].to_numpy()
    mended = ", ".join(table.loc[shifted, columns].iloc[0])
    text = f"FrameHeight, FrameWidth, NumberOfFrames hold frames, height, batch size in {shifted.sum()} rows ({first})"
    action = f"put right ({mended}) and compared with each video"
    problems.append(Problem(FILE_LIST, "columns_shifted", text, KEPT, action))


def _repair_fps(table: pd.DataFrame, problems: list[Problem]) -> None:
    given = table["FPS"] if "FPS" in table.columns else pd.Series("", index=table.index)
    wrong = ((given == "") | (pd.to_numeric(given, errors="coerce") == WRONG_CONTAINER_FPS)).to_numpy()
    table["FPS"] = np.where(wrong, f"{FPS:g}", given)
    text = f"AVI headers say {WRONG_CONTAINER_FPS:g} frames per second, a default"
    text += f"; FPS is empty or says so too in {wrong.sum()} rows" if wrong.any() else ""
    action = f"{FPS:g} is stored, at which the videos were generated, or what FPS says otherwise"
    problems.append(Problem(FILE_LIST, "fps_repaired", text, KEPT, action))


def _repair_volumes(table: pd.DataFrame, problems: list[Problem]) -> None:
    columns = [column for column in ("ESV", "EDV") if column in table.columns]
    if not columns:
        return
    empty = (table[columns].apply(pd.to_numeric, errors="coerce") == 0).all(axis=1).to_numpy()
    if empty.any():
        table.loc[empty, columns] = ""
        text = f"{' and '.join(columns)} are 0 in {empty.sum()} rows"
        problems.append(Problem(FILE_LIST, "volumes_absent", text, KEPT, "stored as unknown: the generator has none"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line of `python -m data_prep synthetic`."""
    echonet.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns 0, or 1 if some of the input failed."""
    return echonet.run_conversion(args, SYNTHETIC)
