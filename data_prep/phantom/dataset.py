"""Many phantoms as files, in the layout of EchoNet-Dynamic.

DIR/Videos/<name>.avi     Motion JPEG, 112x112
DIR/FileList.csv          names without extension; EF, volumes, size, rate, frames, split
DIR/VolumeTracings.csv    names with extension; 21 rows for each of ED and ES: the long axis, then 20 chords
DIR/Truth/<name>.npz      with truth=True: mask, long axis and volume of every frame
DIR/phantoms.json         the request; written last, so its presence means that the rest is whole

EF, EDV and ESV of a video are those of its traced beat, the one with the largest stroke: in an irregular rhythm other
beats eject less. They are volumes of the imaged outline's discs (see `sampling.py` on foreshortened views).
"""

import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from tqdm import tqdm

from data_prep.phantom.ingredients import check_without
from data_prep.phantom.parameters import SIZE_PX, PhantomParameters
from data_prep.phantom.render import Phantom, render
from data_prep.phantom.sampling import EF_RANGE_PERCENT, check_request, sample_parameters
from echojax.errors import UserError
from echojax.files import replaced_file, write_json, write_text
from echojax.video import write_video

# Changes whenever the same seed gives other pictures.
GENERATOR_VERSION = 6
MANIFEST = "phantoms.json"
FILE_COLUMNS = ("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split")
TRACING_COLUMNS = ("FileName", "X1", "Y1", "X2", "Y2", "Frame")
SPLITS = ("TRAIN", "VAL", "TEST")
# Each worker is one process on one core; the linear algebra inside must not start threads of its own.
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Request:
    """What a data set is made from. Equal requests give equal bytes."""

    num_videos: int
    seed: int
    num_frames: tuple[int, int]
    ef_range_percent: tuple[float, float]
    split_shares: tuple[float, float, float]
    shuffle: bool
    truth: bool
    variety: float | tuple[float, float]
    without: tuple[str, ...] = ()
    version: int = GENERATOR_VERSION


def write_dataset(
    output: str | os.PathLike,
    num_videos: int,
    seed: int,
    *,
    num_frames: int | tuple[int, int] = (80, 200),
    ef_range_percent: tuple[float, float] = EF_RANGE_PERCENT,
    split_shares: tuple[float, float, float] = (0.75, 0.125, 0.125),
    shuffle: bool = False,
    truth: bool = False,
    variety: float | tuple[float, float] = 1.0,
    without: Sequence[str] = (),
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> pathlib.Path:
    """Renders videos 0..num_videos-1 of a seed and writes them in EchoNet-Dynamic's layout.

    A video depends on the seed and its number alone, not on how many there are or how many workers draw them.

    Args:
        output: directory; a complete data set of the same request in it is left as it is.
        num_videos: how many, at least 1.
        seed: 0 or more.
        num_frames: frames per video, or an inclusive range.
        ef_range_percent: LVEF is uniform in it.
        split_shares: shares of TRAIN, VAL and TEST.
        shuffle: order of the rows in both tables, by the seed; by number otherwise.
        truth: also write the truth of every frame.
        variety: 0..1, how much videos differ from each other, or a range of it; see `sample_parameters`.
        without: names of `ingredients.INGREDIENTS` to leave out.
        workers: processes; None for one per core.
        overwrite: replace a data set of another request.
        progress: show a bar.

    Returns:
        The directory.

    Raises:
        UserError: a request that cannot be met, or a directory that holds another data set.
    """
    frames = check_request(seed, 0, num_frames, ef_range_percent, variety)
    ef_range, shares = tuple(ef_range_percent), tuple(split_shares)
    request = Request(num_videos, seed, frames, ef_range, shares, shuffle, truth, variety, check_without(without))
    _check_dataset_request(request, workers)
    output = pathlib.Path(output)
    if _is_complete(output, request, overwrite):
        return output
    (output / "Videos").mkdir(parents=True, exist_ok=True)
    (output / MANIFEST).unlink(missing_ok=True)
    if truth:
        (output / "Truth").mkdir(exist_ok=True)
    order = np.random.default_rng([seed, num_videos]).permutation(num_videos) if shuffle else np.arange(num_videos)
    bar = tqdm(_run(output, request, workers), total=num_videos, desc="phantoms", unit="video", disable=not progress)
    results = list(bar)
    _write_table(output / "FileList.csv", FILE_COLUMNS, [results[k][0] for k in order])
    _write_table(output / "VolumeTracings.csv", TRACING_COLUMNS, [row for k in order for row in results[k][1]])
    write_json(output / MANIFEST, asdict(request))
    return output


def _check_dataset_request(request, workers):
    if request.num_videos < 1:
        raise UserError(f"phantom: num_videos must be at least 1, got {request.num_videos}")
    if workers is not None and workers < 1:
        raise UserError(f"phantom: workers must be at least 1, got {workers}")
    shares = request.split_shares
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise UserError(f"phantom: shares of TRAIN, VAL and TEST must be 0 or more and sum to 1, got {list(shares)}")


def _is_complete(output, request, overwrite):
    """Whether this very data set is there already; UserError where another one is in the way."""
    if (output / MANIFEST).exists() and not overwrite:
        if json.loads((output / MANIFEST).read_text()) == json.loads(json.dumps(asdict(request))):
            return True
        raise UserError(
            f"{output / MANIFEST}: this directory holds phantoms of another request; choose another --output, "
            f"or pass --overwrite to replace them"
        )
    if (output / "FileList.csv").exists() and not (output / MANIFEST).exists() and not overwrite:
        raise UserError(
            f"{output}: holds a FileList.csv that is not from a finished phantom run; choose another --output, "
            f"or pass --overwrite to replace it"
        )
    return False


def _run(output: pathlib.Path, request: Request, workers: int | None) -> Iterator[tuple[tuple, list[tuple]]]:
    """Rows of both tables for each video, in order, while the files are written."""
    workers = min(workers or os.cpu_count() or 1, request.num_videos)
    jobs = [(output, request, index) for index in range(request.num_videos)]
    if workers == 1:
        yield from map(_write_video, jobs)
        return
    with single_threaded_children():
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
            yield from pool.map(_write_video, jobs, chunksize=max(1, min(4, request.num_videos // (4 * workers))))


@contextlib.contextmanager
def single_threaded_children() -> Iterator[None]:
    """While it is open, processes that are started run their linear algebra on one thread each."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def read_request(directory: pathlib.Path) -> Request:
    """What a finished data set was made from.

    Raises:
        UserError: there is none, or it was made by another version of the generator.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise UserError(
            f"{directory}: no {MANIFEST}, so these are no phantoms, or unfinished ones; make them with "
            f"`python -m data_prep phantom --output={directory} --num_videos=N`"
        )
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in json.loads(path.read_text()).items()}
    if values["version"] != GENERATOR_VERSION:
        raise UserError(
            f"{path}: made by version {values['version']} of the generator, this is {GENERATOR_VERSION}, whose hearts "
            "are others; make the phantoms again with --overwrite"
        )
    return Request(**values)


def draw_phantom(request: Request, index: int) -> PhantomParameters:
    """The parameters of one video of a data set."""
    drawn = request.num_frames, request.ef_range_percent, request.variety, request.without
    return sample_parameters(request.seed, index, *drawn)


def _write_video(job):
    output, request, index = job
    phantom = render(draw_phantom(request, index))
    name = phantom.parameters.name
    write_video(output / "Videos" / f"{name}.avi", np.repeat(phantom.frames[..., None], 3, -1), phantom.parameters.fps)
    if request.truth:
        _write_truth(output / "Truth" / f"{name}.npz", phantom)
    return _file_row(phantom, split_of(request.seed, index, request.split_shares)), _tracing_rows(phantom)


def split_of(seed: int, index: int, shares: tuple[float, float, float]) -> str:
    """Split of a video, from its number alone: multiples of the golden ratio fill the unit interval evenly, so that any
    first n videos hold the shares to within one or two."""
    offset = np.random.default_rng([seed, 1]).random()
    place = (offset + index * 0.6180339887498949) % 1
    # The edges are open to the left: a split of share 0 stays empty.
    return SPLITS[int(place >= shares[0]) + int(place >= shares[0] + shares[1] and shares[2] > 0)]


def _file_row(phantom: Phantom, split: str) -> tuple:
    parameters = phantom.parameters
    volumes = phantom.ef_percent, phantom.esv_ml, phantom.edv_ml
    return parameters.name, *volumes, SIZE_PX, SIZE_PX, int(parameters.fps), parameters.num_frames, split


def _tracing_rows(phantom: Phantom) -> list[tuple]:
    name = f"{phantom.parameters.name}.avi"
    frames = phantom.ed_frame, phantom.es_frame
    return [(name, *row, frame) for frame in frames for row in phantom.tracing(frame).tolist()]


def _write_truth(path: pathlib.Path, phantom: Phantom) -> None:
    """masks (bits packed along x), long_axis, volume_ml, area_px, ed_frame, es_frame, cm_per_px."""
    arrays = {
        "masks": np.packbits(phantom.masks, axis=-1),
        "long_axis": phantom.long_axis.astype(np.float32),
        "volume_ml": phantom.volume_ml.astype(np.float32),
        "area_px": phantom.area_px,
        "ed_frame": phantom.ed_frame,
        "es_frame": phantom.es_frame,
        "cm_per_px": phantom.parameters.cm_per_px,
    }
    with replaced_file(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def _write_table(path: pathlib.Path, columns: tuple[str, ...], rows: Iterable[tuple]) -> None:
    lines = [",".join(columns)]
    lines += [",".join(f"{v:.6f}" if isinstance(v, float) else str(v) for v in row) for row in rows]
    write_text(path, "\n".join(lines) + "\n")
