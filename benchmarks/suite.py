"""The rows of the suite, and their measurement one by one: what fails says why and costs the others nothing."""

import gc
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import jax

from benchmarks import costs
from benchmarks.data import Data
from benchmarks.measuring import Clock, Row
from benchmarks.rows import inference, networks, pipeline, processes, stages, statistics
from benchmarks.sizes import Sizes

Measure = Callable[[], Row | list[Row]]


def rows(suite: str, sizes: Sizes, clock: Clock, data: Data) -> dict[str, Measure]:
    """What to measure, by name; nothing is done yet."""
    of_networks = {
        f"{name} {what}": partial(measure, name, sizes, clock)
        for name in networks.SUBJECTS
        for what, measure in (("forward", networks.forward_row), ("training", networks.training_row))
    }
    return {
        **of_networks,
        "css": partial(stages.css_row, data, sizes, clock),
        "kd": partial(stages.kd_row, data, sizes, clock),
        "masks": partial(inference.mask_row, data, sizes, clock),
        "all_clips": partial(inference.all_clips_row, data, sizes, clock),
        "input": partial(pipeline.pipeline_rows, data, sizes),
        "bootstrap": partial(statistics.bootstrap_row, sizes, clock),
        "start_up": partial(processes.start_up_rows, clock),
        "compile": partial(processes.compile_rows, suite),
        "memory": partial(processes.memory_row, sizes),
        "conversion": partial(processes.conversion_row, data),
        "streaming": partial(inference.streaming_rows, sizes),
    }


def curves(sizes: Sizes, clock: Clock, data: Data) -> dict[str, Callable[[], costs.Curve]]:
    """Costs against size, by name; nothing is done yet."""
    return {
        "cost over clips": partial(costs.over_clips, sizes, clock),
        "cost over frames": partial(costs.over_frames, sizes, clock),
        "cost over devices": partial(costs.over_devices, sizes, clock),
        "cost over videos": partial(costs.over_videos, data, sizes, clock),
    }


def run(measures: Mapping[str, Callable], report: Callable[[str], None]) -> Iterator[tuple[str, object]]:
    """Measures one after the other and yields name and result, which is an error's text where there was one."""
    for number, (name, measure) in enumerate(measures.items(), 1):
        begin = time.perf_counter()
        try:
            result = measure()
        # A row may fail in any library; its reason goes into the report.
        except Exception as error:
            report(traceback.format_exc())
            result = f"{type(error).__name__}: {error}"
        report(f"[{number}/{len(measures)}] {name}: {time.perf_counter() - begin:.0f} s")
        yield name, result
        jax.clear_caches()
        gc.collect()
