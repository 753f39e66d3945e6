"""The converter as an Apache Beam pipeline, on whichever runner there is (extra `beam`).

    python -m data_prep beam --source=EchoNet-Dynamic --data_dir=data/echonet -- --direct_num_workers=8
    python -m data_prep beam --source=/mnt/echo --data_dir=/mnt/records -- --runner=SparkRunner --spark_master_url=...

What follows `--` is Beam's. The pipeline maps `data_prep.shards.make_shard`, the function of
`python -m data_prep echonet`, over the numbers of the shards; then index and reports are written here. Files and bits
are the same, shards that are there are kept, and a pipeline that died goes on when it is run again. Every worker has
this package installed and sees both directories under the same names.
"""

import argparse
import functools
import os
import pathlib
from typing import NamedTuple

from data_prep import echonet, synthetic
from data_prep import shards as shards_lib
from echojax.errors import UserError


class Request(NamedTuple):
    """What is converted, for workers to plan the same shards from."""

    source: str
    data_dir: str
    pixels: str
    videos_per_shard: int


def convert(request: Request, beam_arguments: list[str]) -> echonet.Summary:
    """Converts a source directory; see `echonet.convert`.

    Args:
      beam_arguments: `--runner=...` and what else the runner needs; by default this machine.

    Raises:
      UserError: Beam is not installed; and as `echonet.convert`.
    """
    beam = _import_beam()
    num_shards = len(_plan(request))
    # Its presence says that a directory is complete; `echonet.convert` writes it again.
    (pathlib.Path(request.data_dir) / "dataset_info.json").unlink(missing_ok=True)
    with beam.Pipeline(options=beam.options.pipeline_options.PipelineOptions(beam_arguments)) as pipeline:
        numbers = pipeline | "Shards" >> beam.Create(range(num_shards))
        # Otherwise a runner may fuse everything into one step on one worker.
        spread = numbers | "Spread" >> beam.Reshuffle()
        _ = spread | "Convert" >> beam.Map(make_numbered_shard, request)
    layout = synthetic.find_layout(pathlib.Path(request.source))
    options = (request.pixels, 1, False, False, request.videos_per_shard, layout)
    return echonet.convert(request.source, request.data_dir, *options)


def make_numbered_shard(number: int, request: Request) -> int:
    """Makes a shard of the request's conversion unless it is there; returns the number of videos in it."""
    shard = _plan(request)[number]
    result = shards_lib.load_finished(shard) or shards_lib.make_shard(shard)
    return result.num_videos


@functools.lru_cache(maxsize=1)
def _plan(request: Request) -> list[shards_lib.Shard]:
    """All shards; every process reads the tables once."""
    layout = synthetic.find_layout(pathlib.Path(request.source))
    return echonet.begin(request.source, request.data_dir, request.pixels, request.videos_per_shard, layout).shards


def _import_beam():
    try:
        import apache_beam
        import apache_beam.options.pipeline_options
    except ImportError as error:
        raise UserError(f"Apache Beam is not installed ({error}); pip install 'echojax[beam]'") from error
    return apache_beam


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line of `python -m data_prep beam`; what follows `--` is Beam's."""
    parser.add_argument("--source", required=True, help="folder in EchoNet-Dynamic's or EchoNet-Synthetic's layout")
    parser.add_argument("--data_dir", required=True, help="where the records go; run again to continue")
    parser.add_argument("--pixels", choices=tuple(shards_lib.CHANNELS), default="rgb", help="default: %(default)s")
    parser.add_argument("--videos_per_shard", type=int, default=echonet.VIDEOS_PER_SHARD, help="default: %(default)s")
    parser.add_argument("beam", nargs=argparse.REMAINDER, help="after --: options of Beam, such as --runner=...")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns 0, or 1 if some of the input failed."""
    source, data_dir = (os.path.abspath(path) for path in (args.source, args.data_dir))
    beam_arguments = [argument for argument in args.beam if argument != "--"]
    summary = convert(Request(source, data_dir, args.pixels, args.videos_per_shard), beam_arguments)
    print(summary)
    return 1 if summary.num_failures else 0
