"""Masks of other programs to records, and back. What a source holds is recognised:

CSS's folders: one file per video, `<split>_infer_cmpct/<name>.npy`, float32 logits `(t, 112, 112)`, one per frame

    python -m data_prep masks --source=output/segmentation --data_dir=runs/css/masks --videos=data/echonet
    python -m data_prep masks --to_npy --source=runs/css/masks --data_dir=output/segmentation

EchoDFKD's folder: `<name>.seg.npz`, and the older scripts' files (`echojax.records.seg_npz`)

    python -m data_prep masks --source=Output/echonet_deeplabV3 --data_dir=runs/dfkd_targets/masks --videos=data/echonet
    python -m data_prep masks --to_seg --source=runs/dfkd_targets/masks --data_dir=Output/echonet_deeplabV3

phantoms: their true masks, drawn again from `phantoms.json`

    python -m data_prep masks --source=phantoms --data_dir=data/phantoms_truth
"""

import argparse
import functools
import pathlib

import numpy as np
import tqdm

from data_prep.mask_files import find_misfit, leave_out, write_split
from data_prep.phantom.truth import write_truth
from data_prep.problems import Problem
from data_prep.seg_files import from_seg_files
from data_prep.source import PHANTOM_MANIFEST
from echojax import records
from echojax.errors import UserError
from echojax.files import replaced_file
from echojax.records import masks

SPLITS = ("train", "val", "test")
FOLDER = "{}_infer_cmpct"


def from_npy(
    source: pathlib.Path,
    masks_dir: pathlib.Path,
    videos: records.VideoSet | None = None,
    encoding: str = "uint8",
    progress: bool = True,
) -> list[Problem]:
    """Writes the mask files of every split as records; a killed run goes on where it stopped.

    Args:
      source: the folder that holds `train_infer_cmpct/`, `val_infer_cmpct/`, `test_infer_cmpct/`, or some of them.
      masks_dir: where to; gets one folder per split.
      videos: if given, every file must have as many frames as its video, and their size.
      encoding: see `echojax.records.masks`.
      progress: show a bar on stderr.

    Returns:
      the files that were left out, with the reason; also in `report.csv` of each split's folder.
    """
    folders = {split: source / FOLDER.format(split) for split in SPLITS}
    folders = {split: folder for split, folder in folders.items() if folder.is_dir()}
    if not folders:
        raise UserError(f"{source}: holds none of the folders {', '.join(FOLDER.format(s) for s in SPLITS)}")
    found = []
    for split, folder in folders.items():
        listed: list[Problem] = []
        names = [path.stem for path in sorted(folder.glob("*.npy")) if _check_file(path, videos, listed)]
        if not names:
            raise UserError(f"{folder}: holds no usable .npy file" + (f"; first: {listed[0]}" if listed else ""))
        read = functools.partial(_read_npy, folder)
        producer = str(folder.absolute())
        options = {"encoding": encoding, "producer": producer, "listed": listed, "progress": progress}
        write_split(masks_dir, split, names, read, **options)
        found += listed
    return found


def to_npy(masks_dir: pathlib.Path, output: pathlib.Path, progress: bool = True) -> int:
    """Writes masks as the original's files: float32 logits `(t, h, w)`. Files that are there are kept.

    Masks stored as uint8 come back as the logit of the stored probability (`echojax.records.decode_logits`).

    Returns:
      number of files written.
    """
    written = 0
    folders = sorted(path.parent for path in masks_dir.glob(f"*/{masks.PLAN_NAME}"))
    if not folders:
        raise UserError(f"{masks_dir}: holds no folder of masks (train/, val/, test/)")
    for folder in folders:
        mask_set = records.open_masks(folder)
        target = output / FOLDER.format(folder.name)
        for name in tqdm.tqdm(map(str, mask_set.name), total=len(mask_set), desc=folder.name, disable=not progress):
            path = target / f"{name}.npy"
            if path.is_file():
                continue
            with replaced_file(path) as temporary:
                np.save(temporary, records.decode_logits(mask_set.record(name).frames))
            written += 1
    return written


def _to_seg(masks_dir: pathlib.Path, output: pathlib.Path) -> int:
    return records.export_seg_files(records.open_masks(masks_dir), output)


def _read_npy(folder: pathlib.Path, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.npy")


def _check_file(path: pathlib.Path, videos: records.VideoSet | None, found: list[Problem]) -> bool:
    """Reads the header of a mask file; says whether it can be used."""
    fault = _find_fault(path, videos)
    if fault is not None:
        found.append(leave_out(path, path.stem, *fault))
    return fault is None


def _find_fault(path: pathlib.Path, videos: records.VideoSet | None) -> tuple[str, str] | None:
    """Kind and text of what keeps a file from being used."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        return "mask_unreadable", f"is no readable .npy file ({error})"
    if array.dtype != np.float32 or array.ndim != 3 or len(array) == 0:
        return "mask_not_logits", f"holds {array.dtype} {array.shape}, expected float32 logits (t, h, w)"
    return None if videos is None else find_misfit(path.stem, array.shape, videos)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line of `python -m data_prep masks`."""
    parser.add_argument(
        "--source",
        required=True,
        help="folder with train_infer_cmpct/ ..., of .seg.npz files, or of phantoms; with --to_* one of mask records",
    )
    parser.add_argument("--data_dir", required=True, help="where to; run again to continue")
    parser.add_argument(
        "--videos", default=None, help="data_dir of the videos: check number and size of frames; .seg.npz files need it"
    )
    parser.add_argument(
        "--encoding",
        choices=masks.ENCODINGS,
        default=None,
        help="how to store (default: uint8; of .seg.npz files floor, which keeps their bits)",
    )
    back = parser.add_mutually_exclusive_group()
    back.add_argument("--to_npy", action="store_true", help="the other way: mask records to CSS's .npy files of logits")
    back.add_argument("--to_seg", action="store_true", help="the other way: mask records to EchoDFKD's .seg.npz files")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns 0, or 1 if some files were left out."""
    source, target = pathlib.Path(args.source), pathlib.Path(args.data_dir)
    if args.to_npy or args.to_seg:
        export = to_npy if args.to_npy else _to_seg
        print(f"{export(source, target)} files written to {target}")
        return 0
    found = _import_masks(source, target, args.videos, args.encoding)
    for problem in found:
        print(problem)
    print(f"masks of {len(records.open_masks(target))} videos in {target}; {len(found)} files left out")
    return 1 if found else 0


def _import_masks(source: pathlib.Path, target: pathlib.Path, data_dir: str | None, encoding: str | None):
    """Recognises what the source holds; returns what was left out of it."""
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; expected {FOLDER.format('train')}/ ..., .seg.npz files or phantoms")
    if (source / PHANTOM_MANIFEST).is_file():
        write_truth(source, target, encoding or "uint8", progress=True)
        return []
    videos = None if data_dir is None else records.open_videos(data_dir)
    if any((source / FOLDER.format(split)).is_dir() for split in SPLITS) or not records.list_seg_files(source):
        return from_npy(source, target, videos, encoding or "uint8")
    if videos is None:
        raise UserError(
            f"{source}: mask files of all splits together; give --videos=DATA_DIR, whose records say which video "
            "belongs to which split"
        )
    return from_seg_files(source, target, videos, encoding)
