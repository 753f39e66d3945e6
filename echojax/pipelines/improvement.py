"""The improved student against the paper's: as many parameters, the same data and steps, several seeds."""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from echojax import evaluate
from echojax.data import data_kind
from echojax.errors import UserError
from echojax.pipelines.phantoms import ensure_phantoms
from echojax.pipelines.runs import count_weights, run_all
from echojax.records import open_videos

STUDENTS = ("reference", "improved")
# How much the numbers of parameters may differ.
TOLERANCE = 0.05


def run_pipeline(config, workdir: Path) -> None:
    """Trains both students once per seed and writes their paired difference of Dice, whatever it is."""
    weights = check_sizes(config.students)
    ensure_phantoms(config.data_dir, config.phantoms)
    stages = {f"{name}_seed_{seed}": seed_stage(config, name, seed) for seed in config.seeds for name in STUDENTS}
    outcomes = run_all(stages, workdir)
    dice = {name: np.array([outcomes[f"{name}_seed_{seed}"].dice for seed in config.seeds]) for name in STUDENTS}
    kind = data_kind(open_videos(config.data_dir))
    print(f"\nTEST, {kind} videos, {len(config.seeds)} seeds: mean Dice over videos [95 % interval over seeds]")
    for name, of_name in dice.items():
        over_seeds = evaluate.mean_interval(of_name.mean(axis=1))
        metrics = {"dice_mean_over_seeds": over_seeds}
        evaluate.update_metrics(workdir / "metrics.json", name, metrics, data=kind, split="TEST")
        values = ", ".join(f"{value:.4f}" for value in of_name.mean(axis=1))
        print(f"  {name:<10} {weights[name]:>9,} weights   {describe(over_seeds, '.4f')}   ({values})")
    differences = evaluate.compare_seeds(dice["improved"], dice["reference"], "dice")
    group = "improved_minus_reference"
    evaluate.update_metrics(workdir / "metrics.json", group, differences, data=kind, split="TEST")
    print("  improved - reference, paired [95 % interval]")
    for name, difference in differences.items():
        print(f"    {name:<14} {describe(difference, '+.4f')}   n={difference.n}")


def check_sizes(students) -> dict[str, int]:
    """Numbers of parameters.

    Raises:
      UserError: they differ by more than 5 % of the reference's.
    """
    weights = {name: count_weights(students[name]) for name in STUDENTS}
    ratio = weights["improved"] / weights["reference"]
    if abs(ratio - 1) > TOLERANCE:
        raise UserError(
            f"the improved student has {weights['improved']:,} parameters, the reference {weights['reference']:,}: "
            f"{100 * (ratio - 1):+.1f} %, expected within {100 * TOLERANCE:.0f} %; choose another width"
        )
    return weights


def seed_stage(config, name: str, seed: int) -> ConfigDict:
    """The config of one student and seed."""
    stage = config.students[name].copy_and_resolve_references()
    stage.seed = seed
    return stage


def describe(interval: evaluate.Interval, digits: str) -> str:
    """Value and interval, in a number format."""
    return f"{interval.value:{digits}} [{interval.low:{digits}}, {interval.high:{digits}}]"
