"""EchoDFKD's folders of mask files to mask records; see `echojax.records.seg_npz` for their shapes.

The original keeps the masks of all splits in one folder, so that the videos must say which split each belongs to.
"""

import pathlib

import tqdm

from data_prep.mask_files import find_misfit, leave_out, write_split
from data_prep.problems import Problem
from data_prep.source import SPLITS
from echojax import records
from echojax.errors import UserError
from echojax.records.seg_npz import MaskFileError


def from_seg_files(
    source: pathlib.Path,
    masks_dir: pathlib.Path,
    videos: records.VideoSet,
    encoding: str | None = None,
    progress: bool = True,
) -> list[Problem]:
    """Writes every usable mask file of a folder as records.

    Args:
      source: the folder of `<name>.seg.npz`, or of the older scripts' files.
      masks_dir: where to; gets one folder per split that has masks.
      videos: each file must have as many frames as its video, and their size.
      encoding: by default `floor`, bit for bit what the files hold, or `uint8` if the first of them holds logits.
      progress: show a bar on stderr.

    Returns:
      the files that were left out, with the reason; also in `report.csv` of each split's folder.

    Raises:
      UserError: no file is usable.
    """
    files = records.list_seg_files(source)
    found: list[Problem] = []
    usable = {}
    for name, path in tqdm.tqdm(files.items(), unit="file", desc="checking", disable=not progress):
        dtype = _check_file(name, path, videos, found)
        if dtype is not None:
            usable[name] = path
            encoding = encoding or ("floor" if dtype == "uint8" else "uint8")
    if not usable:
        raise UserError(f"{source}: holds no usable mask file" + (f"; first: {found[0]}" if found else ""))
    for split in SPLITS:
        members = set(map(str, videos.name[videos.select(split)]))
        names = [name for name in usable if name in members]
        if names:
            # What belongs to no video is listed in every split's report.
            listed = [problem for problem in found if problem.name in members or problem.name not in videos]
            options = {"encoding": encoding, "producer": str(source.absolute()), "listed": listed, "progress": progress}
            write_split(masks_dir, split, names, lambda name: records.read_seg_file(usable[name]), **options)
    return found


def _check_file(name: str, path: pathlib.Path, videos: records.VideoSet, found: list[Problem]) -> str | None:
    """Reads a whole file; returns the type of its masks, or None if it cannot be used, which is then among `found`."""
    try:
        masks = records.read_seg_file(path)
    except MaskFileError as error:
        found.append(leave_out(path, name, error.kind, error.text))
        return None
    misfit = find_misfit(name, masks.shape, videos)
    if misfit is not None:
        found.append(leave_out(path, name, *misfit))
        return None
    return str(masks.dtype)
