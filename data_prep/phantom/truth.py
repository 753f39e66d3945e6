"""The true masks of phantoms as mask records: the target of a student that learns from no teacher.

Nothing of it is stored with the videos: a phantom's geometry follows from the request in `phantoms.json` alone, in a
tenth of the time that rendering it takes.
"""

import functools
import os
import pathlib

import numpy as np

from data_prep.mask_files import write_split
from data_prep.phantom.dataset import SPLITS, draw_phantom, read_request, split_of
from data_prep.phantom.heart import BeatingHeart
from data_prep.phantom.parameters import PhantomParameters


def write_truth(
    source: str | os.PathLike, masks_dir: str | os.PathLike, encoding: str = "uint8", progress: bool = False
) -> int:
    """Writes the mask of every frame of every phantom as records; a killed run goes on where it stopped.

    Args:
      source: what `python -m data_prep phantom` wrote.
      masks_dir: where to; gets one folder per split. Masks hold 0 and 255.
      encoding: `uint8` and `floor` are the same here; `float32` stores logits of +-6.93.
      progress: show a bar on stderr.

    Returns:
      number of videos.

    Raises:
      UserError: the source holds no finished phantoms, or those of another version of the generator.
    """
    request = read_request(pathlib.Path(source))
    members: dict[str, list[PhantomParameters]] = {split: [] for split in SPLITS}
    for index in range(request.num_videos):
        members[split_of(request.seed, index, request.split_shares)].append(draw_phantom(request, index))
    options = {"encoding": encoding, "producer": f"truth of {request}", "progress": progress}
    for split, of_split in members.items():
        if of_split:
            by_name = {parameters.name: parameters for parameters in of_split}
            read = functools.partial(_true_masks, by_name)
            write_split(pathlib.Path(masks_dir), split, list(by_name), read, **options)
    return request.num_videos


def _true_masks(phantoms: dict[str, PhantomParameters], name: str) -> np.ndarray:
    return np.where(BeatingHeart(phantoms[name]).masks(), np.uint8(255), np.uint8(0))
