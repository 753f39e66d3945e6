"""Which videos take part."""

import collections
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from echojax import clips, lv
from echojax.errors import UserError
from echojax.records import VideoSet


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Positions of the videos that take part, and how many were left out for which reason."""

    positions: np.ndarray
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.positions)

    def describe(self) -> str:
        reasons = ", ".join(f"{count} left out: {reason}" for reason, count in self.left_out.items() if count)
        return f"{len(self)} videos" + (f" ({reasons})" if reasons else "")


def usual_size(videos: VideoSet) -> tuple[int, int]:
    """The most frequent (height, width) of a data set."""
    sizes = collections.Counter(zip(videos.height.tolist(), videos.width.tolist(), strict=True))
    return sizes.most_common(1)[0][0]


def data_kind(videos: VideoSet) -> str:
    """What the data set shows: "phantom" or "real"; the converter writes it down."""
    manifest = videos.data_dir / "manifest.json"
    return json.loads(manifest.read_text()).get("kind", "real") if manifest.exists() else "real"


def read_names(path: str) -> list[str]:
    """Names of videos from a text file, one a line, with or without `.avi`.

    Raises:
      UserError: the file is not there, is no text or names nothing.
    """
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no readable text file ({error}); expected one video's name a line") from error
    names = [line.strip().removesuffix(".avi") for line in lines if line.strip()]
    if not names:
        raise UserError(f"{path}: is empty, expected one video's name a line")
    return names


def is_traced(videos: VideoSet, position: int) -> bool:
    """True if ED and ES can be told from the tracings: two distinct traced frames inside the video."""
    frames = {tracing.frame for tracing in videos.tracings(position)}
    return len({frame for frame in frames if 0 <= frame < videos.num_frames[position]}) >= 2


def traced_masks(videos: VideoSet, position: int, order: str) -> dict[str, tuple[int, np.ndarray]]:
    """Frame and mask (h, w) of the "ed" and the "es" tracing of a video for which `is_traced` holds."""
    height, width = int(videos.height[position]), int(videos.width[position])
    tracings = [tracing for tracing in videos.tracings(position) if tracing.frame < videos.num_frames[position]]
    pair = lv.ed_es_tracings(tracings, height, width, order=order)
    return {
        phase: (tracing.frame, lv.mask_from_tracing(tracing.points, height, width))
        for phase, tracing in (("ed", pair.ed), ("es", pair.es))
    }


def cohort(videos: VideoSet, positions: np.ndarray, keep: Mapping[str, Callable[[int], bool]]) -> Cohort:
    """Applies the conditions in order; each maps the reason for leaving a video out to the test for keeping it."""
    left_out = dict.fromkeys(keep, 0)
    kept = []
    for position in positions:
        failed = next((reason for reason, test in keep.items() if not test(int(position))), None)
        if failed is None:
            kept.append(position)
        else:
            left_out[failed] += 1
    return Cohort(np.array(kept, np.int64), left_out)


def ssl_positions(videos: VideoSet, num_labelled: int, num_unlabelled: int) -> tuple[np.ndarray, np.ndarray]:
    """Labelled and unlabelled TRAIN videos (CSS, seed 0 over all TRAIN rows in file order); -1 is the paper's share.

    The draw is over the source's list, so that a video that could not be read changes nobody else's part.
    """
    names = videos.source_names("TRAIN")
    default_labelled, default_unlabelled = clips.default_ssl_counts(len(names))
    labelled, unlabelled = clips.ssl_split(
        len(names),
        default_labelled if num_labelled < 0 else num_labelled,
        default_unlabelled if num_unlabelled < 0 else num_unlabelled,
    )
    position_of = {videos.name[position]: position for position in videos.select("TRAIN")}

    def positions(rows):
        found = [position_of[names[row]] for row in np.sort(rows) if names[row] in position_of]
        return np.array(found, np.int64)

    return positions(labelled), positions(unlabelled)
