"""What the whole CSS paper would take on the machine of a result: the paper's amounts over the rates of its rows.

    python -m benchmarks.headline --results=benchmarks/results/suite_cpu.json [--price_per_hour=2.5]

`configs/paper.py` says the same before it begins, from the videos that are there, with reading in it; this is for a
machine that has none of them. Every row goes through so many frames a second, in batches of its own size: those of a
quick suite on a CPU are smaller than the paper's.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.commands import reports_user_errors
from echojax.errors import UserError

# EchoNet-Dynamic: videos of VAL and TEST, frames of all and of a video on average.
NUM_VAL, NUM_TEST, NUM_FRAMES, MEAN_FRAMES = 1288, 1277, 1_770_000, 176.5
# The papers' recipe: 25 epochs of 46 steps; clips of 32 frames, every second one, from every start.
NUM_EPOCHS, NUM_STEPS, CLIP_FRAMES, PERIOD = 25, 25 * 46, 32, 2
_NUM_CLIPS = round(NUM_TEST * (MEAN_FRAMES - (CLIP_FRAMES - 1) * PERIOD))
# Three passes over VAL after each epoch; one clip of each video of TEST for five seeds, besides all of them.
_NUM_SEEN_CLIPS = 3 * NUM_VAL * NUM_EPOCHS + 5 * NUM_TEST + _NUM_CLIPS


class Part(NamedTuple):
    """Frames that go through a row's work; `row` is the row's name."""

    name: str
    row: str
    num_frames: int


_SEGMENTATION, _CLIPS = "mask inference, DeepLabV3-ResNet50", "all-clips evaluation, R(2+1)D-18"
PARTS = (
    Part("segmentation, training", "CSS step", NUM_STEPS * (20 + 20 + 40)),
    Part("segmentation, VAL and TEST", _SEGMENTATION, 2 * NUM_VAL * NUM_EPOCHS + 2 * NUM_TEST),
    Part("masks of every frame", _SEGMENTATION, NUM_FRAMES),
    Part("teacher, training", "R(2+1)D-18 training step", NUM_STEPS * 20 * CLIP_FRAMES),
    Part("teacher, VAL and all clips of TEST", _CLIPS, _NUM_SEEN_CLIPS * CLIP_FRAMES),
    Part("student, training", "distillation step", NUM_STEPS * 30 * CLIP_FRAMES),
    Part("student, VAL and all clips of TEST", _CLIPS, _NUM_SEEN_CLIPS * CLIP_FRAMES),
)


def estimate(rows: Sequence[Mapping]) -> tuple[dict[str, float], list[str]]:
    """Seconds of every part whose row was measured, and the names of the rows that are missing."""
    rates = {row["name"]: row["frames"] / row["ours"] for row in rows if row.get("frames") and row["ours"]}
    seconds = {part.name: part.num_frames / rates[part.row] for part in PARTS if part.row in rates}
    return seconds, sorted({part.row for part in PARTS} - set(rates))


def describe(result: Mapping, price_per_hour: float = 0.0) -> str:
    """A table of seconds; no total where a row is missing."""
    seconds, missing = estimate(result["rows"])
    lines = [f"From rates of the suite `{result['suite']}` on {result['device']}:", ""]
    lines += ["| part of the CSS paper | frames | seconds |", "|---|---|---|"]
    known = [part for part in PARTS if part.name in seconds]
    lines += [f"| {part.name} | {part.num_frames:,} | {seconds[part.name]:,.0f} |" for part in known]
    total = sum(seconds.values())
    if missing:
        lines += ["", f"No total: not measured are {', '.join(missing)}."]
    else:
        cost = f", {total / 3600 * price_per_hour:,.2f} at {price_per_hour:g} an hour" if price_per_hour else ""
        lines += [f"| total |  | {total:,.0f} |", "", f"{total / 3600:,.2f} hours{cost}."]
    lines.append("Reading, compilation, checkpoints, metrics and pages come on top.")
    return "\n".join(lines) + "\n"


@reports_user_errors
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.headline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=pathlib.Path, required=True, metavar="FILE.json")
    parser.add_argument("--price_per_hour", type=float, default=0.0, help="of the machine; 0 is unknown")
    arguments = parser.parse_args(argv)
    print(describe(read_result(arguments.results), arguments.price_per_hour), end="")
    return 0


def read_result(path: pathlib.Path) -> dict:
    """What `python -m benchmarks` wrote."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path}: no result to read ({error}); docs/performance.md and docs/scaling.md say what makes it"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
