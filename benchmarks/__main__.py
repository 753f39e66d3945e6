"""Side-by-side measurements: ours against PyTorch, and what has no counterpart.

    python -m benchmarks [--suite=quick|full] --output=FILE.json [--rows=css,kd] [--peak_flops=989e12]

"quick" takes under ten minutes on two CPU cores, with small batches; "full" tries every form of PyTorch (memory layout,
torch.compile) and takes the fastest; "tiny" only tries the suite out. On an accelerator both take the papers' batches
in bfloat16 with float32 parameters. Needs the extra `bench`; without PyTorch there are no ratios.

The file holds `rows`: name, ratio (our time over theirs, or null), ours and theirs (medians), unit, device, and more;
and `costs`, curves of seconds over a size, which "quick" leaves to a call of their own: --rows=costs.
docs/performance.md says how it is measured.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

import jax
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import pytorch, suite
from benchmarks.commands import describe_device, reports_user_errors
from benchmarks.measuring import Clock, Row, peak_flops
from benchmarks.sizes import sizes_of
from benchmarks.table import render
from echojax.errors import UserError
from echojax.files import write_json
from echojax.train import memory
from echojax.versions import versions


def measure(arguments: argparse.Namespace) -> dict:
    """Runs a suite; the file is written anew after every row, so that what was measured is never lost."""
    # PyTorch and the processes that a suite starts need some of a card's memory, of which JAX would take most at once.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    memory.keep_freed_memory()  # as main.py does
    sizes = sizes_of(arguments.suite)
    clock = Clock(sizes.num_repetitions, sizes.tried, peak_flops(arguments.peak_flops))
    device = describe_device()
    result = {"suite": arguments.suite, "device": device, "versions": _versions(), "rows": [], "costs": []}
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(arguments.data_dir or stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(_programs_kept(folder / "xla"))
        measures, cost_measures = suite.rows_and_curves(arguments.suite, sizes, clock, folder)
        for name, found in suite.run(_chosen(measures, cost_measures, arguments), _report):
            if name in cost_measures:
                is_error = isinstance(found, str)
                result["costs"].append({"name": name, "error": found} if is_error else dataclasses.asdict(found))
            else:
                found = Row(name, error=found) if isinstance(found, str) else found
                result["rows"] += [row.to_json(device) for row in (found if isinstance(found, list) else [found])]
            result["load_average"] = round(os.getloadavg()[0], 1)
            write_json(arguments.output, result)
    return result


@contextlib.contextmanager
def _programs_kept(folder: pathlib.Path) -> Iterator[None]:
    """Within the block, what several rows run is compiled once; a user's own cache stays in use."""
    if jax.config.jax_compilation_cache_dir is not None:
        yield
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    try:
        yield
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
        compilation_cache.reset_cache()


def _versions() -> dict[str, str]:
    found = versions()
    if pytorch.is_installed():
        import torch

        found["torch"] = torch.__version__
    return found


def _chosen(rows: dict, curves: dict, arguments: argparse.Namespace) -> dict:
    if not arguments.rows:
        return rows if arguments.suite == "quick" else rows | curves
    if arguments.rows == "costs":
        return curves
    measures, wanted = rows | curves, arguments.rows.split(",")
    unknown = [name for name in wanted if name not in measures]
    if unknown:
        raise UserError(f"--rows: there is no {', '.join(unknown)}; expected costs, or some of: {', '.join(measures)}")
    return {name: measures[name] for name in wanted}


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@reports_user_errors
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", default="quick", help="quick, full or tiny")
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="FILE.json")
    parser.add_argument("--rows", default="", help="names with commas between, or costs for all curves; see above")
    parser.add_argument("--data_dir", type=pathlib.Path, help="keeps the phantoms, for the next run of the same suite")
    parser.add_argument("--peak_flops", type=float, help="of the device, per second; known for some cards")
    arguments = parser.parse_args(argv)
    result = measure(arguments)
    print(render(result["rows"]))
    return 1 if any(row.get("error") for row in result["rows"] + result["costs"]) else 0


if __name__ == "__main__":
    sys.exit(main())
