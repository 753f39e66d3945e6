"""How fast clips come from disk, against decoding the video anew for every clip, as the original programs do.

    python -m benchmarks.input --output=input.json [--source=DIR --data_dir=DIR] [--workers=1,2] [--repeats=5]

- `input pipeline`: batches of uint8 clips with crops and labels, as `echojax.data` hands them to the devices, against
  the original's item: decode the whole AVI with OpenCV, normalise it in float32, cut 32 frames, pad and crop.
- `decode`: the same against OpenCV's part of it alone.
- `to network input`: the same including normalisation and crop on this machine's device, whatever that is.
- `resident`: batches from the host's memory, and from the device's with the look-up of frames (`echojax.resident`).
- memory over an epoch, and the share of a training run that was spent waiting for data.

Both sides run alternately on the same cores, after a warm-up; figures are medians. CPU time is measured beside wall
time: it tells more where other programs share the machine. Without --source and --data_dir phantoms are made, of the
length of EchoNet-Dynamic's videos.
"""

import argparse
import concurrent.futures
import dataclasses
import gc
import json
import multiprocessing
import os
import pathlib
import platform
import re
import resource as process_resources
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np

from benchmarks.commands import reports_user_errors
from benchmarks.original_input import NUM_FRAMES, PAD, PERIOD, Cut, original_item, run_original
from configs import ef
from data_prep import echonet
from data_prep.phantom import write_dataset
from echojax import clips, resident
from echojax.data import Batches, Clips, Stream, pixel_statistics, stack, usual_size
from echojax.errors import UserError
from echojax.files import write_json
from echojax.records import VideoSet, open_videos
from echojax.stages import ef as ef_stage
from echojax.train.loop import train
from echojax.train.mesh import compiler_options, make_mesh, put_batch

BATCH_SIZE, PREFETCH = 20, 8


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds per clip, one value per repeat: of wall time, and of CPU time in all threads and processes."""

    wall: list[float]
    cpu: list[float]

    @property
    def clips_per_s(self) -> float:
        return 1 / statistics.median(self.wall)


# --- Measuring --------------------------------------------------------------------------------------------------------


def alternate(measures: Mapping[str, Callable[[], tuple[float, float]]], repeats: int) -> dict[str, Costs]:
    """Calls each measure once to warm up, then all of them in turn; each gives wall and CPU seconds per clip."""
    for measure in measures.values():
        measure()
    taken = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            gc.collect()
            taken[name].append(measure())
    return {name: Costs(*map(list, zip(*values, strict=True))) for name, values in taken.items()}


def time_batches(batches: Iterator, num_batches: int, use: Callable = lambda batch: None) -> tuple[float, float]:
    """Wall and CPU seconds per clip of the next batches."""
    begin = time.perf_counter(), time.process_time()
    for _ in range(num_batches):
        use(next(batches))
    num_clips = num_batches * BATCH_SIZE
    return (time.perf_counter() - begin[0]) / num_clips, (time.process_time() - begin[1]) / num_clips


def make_batches(videos: VideoSet) -> Batches:
    """The batches of the supervised EF stage, with clips of every video."""
    positions = np.flatnonzero((videos.height == usual_size(videos)[0]) & (videos.width == usual_size(videos)[1]))
    batch_source = Clips(videos, np.resize(positions, max(len(positions), BATCH_SIZE)), NUM_FRAMES, PERIOD, pad=PAD)
    return Batches({"labelled": Stream(batch_source, BATCH_SIZE)}, seed=0)


def endless(batches: Batches, workers: int) -> Iterator[dict]:
    """The row of batches, read ahead by so many threads."""
    return batches.iterate(0, 10**9, workers, PREFETCH)


def measure_pipeline(
    source: pathlib.Path, videos: VideoSet, workers: int, repeats: int, num_clips: int
) -> dict[str, Costs]:
    """Ours and theirs on `workers` threads or processes.

    Args:
      source: folder of the AVI files, in EchoNet-Dynamic's layout.
      videos: their records.
      num_clips: per repeat of the original; ours are 20 times as many.
    """
    mean, std = pixel_statistics(videos, usual_size(videos))
    paths = sorted(map(str, (source / "Videos").glob("*.avi")))
    batches = endless(make_batches(videos), workers)
    prepare = make_prepare(mean, std)

    def run_theirs(whole: bool) -> tuple[float, float]:
        tasks = [(paths[n % len(paths)], n, mean if whole else None, std) for n in range(num_clips)]
        begin = time.perf_counter()
        cpu = sum(pool.map(run_original, tasks))
        return (time.perf_counter() - begin) / num_clips, cpu / num_clips

    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        return alternate(
            {
                "ours": lambda: time_batches(batches, num_clips),
                "ours, to network input": lambda: time_batches(batches, max(num_clips // 20, 2), prepare),
                "theirs": lambda: run_theirs(whole=True),
                "theirs, decoding alone": lambda: run_theirs(whole=False),
            },
            repeats,
        )


def make_prepare(mean: np.ndarray, std: np.ndarray) -> Callable[[dict], None]:
    """Puts a batch on the device and waits until it is network input there."""
    mesh = make_mesh()

    def prepare(batch):
        return clips.prepare_clips(batch["clip"], batch["num_valid"], mean, std, crop=batch["crop"], pad=PAD)

    compiled = jax.jit(prepare, compiler_options=compiler_options())
    return lambda batch: compiled(put_batch(mesh, batch["labelled"])).block_until_ready()


def check_same(source: pathlib.Path, videos: VideoSet, position: int = 0) -> None:
    """Raises UserError unless both ways give the same network input of a clip; for records in RGB."""
    mean, std = pixel_statistics(videos, usual_size(videos))
    cut = Cut(start=1, row=3, column=20)
    theirs = original_item(str(source / "Videos" / f"{videos.name[position]}.avi"), cut, mean, std)
    example = Clips(videos, np.array([position]), NUM_FRAMES, PERIOD).clip_at(0, cut.start)
    batch = {"labelled": stack([example | {"crop": np.array([cut.row, cut.column], np.int32)}])}
    ours = np.moveaxis(np.asarray(make_prepare(mean, std)(batch))[0], -1, 0)
    if not np.allclose(ours, theirs, atol=1e-5):
        raise UserError(f"{videos.name[position]}: the clips differ by up to {np.abs(ours - theirs).max()}")


def measure_resident(videos: VideoSet, workers: int, repeats: int, num_batches: int) -> dict[str, Costs]:
    """Batches from the host's memory, and from the device's with the look-up of their frames there."""
    batches, mesh = make_batches(videos), make_mesh()
    flats = resident.lay_out([stream.source for stream in batches.streams.values()])
    on_host = endless(resident.read_from_host(batches, flats), workers)
    on_device = resident.put_on_devices(batches, flats, mesh)
    numbers, cut = endless(on_device.batches, workers), jax.jit(on_device.cut)
    return alternate(
        {
            "resident on the host": lambda: time_batches(on_host, num_batches),
            "resident on the device, frame numbers": lambda: time_batches(numbers, num_batches),
            "resident on the device, with the look-up": lambda: time_batches(
                numbers, num_batches, lambda batch: jax.block_until_ready(cut(on_device.rows, put_batch(mesh, batch)))
            ),
        },
        repeats,
    )


def measure_memory(videos: VideoSet, workers: int, num_batches: int) -> dict[str, float] | None:
    """Private memory in MB after a tenth of the batches, at the end, and at most between; None where unknown."""
    if private_bytes() is None:
        return None
    batches = endless(make_batches(videos), workers)
    levels = []
    for _ in range(num_batches):
        next(batches)
        levels.append(private_bytes() / 1e6)
    settled = levels[num_batches // 10 :]
    return {"begin": settled[0], "end": settled[-1], "most": max(settled), "num_batches": num_batches}


def private_bytes() -> int | None:
    """Memory of this process that is no file's, as Linux knows it."""
    status = pathlib.Path("/proc/self/status")
    found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else None


def measure_data_wait(data_dir: pathlib.Path, num_steps: int, place: str = "") -> dict[str, float]:
    """What the training loop says of a run of the EF stage at the smoke test's size: waiting for data, and stepping."""
    config = ef.get_config("smoke")
    config.data_dir, config.labels.subset = str(data_dir), "all"
    config.clip.num_frames, config.clip.period = NUM_FRAMES, PERIOD
    config.train.max_steps, config.train.num_epochs = num_steps, num_steps
    with tempfile.TemporaryDirectory() as workdir:
        timing = train(resident.make_resident(ef_stage.build(config), place), config, pathlib.Path(workdir), {})
    return {
        "wait_percent": 100 * timing.data_wait / (timing.data_wait + timing.steps),
        "wait_ms": 1000 * timing.data_wait / timing.num_steps,
        "step_ms": 1000 * timing.steps / timing.num_steps,
        "batch_size": config.train.batch_size,
    }


# --- The report -------------------------------------------------------------------------------------------------------


def describe_machine() -> dict:
    """Processor, cores this process may use, load, and the accelerator."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "cores": cores,
        "load": os.getloadavg()[0],
        "device": jax.devices()[0].device_kind,
    }


def make_row(name: str, ours: Costs, theirs: Costs | None, device: str) -> dict:
    """A row of the suite: `ratio` is our time / theirs, of medians; null where there is no counterpart."""
    row = {
        "name": name,
        "unit": "s/clip",
        "ours": statistics.median(ours.wall),
        "ours_cpu": statistics.median(ours.cpu),
        "ours_clips_per_s": ours.clips_per_s,
        "device": device,
        "ratio": None,
    }
    if theirs is None:
        return row
    return row | {
        "ratio": statistics.median(ours.wall) / statistics.median(theirs.wall),
        "cpu_ratio": statistics.median(ours.cpu) / statistics.median(theirs.cpu),
        "theirs": statistics.median(theirs.wall),
        "theirs_cpu": statistics.median(theirs.cpu),
        "theirs_clips_per_s": theirs.clips_per_s,
    }


def input_rows(
    source: pathlib.Path,
    data_dir: pathlib.Path,
    workers: tuple[int, ...] = (1, 2),
    repeats: int = 5,
    num_clips: int = 40,
) -> list[dict]:
    """Rows of clips/s over workers, ours against theirs, and of the resident modes."""
    videos, machine = open_videos(data_dir), describe_machine()
    if videos.channels[0] == 3:  # of grey records the original's colours are gone
        check_same(source, videos)
    device, host = machine["device"], f"{machine['processor']}, {machine['cores']} cores"
    rows = []
    for count in workers:
        costs = measure_pipeline(source, videos, count, repeats, num_clips)
        ours, theirs = costs["ours"], costs["theirs"]
        rows += [
            make_row(f"input pipeline, workers {count}", ours, theirs, host),
            make_row(
                f"input pipeline against decoding alone, workers {count}", ours, costs["theirs, decoding alone"], host
            ),
            make_row(
                f"input pipeline to network input, workers {count}", costs["ours, to network input"], theirs, device
            ),
        ]
    for name, costs in measure_resident(videos, max(workers), repeats, num_clips).items():
        rows.append(make_row(f"input, {name}", costs, theirs, device))
    return rows


def run(arguments: argparse.Namespace) -> dict:
    """Measures everything; returns what the JSON file holds."""
    with tempfile.TemporaryDirectory() as folder:
        if arguments.source:
            source, data_dir = arguments.source, arguments.data_dir
        else:
            source, data_dir = make_phantoms(pathlib.Path(folder), arguments.num_videos)
        report = {
            "machine": describe_machine(),
            "rows": input_rows(source, data_dir, arguments.workers, arguments.repeats, arguments.num_clips),
            "memory_mb": measure_memory(open_videos(data_dir), max(arguments.workers), num_batches=373),
            "data_wait": {
                place or "streaming": measure_data_wait(data_dir, arguments.num_steps, place)
                for place in resident.PLACES
            },
        }
    report["peak_memory_mb"] = process_resources.getrusage(process_resources.RUSAGE_SELF).ru_maxrss / 1e3
    return report


def make_phantoms(folder: pathlib.Path, num_videos: int) -> tuple[pathlib.Path, pathlib.Path]:
    """Phantoms of EchoNet-Dynamic's usual length, as AVI and as records in RGB: (source, data_dir)."""
    write_dataset(folder / "source", num_videos, 0, num_frames=(150, 200), split_shares=(0.7, 0.2, 0.1), workers=1)
    echonet.convert(folder / "source", folder / "records", pixels="rgb", workers=1, progress=False)
    return folder / "source", folder / "records"


def print_report(report: dict) -> None:
    """The rows as a table, and the rest in two lines."""
    print(json.dumps(report["machine"]))
    print(f"{'clips/s':56}{'ours':>10}{'theirs':>10}{'faster':>9}{'by CPU time':>13}")
    for row in report["rows"]:
        print(
            f"{row['name']:56}{row['ours_clips_per_s']:10.0f}{row['theirs_clips_per_s']:10.1f}"
            f"{1 / row['ratio']:8.0f}x{1 / row['cpu_ratio']:12.0f}x"
        )
    print(f"private memory over an epoch, MB: {report['memory_mb']}")
    print(f"waiting for data in training: {report['data_wait']}")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--source", type=pathlib.Path, metavar="DIR", help="videos in EchoNet-Dynamic's layout")
    parser.add_argument("--data_dir", type=pathlib.Path, metavar="DIR", help="the same videos as records")
    parser.add_argument("--workers", default="1,2", metavar="N,N", help="threads of ours, processes of the original")
    parser.add_argument("--repeats", type=int, default=5, help="of every measurement, after a warm-up")
    parser.add_argument(
        "--num_clips", type=int, default=40, help="of the original per repeat; ours are 20 times as many"
    )
    parser.add_argument("--num_videos", type=int, default=20, help="phantoms to make, without --source")
    parser.add_argument("--num_steps", type=int, default=6, help="training steps in which waiting for data is measured")
    parsed = parser.parse_args(arguments)
    if bool(parsed.source) != bool(parsed.data_dir):
        raise UserError("--source and --data_dir go together: videos, and the same videos as records")
    try:
        parsed.workers = tuple(int(count) for count in parsed.workers.split(","))
    except ValueError:
        raise UserError(f"--workers is {parsed.workers!r}, expected numbers such as 1,2,4") from None
    return parsed


@reports_user_errors
def main(arguments: list[str] | None = None) -> int:
    parsed = parse_arguments(arguments)
    report = run(parsed)
    write_json(parsed.output, report)
    print_report(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
