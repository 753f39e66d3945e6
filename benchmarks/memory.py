"""Memory that a training step needs, from the compiled program's own analysis.

    python -m benchmarks.memory --output=memory.json  the table of docs/scaling.md, which is also printed
    python -m benchmarks.memory --stages=kd --batch_sizes=20,40 --dtype=bfloat16
    python -m benchmarks.memory --stages=seg --batch_sizes=2 --run      takes a step, too, and says what it really took

Each step of the papers' full-size networks is compiled for one device of the machine at hand, at two batch sizes or
more. Of a CPU's program it counts what that program allocates; a GPU's or TPU's compiler lays out and fuses otherwise,
so that only a table made there says what is needed there. Compiling takes a minute or so per row; the JSON is written
after each.
"""

import argparse
import dataclasses
import gc
import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.commands import describe_device, reports_user_errors
from configs import base
from data_prep import echonet
from data_prep.phantom.dataset import write_dataset
from echojax import data, networks, records
from echojax.files import write_json
from echojax.train import checkpoint
from echojax.train.mesh import compiler_options, make_training_mesh, place, replicated, state_shardings
from echojax.train.optimiser import make_optimiser, make_schedule
from echojax.train.state import initial_state
from echojax.train.step import make_train_step

STAGES = ("seg", "css", "teacher", "kd", "dfkd")
# What the published recipes take, per step and device, and half of it.
BATCH_SIZES = (10, 20)
_MB = 1e6


@dataclasses.dataclass(frozen=True)
class Row:
    """Memory of one step.

    Attributes:
      stage, batch_size: labelled examples per step; kd has half as many unlabelled clips, css its one clip.
      state_mb: parameters, statistics, optimiser state and, for kd, the teacher.
      batch_mb: the batch as uint8.
      temporary_mb: what the program needs beside its arguments, activations above all.
      measured_mb: by how much the memory in use really grew in a step, at most; None where none was taken.
    """

    stage: str
    batch_size: int
    state_mb: float
    batch_mb: float
    temporary_mb: float
    measured_mb: float | None = None

    @property
    def total_mb(self) -> float:
        return self.state_mb + self.batch_mb + self.temporary_mb


def measure_step(stage, config, batch_size: int, run: bool = False) -> Row:
    """Compiles a stage's step for a batch size and reads what its program will allocate; `run` takes it once, too."""
    mesh = make_training_mesh()
    settings = config.optimiser
    optimiser = make_optimiser(make_schedule(settings, 1, 1), settings.momentum, settings.weight_decay, settings.name)
    # Copies, because a step gives its state away.
    weights = jax.tree.map(jnp.copy, (stage.network.params, stage.network.stats))
    state = initial_state(*weights, optimiser, seed=0)
    state = place(state, state_shardings(mesh, state, config.mesh.shard_params))
    constants = place(stage.constants, state_shardings(mesh, stage.constants, shard_params=False))
    batch = abstract_batch(stage, batch_size, mesh)
    step = make_train_step(stage.loss, optimiser, config.train.accumulate, stage.sums_examples, mesh)
    options = compiler_options()
    if options and not run:  # buffers are settled before the machine code, which may then be left as it comes
        options |= {"xla_backend_optimization_level": 0}
    compiled = jax.jit(step, donate_argnums=0, compiler_options=options).lower(state, constants, batch).compile()
    num_bytes = [sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree)) for tree in ((state, constants), batch)]
    temporary = compiled.memory_analysis().temp_size_in_bytes
    row = Row(stage.name, batch_size, *(number / _MB for number in (*num_bytes, temporary)))
    if not run:
        return row
    batch = jax.tree.map(lambda x: jax.device_put(np.zeros(x.shape, x.dtype), x.sharding), batch)
    return dataclasses.replace(row, measured_mb=growth_mb(lambda: compiled(state, constants, batch)))


def growth_mb(work: Callable[[], object]) -> float:
    """By how much the memory in use grows while the work is done, at most: of the device, of this process on a CPU."""
    device = jax.devices()[0]
    if device.memory_stats():
        before = device.memory_stats()["bytes_in_use"]
        jax.block_until_ready(work())
        return (device.memory_stats()["peak_bytes_in_use"] - before) / _MB
    gc.collect()  # or it may be collected, and given back, while the work is done
    Path("/proc/self/clear_refs").write_text("5")  # what was reached before is forgotten
    before = _status_mb("VmRSS")
    jax.block_until_ready(work())
    return _status_mb("VmHWM") - before


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / _MB


def abstract_batch(stage, batch_size: int, mesh):
    """Shapes of a batch whose first stream has `batch_size` examples and the others as many in proportion."""
    streams = stage.batches.streams
    first = next(iter(streams.values())).batch_size
    shapes = {}
    for name, stream in streams.items():
        size = 1 if stream.batch_size == 1 else stream.batch_size * batch_size // first
        example = stream.source.example(0, np.random.default_rng(0))
        shapes[name] = {
            field: jax.ShapeDtypeStruct((size, *np.shape(x)), np.asarray(x).dtype, sharding=replicated(mesh))
            for field, x in example.items()
        }
    return shapes


def build_stage(name: str, folder: Path, dtype: str):
    """A stage of the papers' size on a few phantoms, and its config."""
    config = importlib.import_module(f"configs.{name}").get_config()
    for kind in ("data", "masks", "teacher"):
        config[f"{kind}_dir"] = str(folder / kind)
    config.init_from = "random"
    config.network.dtype = dtype
    config.labels.num_labelled, config.labels.num_unlabelled = 2, 2
    config.train.batch_size = config.kd.unlabelled_batch_size = 2
    if name == "kd":
        config.kd.unlabelled_batch_size = 1
    return importlib.import_module(f"echojax.stages.{name}").build(config), config


def write_inputs(folder: Path, dtype: str) -> None:
    """Phantoms long enough for every clip, empty masks of them, and a teacher of random weights."""
    source = write_dataset(folder / "source", 12, 0, num_frames=128, split_shares=(0.6, 0.2, 0.2), workers=1)
    echonet.convert(source, folder / "data", workers=1, progress=False)
    videos = records.open_videos(folder / "data")
    for split in ("TRAIN", "VAL"):
        names = [str(name) for name in videos.name[videos.select(split)]]
        writer = records.MaskWriter(folder / "masks", split, names, num_shards=1)
        for shard, of_shard in writer.pending():
            writer.write_shard(shard, ((name, np.zeros((128, 112, 112), np.uint8)) for name in of_shard))
        writer.finish()
    settings = base.get_config()
    settings.network.dtype = dtype
    network = networks.build_network(networks.describe_video(settings.network, in_channels=4))
    preprocessing = data.dataset_preprocessing(videos, settings.clip.num_frames, settings.clip.period, 4)
    metadata = checkpoint.Metadata("teacher", network.description, preprocessing, 0, None, {}, {}, {})
    checkpoint.save_weights(folder / "teacher", network.params, network.stats, metadata)


def describe(result: Mapping) -> str:
    """The table of a result, in Markdown."""
    lines = [
        f"{result['device']}, {result['dtype']}, jax {result['jax']}:",
        "",
        "| stage | batch | state, MB | batch, MB | temporary, MB | measured, MB | total, MB | more per example, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    before = {}
    for row in (Row(**row) for row in result["rows"]):
        previous = before.get(row.stage)
        slope = (row.total_mb - previous.total_mb) / (row.batch_size - previous.batch_size) if previous else None
        numbers = (row.state_mb, row.batch_mb, row.temporary_mb, row.measured_mb, row.total_mb, slope)
        cells = [row.stage, row.batch_size, *("" if number is None else f"{number:,.0f}" for number in numbers)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
        before[row.stage] = row
    return "\n".join(lines) + "\n"


@reports_user_errors
def main(arguments: list[str]) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--stages", default=",".join(STAGES), help="default: %(default)s")
    parser.add_argument("--batch_sizes", default=",".join(map(str, BATCH_SIZES)), help="default: %(default)s")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the computation")
    parser.add_argument("--run", action="store_true", help="also take a step and measure")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="also write JSON")
    args = parser.parse_args(arguments)
    result = {"device": describe_device(), "dtype": args.dtype, "jax": jax.__version__, "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), args.dtype)
        for name in args.stages.split(","):
            stage, config = build_stage(name, Path(folder), args.dtype)
            for batch_size in map(int, args.batch_sizes.split(",")):
                result["rows"].append(dataclasses.asdict(measure_step(stage, config, batch_size, args.run)))
                print(json.dumps(result["rows"][-1]), file=sys.stderr, flush=True)
                if args.output:
                    write_json(args.output, result)
    print(describe(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
