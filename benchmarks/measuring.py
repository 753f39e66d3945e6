"""How a row is measured: alternating runs, medians, and the operations of a compiled program."""

import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

# Does the work once and returns when it is done.
Work = Callable[[], object]
# Makes a `Work`, which may take a while: PyTorch's compiler, for one.
MakeWork = Callable[[], Work]

# Dense bfloat16 operations per second of cards, from their makers' data sheets; part of a name as the driver gives it.
PEAK_FLOPS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table; what does not apply is None.

    Attributes:
      name: of the work.
      ours, theirs: medians, in `unit`.
      unit: seconds ("s", "ms") where there is a counterpart, so that `ratio` is our time over theirs.
      what: sizes, in words.
      counterpart: the form of PyTorch, or of the original's way, that `theirs` is of.
      deviation, tolerance: how far both results lie apart, relative to the largest value, and how far they may.
      ours_range, theirs_range: smallest and largest run, in `unit`.
      ours_cpu_s, theirs_cpu_s: medians of the processor's seconds in all threads of this process: a witness where other
        programs share the machine. PyTorch's threads spin while they wait, which counts.
      flops_per_s, share_of_peak: operations of the program per second of ours, and per those that the card can do.
      frames: pictures that one run goes through.
      memory_mb: what our compiled program needs, by XLA's own analysis.
      note: what must be said beside it.
      error: why there is no measurement.
    """

    name: str
    ours: float | None = None
    theirs: float | None = None
    unit: str = "s"
    what: str = ""
    counterpart: str | None = None
    deviation: float | None = None
    tolerance: float | None = None
    ours_range: tuple[float, float] | None = None
    theirs_range: tuple[float, float] | None = None
    ours_cpu_s: float | None = None
    theirs_cpu_s: float | None = None
    flops_per_s: float | None = None
    share_of_peak: float | None = None
    frames: int | None = None
    memory_mb: float | None = None
    note: str = ""
    error: str | None = None

    @property
    def ratio(self) -> float | None:
        """Our time over theirs; None without a counterpart."""
        return None if self.ours is None or not self.theirs else self.ours / self.theirs

    def to_json(self, device: str) -> dict:
        head = {"name": self.name, "ratio": self.ratio, "ours": self.ours, "theirs": self.theirs, "unit": self.unit}
        return head | {"device": device} | dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Clock:
    """How long to measure.

    Attributes:
      num_repetitions: timed runs of each side.
      tried: which forms of the counterpart are timed, to take the fastest: only the "first", "all" of them, or those
        that need no compiler ("eager"), unless there are no others.
      peak_flops: of the device per second; None is unknown.
    """

    num_repetitions: int
    tried: str
    peak_flops: float | None = None

    def alone(self, name: str, work: Work, what: str, flops: float | None = None) -> Row:
        """A row without counterpart."""
        work()
        return self._row(name, what, [_time(work) for _ in range(self.num_repetitions)], flops)

    def against(
        self,
        name: str,
        work: Work,
        forms: Mapping[str, MakeWork],
        what: str,
        deviation: float | None,
        tolerance: float | None,
        flops: float | None = None,
    ) -> Row:
        """A row of ours and theirs in turn, after a run of each that does not count.

        Args:
          forms: what they may be made of, the one known to be the fastest first; empty where there is no counterpart.
          deviation, tolerance: of the results, see `Row`.

        Raises:
          ArithmeticError: both do not compute the same.
        """
        if not forms:
            return self.alone(name, work, what, flops)
        if deviation is not None and not deviation <= tolerance:
            raise ArithmeticError(f"results differ by {deviation:.2g} of the largest, expected at most {tolerance:.2g}")
        work()
        form, theirs = self._fastest(forms)
        taken = [(_time(work), _time(theirs)) for _ in range(self.num_repetitions)]
        ours, theirs = map(list, zip(*taken, strict=True))
        row = self._row(name, what, ours, flops)
        seconds = [run.wall for run in theirs]
        return dataclasses.replace(
            row,
            theirs=statistics.median(seconds),
            theirs_range=(min(seconds), max(seconds)),
            theirs_cpu_s=statistics.median(run.cpu for run in theirs),
            counterpart=form,
            deviation=deviation,
            tolerance=tolerance,
        )

    def _fastest(self, forms: Mapping[str, MakeWork]) -> tuple[str, Work]:
        """The name and the work of the fastest form, run before."""
        if self.tried == "eager":
            forms = {form: make for form, make in forms.items() if not form.endswith("compiled")} or forms
        tried = {}
        for form, make in forms.items():
            work = make()
            work()
            if self.tried == "first" or len(forms) == 1:
                return form, work
            tried[form] = min(_time(work).wall for _ in range(2)), work
            best = min(tried, key=lambda form: tried[form][0])
            tried = {best: tried[best]}  # the others' memory is free for the next
            gc.collect()
        return next((form, work) for form, (_, work) in tried.items())

    def _row(self, name: str, what: str, runs: "list[Run]", flops: float | None) -> Row:
        seconds = [run.wall for run in runs]
        median = statistics.median(seconds)
        flops_per_s = flops / median if flops else None
        share = flops_per_s / self.peak_flops if flops and self.peak_flops else None
        return Row(
            name,
            median,
            what=what,
            ours_range=(min(seconds), max(seconds)),
            ours_cpu_s=statistics.median(run.cpu for run in runs),
            flops_per_s=flops_per_s,
            share_of_peak=share,
        )


class Run(NamedTuple):
    """Seconds of one run: on the wall, and of the processor in all threads."""

    wall: float
    cpu: float


def _time(work: Work) -> Run:
    begin = time.perf_counter(), time.process_time()
    work()
    return Run(time.perf_counter() - begin[0], time.process_time() - begin[1])


def relative_deviation(ours, theirs) -> float:
    """Largest difference of two arrays over the largest absolute value of the second."""
    ours, theirs = (np.asarray(values, np.float64) for values in (ours, theirs))
    difference, largest = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
    # Two zeros are equal.
    return difference / largest if largest else (math.inf if difference else 0.0)


def program_flops(lowered: jax.stages.Lowered) -> float | None:
    """Operations of a program before it is optimised: what a compiled one hands to libraries it cannot count.

    None on a CPU, whose convolutions are written in other ways (`echojax.ops`).
    """
    if jax.default_backend() == "cpu":
        return None
    costs = lowered.cost_analysis()
    return float(costs["flops"]) if costs and costs.get("flops", 0) > 0 else None


def program_mb(compiled: jax.stages.Compiled) -> float:
    """Arguments, results and intermediates of a compiled program, what it is given to write over counted once."""
    sizes = compiled.memory_analysis()
    num_bytes = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    return (num_bytes - sizes.alias_size_in_bytes) / 1e6


def peak_flops(given: float | None) -> float | None:
    """Operations per second that the device can do: as given, or of the table; None for a card that is not in it."""
    kind = jax.devices()[0].device_kind
    return given or next((flops for name, flops in PEAK_FLOPS.items() if name in kind), None)
