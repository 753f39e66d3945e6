"""Memory that a training step needs, from the compiled program's own analysis; nothing is run.

    python -m benchmarks.memory                       the table of docs/scaling.md, on standard output
    python -m benchmarks.memory --output=memory.json  and as JSON
    python -m benchmarks.memory --stages=kd --batch_sizes=20,40 --dtype=bfloat16

Each step of the papers' full-size networks is compiled for one device of the machine at hand, at two batch sizes or
more. Of a CPU's program it counts what that program allocates; a GPU's or TPU's compiler lays out and fuses otherwise,
so that only a table made there says what is needed there. Compiling takes a minute or so per row.
"""

import argparse
import dataclasses
import importlib
import json
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

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
    """

    stage: str
    batch_size: int
    state_mb: float
    batch_mb: float
    temporary_mb: float

    @property
    def total_mb(self) -> float:
        return self.state_mb + self.batch_mb + self.temporary_mb


def measure_step(stage, config, batch_size: int) -> Row:
    """Compiles a stage's step for a batch size and reads what its program will allocate."""
    mesh = make_training_mesh()
    settings = config.optimiser
    optimiser = make_optimiser(make_schedule(settings, 1, 1), settings.momentum, settings.weight_decay, settings.name)
    state = initial_state(stage.network.params, stage.network.stats, optimiser, seed=0)
    state = place(state, state_shardings(mesh, state, config.mesh.shard_params))
    constants = place(stage.constants, state_shardings(mesh, stage.constants, shard_params=False))
    batch = abstract_batch(stage, batch_size, mesh)
    step = make_train_step(stage.loss, optimiser, config.train.accumulate, stage.sums_examples, mesh)
    lowered = jax.jit(step, donate_argnums=0, compiler_options=_options()).lower(state, constants, batch)
    num_bytes = [sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree)) for tree in ((state, constants), batch)]
    temporary = lowered.compile().memory_analysis().temp_size_in_bytes
    return Row(stage.name, batch_size, *(number / _MB for number in (*num_bytes, temporary)))


def _options() -> dict | None:
    """Those of training; a CPU's machine code, which is not run, is left as it comes: buffers are settled before it."""
    options = compiler_options()
    return options and options | {"xla_backend_optimization_level": 0}


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


def describe(rows: list[Row], dtype: str) -> str:
    """The table, in Markdown."""
    lines = [
        f"Measured for {jax.devices()[0].device_kind} ({jax.default_backend()}), {dtype}, jax {jax.__version__}:",
        "",
        "| stage | batch | state, MB | batch, MB | temporary, MB | total, MB | more per example, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    before = {}
    for row in rows:
        previous = before.get(row.stage)
        slope = (row.total_mb - previous.total_mb) / (row.batch_size - previous.batch_size) if previous else None
        cells = [row.stage, row.batch_size, *(f"{x:,.0f}" for x in (row.state_mb, row.batch_mb, row.temporary_mb))]
        cells += [f"{row.total_mb:,.0f}", "" if slope is None else f"{slope:,.0f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
        before[row.stage] = row
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--stages", default=",".join(STAGES), help="default: %(default)s")
    parser.add_argument("--batch_sizes", default=",".join(map(str, BATCH_SIZES)), help="default: %(default)s")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the computation")
    parser.add_argument("--output", type=Path, help="also write JSON")
    args = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), args.dtype)
        for name in args.stages.split(","):
            stage, config = build_stage(name, Path(folder), args.dtype)
            for batch_size in map(int, args.batch_sizes.split(",")):
                rows.append(measure_step(stage, config, batch_size))
                print(json.dumps(dataclasses.asdict(rows[-1])), file=sys.stderr, flush=True)
    print(describe(rows, args.dtype))
    if args.output:
        about = {"device": jax.devices()[0].device_kind, "dtype": args.dtype, "jax": jax.__version__}
        write_json(args.output, about | {"rows": [dataclasses.asdict(row) for row in rows]})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
