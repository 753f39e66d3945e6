"""Curves of a run: one JSON line per entry in log.jsonl, the same numbers for TensorBoard."""

import json
from pathlib import Path

from tensorboardX import SummaryWriter

from echojax.files import write_text


class Log:
    """Appends metrics by step; a resumed run first forgets what was logged after the step it resumes from."""

    def __init__(self, workdir: Path, first_step: int):
        self._path = Path(workdir) / "log.jsonl"
        self._forget_after(first_step)
        self._lines = self._path.open("a")
        self._writer = SummaryWriter(str(workdir), purge_step=first_step + 1)

    def write(self, step: int, phase: str, metrics: dict[str, float]) -> None:
        """Logs the metrics of a step; `phase` is "train" or "validation"."""
        self._lines.write(json.dumps({"step": step, "phase": phase, **metrics}) + "\n")
        self._lines.flush()
        for name, value in metrics.items():
            self._writer.add_scalar(f"{phase}/{name}", value, step)

    def close(self) -> None:
        """Ends the curves."""
        self._lines.close()
        self._writer.close()

    def _forget_after(self, step: int) -> None:
        if not self._path.exists():
            return
        kept = [line for line in self._path.read_text().splitlines() if _step_of(line) <= step]
        write_text(self._path, "".join(line + "\n" for line in kept))


class NoLog:
    """The log of a process that writes no files."""

    def write(self, step: int, phase: str, metrics: dict[str, float]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def _step_of(line: str) -> float:
    """The step of a log line; a line that a killed run left half written counts as never."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")
