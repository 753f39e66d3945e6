"""EchoCLIP's embeddings of whole data sets, on disk: what phase, ejection fraction and scores are computed from.

    extract_features(encoder, names, read_frames, "runs/echoclip/test")
    features = load_features("runs/echoclip/test", "0X13ACF1360A23F50F")
    features.frames @ encoder.embed_texts(VALVE_PROMPTS).T          # similarities (t, 2)

A folder of features holds `features.json`, which says which checkpoint made them, in which precision and of every how
many frames, and a file `<name>.npz` per video:

| array    | shape  | holds                                                                                    |
|----------|--------|------------------------------------------------------------------------------------------|
| `frames` | (t, d) | float32, unit length: every frame, or every so many-th, whole                            |
| `zoomed` | (n, d) | float32, unit length: every second of the first 40 frames, with a tenth cut off all round |

Embeddings instead of scores: any prompt may be asked later, without the videos.
"""

import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from echojax.echoclip.encoder import Encoder
from echojax.errors import UserError
from echojax.files import remove_leftovers, replaced_file, write_json

PLAN_NAME = "features.json"
# Frames that the zero-shot ejection fraction looks at.
EF_FRAMES = slice(0, 40, 2)


class Features(NamedTuple):
    """Embeddings of one video; see the module's table."""

    frames: Float[np.ndarray, "t d"]
    zoomed: Float[np.ndarray, "n d"]


def embed_video(encoder: Encoder, frames: UInt8[np.ndarray, "t h w c"], frame_period: int = 1) -> Features:
    """Embeddings of one video, which is on the device a batch at a time; whole frames only every `frame_period`."""
    return Features(encoder.embed_frames(frames[::frame_period]), encoder.embed_frames(frames[EF_FRAMES], zoom=True))


def extract_features(
    encoder: Encoder,
    names: Sequence[str],
    read_frames: Callable[[str], UInt8[np.ndarray, "t h w c"]],
    directory: str | os.PathLike,
    frame_period: int = 1,
) -> Iterator[str]:
    """Writes the features of videos that have none yet; yields each name when it is done.

    One video is in memory at a time. A killed extraction goes on where it stopped: a file is there whole or not at
    all. Nothing happens until the iterator is run through.

    Args:
      names: of the videos.
      read_frames: gives the frames of a name.
      directory: of the features.
      frame_period: every how many frames of a video are embedded whole.

    Raises:
      UserError: the folder was begun with another checkpoint, precision or period.
    """
    directory = pathlib.Path(directory)
    begin_features(encoder, directory, frame_period)
    remove_leftovers(directory)
    for name in names:
        path = _path(directory, name)
        if path.exists():
            continue
        features = embed_video(encoder, read_frames(name), frame_period)
        with replaced_file(path) as temporary:
            np.savez(temporary, **features._asdict())
        yield name


def begin_features(encoder: Encoder, directory: str | os.PathLike, frame_period: int = 1) -> None:
    """Writes what a folder of features is made with, or makes sure that it was begun with the same.

    Raises:
      UserError: it was begun with another checkpoint, precision or period.
    """
    dtype = encoder.network.description["dtype"]
    plan = {"producer": encoder.producer, "dtype": dtype, "frame_period": frame_period}
    path = pathlib.Path(directory) / PLAN_NAME
    if not path.exists():
        write_json(path, plan)
        return
    begun = json.loads(path.read_text(encoding="utf-8"))
    if begun != plan:
        raise UserError(f"{directory} was begun with {begun}, this is {plan}; remove the folder or choose another")


def load_features(directory: str | os.PathLike, name: str) -> Features:
    """Reads the features of one video.

    Raises:
      UserError: there are none, or the file is damaged.
    """
    path = _path(pathlib.Path(directory), name)
    if not path.exists():
        raise UserError(f"{path} does not exist: extract the features of {name} with echojax.echoclip.extract_features")
    try:
        # Opened here, because NumPy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file) as arrays:
            return Features(arrays["frames"], arrays["zoomed"])
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}); remove it and extract the features again") from error


def _path(directory: pathlib.Path, name: str) -> pathlib.Path:
    return directory / f"{name}.npz"
