"""Several processes, one per host or per accelerator: how they find each other, divide work, and end together.

    python main.py --config=configs/css.py --processes=auto                        Slurm, Open MPI, a TPU pod slice
    python main.py --config=configs/css.py --processes=0/2@127.0.0.1:9911          the first of two; 1/2@... the second

A training step is computed by the devices of all processes. Everything else a process does on its own devices and
without waiting for others: it reads its part of every batch, validates and infers its share of the videos. What the
shares gave is then exchanged through JAX's coordination service rather than by collectives of the accelerators, so that
nobody has to keep step; after that every process knows every result. Files are written by the first process alone,
except checkpoints, to which every process writes its part, and shards of masks, each of which one process writes.

All processes see the same files. When one is lost, XLA ends the others, at the latest `HEARTBEAT_SECONDS` later.
"""

import contextlib
import io
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import jax
import numpy as np
from jax._src import distributed  # the coordination service has no public name; Orbax takes it from here, too

from echojax.errors import UserError

T = TypeVar("T")

HEARTBEAT_SECONDS = 30
# How long one process waits for another's share: as long as it may take, as a lost process ends everything anyway.
_PATIENCE_MS = 7 * 24 * 3600 * 1000
_PLACE = re.compile(r"(\d+)/(\d+)@(.+:\d+)")
_LOCAL = ("127.0.0.1", "localhost")
# XLA ends a process from a thread of its own, without a word to Python. A second process, which outlives it, explains.
_WATCHER = "import sys; sys.stdin.read() or print(sys.argv[1], file=sys.stderr)"
_STOPPED = (
    "echojax: {who} stopped before the end. If nobody stopped it, another process was lost, which ends all of them; "
    "the lines above say more. Start them all again with the same command: the run goes on from its newest checkpoint."
)

_exchanges = itertools.count()


@contextlib.contextmanager
def joined(where: str) -> Iterator[None]:
    """Joins the processes of a run for the time of the block; "" is one process, which joins nobody.

    If the block fails, the process prints why and ends at once, since the others cannot go on without it.

    Args:
      where: "auto", or INDEX/COUNT@HOST:PORT with the address of the first process.

    Raises:
      UserError: `where` is neither, or the processes do not find each other.
    """
    if not where:
        yield
        return
    settings = _parse(where)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would catch SIGTERM and go on; a killed run resumes as it is.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**settings, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--processes={where}: the processes did not find each other: {reason}") from error
    with _watched() as dismiss_watcher:
        try:
            with contextlib.nullcontext() if is_first() else _silence():
                yield
                wait()
        except BaseException as error:
            _leave(error, dismiss_watcher)
        dismiss_watcher()
    jax.distributed.shutdown()


def is_first() -> bool:
    """Whether this process writes files and talks to the user."""
    return jax.process_index() == 0


def wait() -> None:
    """Waits until every process has come here."""
    if jax.process_count() > 1:
        distributed.global_state.client.wait_at_barrier(f"echojax/{next(_exchanges)}", _PATIENCE_MS)


def first_does(action: Callable[[], None]) -> None:
    """Lets the first process do something, such as writing files that all will read; the others wait."""
    if is_first():
        action()
    wait()


def first_then_others(make: Callable[[], T]) -> T:
    """Calls a function in every process, in the first before the others, and returns when all have called it."""
    made = None
    for turn in (True, False):
        if is_first() == turn:
            made = make()
        wait()
    return made


def share(items: Sequence[T]) -> list[T]:
    """This process's items: one in `process_count`, beginning with its own index."""
    return list(items[jax.process_index() :: jax.process_count()])


def gather(results: Sequence[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """What all processes made of their `share` of some items, in the order of those items; known to all of them.

    Args:
      results: of this process, one for each item of its share.
    """
    count = jax.process_count()
    if count == 1:
        return list(results)
    key, client = f"echojax/{next(_exchanges)}", distributed.global_state.client
    client.key_value_set_bytes(f"{key}/{jax.process_index()}", _pack(results))
    shares = [_unpack(client.blocking_key_value_get_bytes(f"{key}/{index}", _PATIENCE_MS)) for index in range(count)]
    wait()
    client.key_value_delete(f"{key}/{jax.process_index()}")
    gathered = [None] * sum(map(len, shares))
    for index, of_process in enumerate(shares):
        gathered[index::count] = of_process
    return gathered


@contextlib.contextmanager
def output_folder(workdir: Path) -> Iterator[Path]:
    """Where results go: the run's folder for the first process, one that is thrown away for the others.

    All processes go the same way through the code, so that none forgets to take its share of what is divided.
    """
    if is_first():
        yield workdir
    else:
        with tempfile.TemporaryDirectory(prefix="echojax-") as folder:
            yield Path(folder)
    wait()


def _parse(where: str) -> dict:
    """Arguments of `jax.distributed.initialize`."""
    if where == "auto":
        return {}
    match = _PLACE.fullmatch(where)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(
            f"--processes is {where!r}, expected auto, or INDEX/COUNT@HOST:PORT, such as 0/2@10.0.0.1:9911 and "
            "1/2@10.0.0.1:9911 for two processes of which the first runs at 10.0.0.1"
        )
    index, count, address = int(match[1]), int(match[2]), match[3]
    # Otherwise the first process listens at every address it has, which a machine without IPv6 may refuse.
    bind = address if address.rpartition(":")[0] in _LOCAL else None
    return {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": index,
        "coordinator_bind_address": bind,
    }


@contextlib.contextmanager
def _watched() -> Iterator[Callable[[], None]]:
    """Starts the process that explains the end of this one, unless it is told that all is well or has been said."""
    message = _STOPPED.format(who=f"process {jax.process_index()} of {jax.process_count()}")
    command = [sys.executable, "-I", "-c", _WATCHER, message]
    # A session of its own: Ctrl-C is for us.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as watcher:

        def dismiss() -> None:
            watcher.stdin.write(b"done")
            watcher.stdin.flush()

        yield dismiss


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _leave(error: BaseException, dismiss_watcher: Callable[[], None]) -> NoReturn:
    """Ends this process without waiting for the others, whom that ends, too."""
    if isinstance(error, UserError):
        print(f"echojax: {error}", file=sys.stderr)
        dismiss_watcher()
    else:
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first():
        time.sleep(1)  # the coordination service goes with it: let the others say what they have to say
    os._exit(2 if isinstance(error, UserError) else 1)


def _pack(results: Sequence[dict[str, np.ndarray]]) -> bytes:
    # Not pickle: whoever reaches the coordination service could send a program.
    file = io.BytesIO()
    arrays = {f"{number}/{name}": array for number, of_item in enumerate(results) for name, array in of_item.items()}
    np.savez(file, number=len(results), **arrays)
    return file.getvalue()


def _unpack(data: bytes) -> list[dict[str, np.ndarray]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        results = [{} for _ in range(int(arrays["number"]))]
        for key in arrays.files:
            number, slash, name = key.partition("/")
            if slash:
                results[int(number)][name] = arrays[key]
    return results
