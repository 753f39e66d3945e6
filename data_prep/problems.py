"""What data preparation found wrong, one row per finding."""

import csv
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

from echojax.files import replaced_file

REPORT_NAME = "report.csv"

KEPT = "kept"
SET_ASIDE = "set aside"
PARTLY_KEPT = "partly kept"
LEFT_OUT = "left out"


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """One finding.

    Attributes:
      name: the video's name without extension, or a file's name.
      kind: what it is in one stable word, for programs.
      problem: what was found and what was expected, for people.
      outcome: `kept` (nothing is lost; good to know), `set aside` (there is no record, as the source itself wishes),
        `partly kept` (a label or tracing is not in the records) or `left out` (there is no record).
      action: what was done about it, or how to mend it.
    """

    name: str
    kind: str
    problem: str
    outcome: str
    action: str

    @property
    def is_failure(self) -> bool:
        """Something of the input is not in the records."""
        return self.outcome in (PARTLY_KEPT, LEFT_OUT)

    def __str__(self) -> str:
        return f"{self.name}: {self.problem} [{self.kind}; {self.outcome}]: {self.action}"


def write_report(directory: pathlib.Path, problems: Iterable[Problem]) -> pathlib.Path:
    """Writes `report.csv`, sorted, whole or not at all; returns its path."""
    path = directory / REPORT_NAME
    columns = [field.name for field in dataclasses.fields(Problem)]
    with replaced_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *map(dataclasses.astuple, sorted(problems))])
    return path


def count_kinds(problems: Sequence[Problem]) -> list[tuple[str, str, int]]:
    """Outcome, kind and number of findings, failures first."""
    kinds = sorted({(p.outcome, p.kind) for p in problems}, key=lambda pair: (pair[0] in (KEPT, SET_ASIDE), pair))
    return [(outcome, kind, sum((p.outcome, p.kind) == (outcome, kind) for p in problems)) for outcome, kind in kinds]
