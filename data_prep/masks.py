"""CSS's folders of mask logits to records, and back.

The original writes one file per video, `<split>_infer_cmpct/<name>.npy`: float32 logits `(t, 112, 112)`, one per frame.

    python -m data_prep masks --source=output/segmentation --data_dir=runs/css/masks --videos=data/echonet
    python -m data_prep masks --to_npy --source=runs/css/masks --data_dir=output/segmentation
"""

import argparse
import pathlib

import numpy as np
import tqdm

from data_prep import problems as problems_lib
from data_prep.problems import LEFT_OUT, Problem
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
        writer = masks.MaskWriter(masks_dir, split, names, encoding, producer=str(folder.absolute()))
        for shard, members in tqdm.tqdm(list(writer.pending()), unit="shard", desc=split, disable=not progress):
            writer.write_shard(shard, ((name, np.load(folder / f"{name}.npy")) for name in members))
        writer.finish()
        problems_lib.write_report(writer.directory, listed)
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


def _check_file(path: pathlib.Path, videos: records.VideoSet | None, found: list[Problem]) -> bool:
    """Reads the header of a mask file; says whether it can be used."""
    kind, text = _find_fault(path, videos)
    if kind is None:
        return True
    found.append(Problem(path.stem, kind, f"{path}: {text}", LEFT_OUT, "infer the masks of this video again"))
    return False


def _find_fault(path: pathlib.Path, videos: records.VideoSet | None) -> tuple[str | None, str]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        return "mask_unreadable", f"is no readable .npy file ({error})"
    if array.dtype != np.float32 or array.ndim != 3 or len(array) == 0:
        return "mask_not_logits", f"holds {array.dtype} {array.shape}, expected float32 logits (t, h, w)"
    if videos is None:
        return None, ""
    if path.stem not in videos:
        return "mask_without_video", f"no video of this name in {videos.data_dir}"
    position = videos.position(path.stem)
    expected = tuple(int(n[position]) for n in (videos.num_frames, videos.height, videos.width))
    if array.shape != expected:
        return "mask_shape_differs", f"holds {array.shape}, the video has {expected} (frames, height, width)"
    return None, ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line of `python -m data_prep masks`."""
    parser.add_argument(
        "--source", required=True, help="folder with train_infer_cmpct/ ...; with --to_npy one of masks"
    )
    parser.add_argument("--data_dir", required=True, help="where to; run again to continue")
    parser.add_argument("--videos", default=None, help="data_dir of the videos: check number and size of frames")
    parser.add_argument("--encoding", choices=masks.ENCODINGS, default="uint8", help="how to store (default: uint8)")
    parser.add_argument("--to_npy", action="store_true", help="the other way: mask records to .npy files of logits")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns 0, or 1 if some files were left out."""
    source, target = pathlib.Path(args.source), pathlib.Path(args.data_dir)
    if args.to_npy:
        print(f"{to_npy(source, target)} files written to {target}")
        return 0
    videos = None if args.videos is None else records.open_videos(args.videos)
    found = from_npy(source, target, videos, args.encoding)
    for problem in found:
        print(problem)
    print(f"masks of {len(records.open_masks(target))} videos in {target}; {len(found)} files left out")
    return 1 if found else 0
