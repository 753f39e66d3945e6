"""From AVI files to batches: records made of them, and clips read against decoding the file for every clip.

`benchmarks.input` tells more.
"""

import os
import pathlib
import tempfile
import time

from benchmarks.data import Data
from benchmarks.input import input_rows
from benchmarks.measuring import Row
from benchmarks.sizes import Sizes
from data_prep import echonet


def pipeline_rows(data: Data, sizes: Sizes) -> list[Row]:
    """Time per clip of 32 frames, over workers: threads of ours, processes of the original."""
    workers = tuple(count for count in (1, 2, 4, 8, 16) if count <= (os.cpu_count() or 1))
    found = input_rows(data.source, data.records, workers, sizes.num_repetitions, sizes.input_clips)
    return [
        Row(
            row["name"],
            1000 * row["ours"],
            1000 * row["theirs"],
            unit="ms/clip",
            what=f"clips of 32x112x112 of {sizes.video_frames} frames",
            counterpart="OpenCV decodes the AVI per clip",
        )
        for row in found
    ]


def conversion_row(data: Data) -> Row:
    """AVI files to RGB records, by as many processes as there are cores."""
    source = data.source
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        echonet.convert(source, pathlib.Path(folder) / "records", progress=False)
        seconds = time.perf_counter() - begin
    what = f"{data.sizes.num_videos} phantoms of {data.sizes.video_frames} frames, start of the processes included"
    return Row("conversion", data.sizes.num_videos / seconds, unit="videos/s", what=what)
