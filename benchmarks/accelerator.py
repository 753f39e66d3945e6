"""All that is to be measured on an accelerator, in one call that stops by itself.

    python -m benchmarks.accelerator --output=DIR [--minutes=9] [--parts=checks,stages] [--suite=quick|tiny]

Each part is a process of its own, the most important first; its output goes to `DIR/log.txt`:

- `checks`: on this device, in float32, networks give the recorded outputs and the rewritten operations equal the plain
  ones, in value and gradient.
- `stages`, `training`, `inference`, `networks`: rows of `python -m benchmarks` in bfloat16 beside PyTorch, with
  operations per second, the share of the card's peak, and the memory of the program; each part writes `DIR/PART.json`,
  row by row.
- `memory`: of every stage's step for two batch sizes, from the compiled programs.

`DIR/summary.json` is written anew after each part: what was done and how long it took, what was cut off or left out and
why, and what the whole CSS paper would take (`benchmarks.headline`). A part for which too little time is left does not
begin, and one that runs at the end, or beyond its share, is ended, with what it has. Nothing but JAX is imported here:
a package that is missing costs the rows that need it, and is named. docs/performance.md says how to bring it.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from collections.abc import Sequence

from benchmarks import headline
from benchmarks.commands import reports_user_errors
from echojax.errors import UserError
from echojax.files import write_json

_ROOT = pathlib.Path(__file__).parents[1]
# What needs data of a stage's form needs all of these; rows of single networks and of the bootstrap need none.
_FOR_DATA = ("cv2", "pandas", "grain", "tensorflow_datasets", "ml_collections", "google_crc32c")
# Seconds below which a part is not worth its start.
_LEAST = 30
# Seconds that a process whose time is over has for its last words.
_LAST_WORDS = 10
_CHECKS = (
    *("tests/ops", "tests/models/test_networks.py", "tests/models/test_convlstm.py", "tests/models/test_layers.py"),
    *("-k", "golden or equals or any_stride or value_and_gradients or bfloat16"),
    *("--timeout=120", "--junitxml={output}"),
)


@dataclasses.dataclass(frozen=True)
class Part:
    """A process: arguments of Python, in which {output} stands for its file, {suite}, {data} for the call's.

    Attributes:
      needs: modules without which it is left out.
      share: of the time that is left, which it may take.
    """

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    share: float = 1.0


def _rows(name: str, rows: str, needs: tuple[str, ...] = ()) -> Part:
    settings = ("--suite={suite}", "--data_dir={data}", "--output={output}", f"--rows={rows}")
    return Part(name, ("-m", "benchmarks", *settings), needs)


PARTS = (
    # Warnings of other versions than those that the tests were written with are no failures here.
    Part(
        "checks",
        ("-m", "pytest", "-n0", "-p", "no:cacheprovider", "-o", "filterwarnings=default", *_CHECKS),
        ("pytest", "xdist", "pytest_timeout"),
        share=0.3,
    ),
    _rows("stages", "css,kd", _FOR_DATA),
    _rows("training", "r2plus1d_18 training,deeplabv3 training,convlstm training"),
    _rows("inference", "masks,all_clips", _FOR_DATA),
    Part(
        "memory",
        ("-m", "benchmarks.memory", "--stages=css,kd", "--dtype=bfloat16", "--output={output}"),
        _FOR_DATA,
    ),
    _rows(
        "networks",
        "deeplabv3 forward,r2plus1d_18 forward,convlstm forward,mc3_18 training,r3d_18 training,mc3_18 forward,"
        "r3d_18 forward,cost over clips,cost over frames,bootstrap",
    ),
)


def measure(folder: pathlib.Path, minutes: float, suite: str, parts: Sequence[Part]) -> dict:
    """Runs parts until the time is over; returns what `summary.json` says."""
    end = time.monotonic() + 60 * minutes
    folder.mkdir(parents=True, exist_ok=True)
    summary = {"suite": suite, "minutes": minutes, "parts": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for part in parts:
            begin = time.monotonic()
            summary["parts"][part.name] = _run(part, folder, pathlib.Path(scratch), suite, end - begin)
            summary["parts"][part.name]["seconds"] = round(time.monotonic() - begin, 1)
            summary["headline"] = _headline(folder, parts)
            write_json(folder / "summary.json", summary)
            print(f"{part.name}: {json.dumps(summary['parts'][part.name])}", flush=True)
    return summary


def _run(part: Part, folder: pathlib.Path, scratch: pathlib.Path, suite: str, seconds: float) -> dict:
    missing = [name for name in part.needs if importlib.util.find_spec(name) is None]
    if missing:
        return {"state": f"left out: {', '.join(missing)} is not installed"}
    if seconds < _LEAST:
        return {"state": f"left out: {max(seconds, 0):.0f} seconds were left"}
    is_checks = part.name == "checks"
    output = scratch / "checks.xml" if is_checks else folder / f"{part.name}.json"
    values = {"output": output, "suite": suite, "data": scratch / "data"}
    arguments = [sys.executable, *(argument.format(**values) for argument in part.arguments)]
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        print(f"\n=== {part.name}", file=log, flush=True)
        code = _run_process(arguments, _environment(is_checks, scratch), log, part.share * seconds)
    state = "cut off" if code is None else "done" if code == 0 else f"exit code {code}"
    found = {"state": state}
    if output.exists():
        found |= _read_checks(output) if is_checks else _read_rows(output)
    return found


def _environment(is_checks: bool, scratch: pathlib.Path) -> dict[str, str]:
    """PyTorch beside JAX needs some of the card's memory; float32 checks need float32 products."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONPATH": os.pathsep.join(paths)}
    precision = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"} if is_checks else {}
    return {"JAX_COMPILATION_CACHE_DIR": str(scratch / "xla")} | os.environ | settings | precision


def _run_process(arguments: Sequence[str], environment: dict[str, str], log, seconds: float) -> int | None:
    """The exit code; None where it was ended with all that it started because its time was over."""
    # What a shell starts in the background ignores this signal, and so would all that it starts.
    own_handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        arguments, cwd=_ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    signal.signal(signal.SIGINT, own_handler)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        # pytest writes its report on the first signal.
        for ending, patience in ((signal.SIGINT, _LAST_WORDS), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, ending)
                process.wait(patience)
        return None


def _read_checks(path: pathlib.Path) -> dict:
    """How many tests passed, and the first line of each that did not."""
    cases = list(xml.etree.ElementTree.parse(path).iter("testcase"))
    failed = {
        case.get("name"): problem.get("message", "").partition("\n")[0]
        for case in cases
        for problem in case
        if problem.tag in ("failure", "error")
    }
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {"passed": len(cases) - len(failed) - skipped, "skipped": skipped, "failed": failed}


def _read_rows(path: pathlib.Path) -> dict:
    """Names of the rows that were measured, and reasons of those that were not."""
    result = json.loads(path.read_text(encoding="utf-8"))
    rows = [*result["rows"], *result.get("costs", [])]
    errors = {row["name"]: row["error"].partition("\n")[0] for row in rows if row.get("error")}
    measured = [row for row in rows if not row.get("error")]
    return {"rows": [row.get("name") or f"{row['stage']}, {row['batch_size']}" for row in measured], "errors": errors}


def _headline(folder: pathlib.Path, parts: Sequence[Part]) -> dict:
    """Seconds of the whole paper's parts from the rows that there are."""
    files = [folder / f"{part.name}.json" for part in parts]
    rows = [row for file in files if file.exists() for row in json.loads(file.read_text())["rows"] if "name" in row]
    seconds, missing = headline.estimate(rows)
    return {"seconds": seconds, "total": None if missing else sum(seconds.values()), "not measured": missing}


@reports_user_errors
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which it ends, in all (%(default)s)")
    parser.add_argument("--suite", default="quick", help="quick: the papers' batches; tiny: to try it out")
    parser.add_argument("--parts", default=",".join(part.name for part in PARTS), help="%(default)s")
    arguments = parser.parse_args(argv)
    names = arguments.parts.split(",")
    unknown = set(names) - {part.name for part in PARTS}
    if unknown:
        known = ", ".join(part.name for part in PARTS)
        raise UserError(f"--parts: there is no {', '.join(sorted(unknown))}; expected some of {known}")
    summary = measure(arguments.output, arguments.minutes, arguments.suite, [p for p in PARTS if p.name in names])
    return 0 if all(part["state"] == "done" for part in summary["parts"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
