"""The rows of the suite, and their measurement one by one: what fails says why and costs the others nothing."""

import functools
import gc
import importlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import jax

from benchmarks.measuring import Clock
from benchmarks.rows import networks, statistics
from benchmarks.sizes import Sizes

Measure = Callable[[], object]


def rows_and_curves(suite: str, sizes: Sizes, clock: Clock, folder: Path) -> tuple[dict[str, Measure], ...]:
    """What to measure, by name: rows (`Row` or several), and costs against size (`costs.Curve`); nothing is done yet.

    Args:
      folder: where data are made, or lie already.
    """

    @functools.cache
    def data():
        return importlib.import_module("benchmarks.data").Data(folder, sizes)

    def later(module: str, function: str, *arguments, of_data: bool = False) -> Measure:
        """Imported when it is measured: a package that is missing costs the rows that need it and no others."""

        def measure():
            found = getattr(importlib.import_module(f"benchmarks.{module}"), function)
            return found(data(), *arguments) if of_data else found(*arguments)

        return measure

    of_networks = {
        f"{name} {what}": partial(measure, name, sizes, clock)
        for name in networks.SUBJECTS
        for what, measure in (("forward", networks.forward_row), ("training", networks.training_row))
    }
    rows = {
        **of_networks,
        "css": later("rows.stages", "css_row", sizes, clock, of_data=True),
        "kd": later("rows.stages", "kd_row", sizes, clock, of_data=True),
        "masks": later("rows.inference", "mask_row", sizes, clock, of_data=True),
        "all_clips": later("rows.inference", "all_clips_row", sizes, clock, of_data=True),
        "input": later("rows.pipeline", "pipeline_rows", sizes, of_data=True),
        "bootstrap": partial(statistics.bootstrap_row, sizes, clock),
        "start_up": later("rows.processes", "start_up_rows", clock),
        "compile": later("rows.processes", "compile_rows", suite),
        "memory": later("rows.processes", "memory_row", sizes),
        "conversion": later("rows.pipeline", "conversion_row", of_data=True),
        "streaming": later("rows.inference", "streaming_rows", sizes),
    }
    curves = {
        "cost over clips": later("costs", "over_clips", sizes, clock),
        "cost over frames": later("costs", "over_frames", sizes, clock),
        "cost over devices": later("rows.processes", "over_devices", suite, sizes, clock),
        "cost over videos": later("rows.inference", "over_videos", sizes, clock, of_data=True),
    }
    return rows, curves


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
