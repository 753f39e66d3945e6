"""What importing masks from any source shares: checking one video's masks, and writing those of a split."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tqdm

from data_prep import problems as problems_lib
from data_prep.problems import LEFT_OUT, Problem
from echojax import records
from echojax.records import masks


def write_split(
    masks_dir: pathlib.Path,
    split: str,
    names: Sequence[str],
    read: Callable[[str], np.ndarray],
    *,
    encoding: str,
    producer: str,
    listed: Sequence[Problem] = (),
    progress: bool = True,
) -> None:
    """Writes the masks of one split as records, with a report; a killed run goes on where it stopped.

    Args:
      names: videos of the split.
      read: gives the masks of one of them, as `MaskWriter.write_shard` takes them.
      encoding: see `echojax.records.masks`.
      producer: where the masks come from, in words.
      listed: what was left out, for `report.csv`.
    """
    writer = masks.MaskWriter(masks_dir, split, names, encoding, producer=producer)
    for shard, members in tqdm.tqdm(list(writer.pending()), unit="shard", desc=split.lower(), disable=not progress):
        writer.write_shard(shard, ((name, read(name)) for name in members))
    writer.finish()
    problems_lib.write_report(writer.directory, listed)


def find_misfit(name: str, shape: Sequence[int], videos: records.VideoSet) -> tuple[str, str] | None:
    """Kind and text of what keeps masks `(t, h, w)` from belonging to a video; None if they do."""
    if name not in videos:
        return "mask_without_video", f"no video of this name in {videos.data_dir}"
    position = videos.position(name)
    expected = tuple(int(n[position]) for n in (videos.num_frames, videos.height, videos.width))
    if tuple(shape) != expected:
        return "mask_shape_differs", f"holds {tuple(shape)}, the video has {expected} (frames, height, width)"
    return None


def leave_out(path: pathlib.Path, name: str, kind: str, text: str) -> Problem:
    """The finding that a file of masks cannot be used."""
    return Problem(name, kind, f"{path}: {text}", LEFT_OUT, "infer the masks of this video again")
