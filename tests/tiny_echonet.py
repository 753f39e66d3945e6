"""A source directory in EchoNet-Dynamic's layout, of a few tiny videos, to be damaged by tests."""

import csv
import dataclasses
import functools
import pathlib
import tempfile

import numpy as np

from echojax import video

NUM_FRAMES = 10
SIZE = 32
FPS = 50.0
ED_FRAME, ES_FRAME = 7, 2
LIST_COLUMNS = ["FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"]
TRACING_COLUMNS = ["FileName", "X1", "Y1", "X2", "Y2", "Frame"]


def make_frames(seed: int, num_frames: int = NUM_FRAMES, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Smooth coloured frames, uint8 (t, h, w, 3), of which no two are equal."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (num_frames, 4, 4, 3))
    smooth = coarse.repeat(-(-height // 4), axis=1).repeat(-(-width // 4), axis=2)
    return smooth[:, :height, :width].astype(np.uint8)


@functools.cache
def make_avi(seed: int, fps: float = FPS, height: int = SIZE, width: int = SIZE) -> bytes:
    """The bytes of a Motion-JPEG AVI."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "video.avi"
        video.write_video(path, make_frames(seed, height=height, width=width), fps)
        return path.read_bytes()


def make_tracing(radius: float, rows: int = 21, tilt: float = 0.2, center: float = SIZE / 2) -> np.ndarray:
    """A tracing of an ellipse, float64 (rows, 4): the long axis, then chords across it."""
    axis = np.array([np.sin(tilt), np.cos(tilt)])
    across = np.array([axis[1], -axis[0]])
    position = np.linspace(-0.95, 0.95, rows - 1)[:, None]
    middle = center + 1.5 * radius * position * axis
    half = radius * np.sqrt(1 - position**2) * across
    long_axis = np.concatenate([center - 1.5 * radius * axis, center + 1.5 * radius * axis])
    return np.vstack([long_axis, np.hstack([middle - half, middle + half])])


@dataclasses.dataclass
class TinyEchonet:
    """The tables and files of a source, in memory; change them, then `write`.

    Attributes:
      rows: columns of FileList.csv per video.
      tracings: per video, (frame, points) in file order.
      files: bytes of `Videos/<key>`.
      columns: of FileList.csv.
      newline, prefix: how the tables are written.
      tracing_suffix: what VolumeTracings.csv appends to a name.
    """

    rows: dict[str, dict[str, str]]
    tracings: dict[str, list[tuple[object, np.ndarray]]]
    files: dict[str, bytes]
    columns: list[str] = dataclasses.field(default_factory=lambda: list(LIST_COLUMNS))
    newline: str = "\n"
    prefix: bytes = b""
    tracing_suffix: str = ".avi"
    with_tracings: bool = True

    def write(self, directory: pathlib.Path) -> pathlib.Path:
        (directory / "Videos").mkdir(parents=True)
        for name, content in self.files.items():
            (directory / "Videos" / name).write_bytes(content)
        rows = [[row.get(column, "") for column in self.columns] for row in self.rows.values()]
        self._write_table(directory / "FileList.csv", [self.columns, *rows])
        if self.with_tracings:
            traced = [
                [name + self.tracing_suffix, *map(repr, map(float, point)), frame]
                for name, tracings in self.tracings.items()
                for frame, points in tracings
                for point in points
            ]
            self._write_table(directory / "VolumeTracings.csv", [TRACING_COLUMNS, *traced])
        return directory

    def _write_table(self, path: pathlib.Path, rows: list) -> None:
        with open(path, "w", newline="") as file:
            csv.writer(file, lineterminator=self.newline).writerows(rows)
        path.write_bytes(self.prefix + path.read_bytes())


def make_source(splits: dict[str, str] | None = None) -> TinyEchonet:
    """A source without fault: two traced frames per video, the smaller (ES) first."""
    splits = splits or {"a": "TRAIN", "b": "TRAIN", "c": "TRAIN", "d": "VAL", "e": "TEST"}
    rows, tracings, files = {}, {}, {}
    for number, (name, split) in enumerate(splits.items()):
        values = [name, 40 + number / 7, 60.5, 100.25, SIZE, SIZE, 50, NUM_FRAMES, split]
        rows[name] = dict(zip(LIST_COLUMNS, map(str, values), strict=True))
        tracings[name] = [(ES_FRAME, make_tracing(6)), (ED_FRAME, make_tracing(8))]
        files[f"{name}.avi"] = make_avi(number)
    return TinyEchonet(rows, tracings, files)
