"""What each ingredient of the phantoms gave: the first packaged network, trained in short on phantoms that lack it.

    python -m benchmarks.phantom_ablation --output=FILE.json [--workdir=DIR] [--real=DIR] [--groups=speckle,jpeg]

Every line of the table is a network of configs/weights.py, trained for fewer steps on the same hearts; only what is
left out of the pictures differs, and for one line the seed:

    full        nothing is left out
    repeated    nothing, but initial weights, batches and augmentation are others: what chance alone does
    GROUP       one of `GROUPS`, or a single one of data_prep/phantom/ingredients.py
    everything  all ingredients

All are measured at ED and ES of the same held-out phantoms of full variety and, with `--real`, a folder in
EchoNet-Dynamic's layout, as benchmarks/real_video.py does it: on a development set. Differences to `full` are paired by
video, and their 95 % intervals are over videos: what another training would give is not in them.

A line is kept in `<workdir>/<line>` and skipped when it is finished; a killed training goes on where it stopped.
"""

import argparse
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from benchmarks import real_video
from benchmarks.commands import describe_device, reports_user_errors
from benchmarks.entries import Groups, to_entries
from configs import weights
from data_prep.phantom.dataset import GENERATOR_VERSION, split_of
from data_prep.phantom.ingredients import INGREDIENTS
from data_prep.source import SourceRow, read_source
from echojax import evaluate, run
from echojax.errors import UserError
from echojax.evaluate import Interval
from echojax.evaluation import evaluate_segmentation
from echojax.files import replaced_file, write_json
from echojax.pipelines.improvement import describe
from echojax.pipelines.phantoms import ensure_phantoms
from echojax.pipelines.runs import check_same_settings
from echojax.predict import load_segmentation

GROUPS = {
    "anatomy": ("foreshortening", "remodelling", "straight_septum", "zoom", "placement", "chambers"),
    "endocardium": ("papillary", "trabeculae", "annulus", "tracing_margin"),
    "motion": ("arrhythmia", "wall_motion", "sway"),
    "levels": ("contrast", "compression"),
    "speckle": ("transducer", "compounding"),
    "clutter": ("haze", "clouds", "reverberation"),
    "losses": ("shadows", "dropout", "fading", "contact"),
    "traces": ("streaks", "resampling", "jpeg", "marks"),
}
FULL, REPEATED, HELD_OUT, MINUS_FULL = "full", "repeated", "held_out", "_minus_full"
# What is left out, by line of the table.
LINES = {FULL: (), REPEATED: (), **GROUPS, "everything": tuple(INGREDIENTS)}
# Shares of the training phantoms: the rest chooses the best checkpoint of a run.
SPLITS = (0.9, 0.1, 0.0)
# What is measured per video; written last, so that a line that has it is finished.
VALUES = "values.npz"
# Of each video by `<group>.<metric>`, nan where there is none.
Values = Mapping[str, np.ndarray]
# Title, group, metric and number format.
COLUMNS = (
    ("Dice, held-out phantoms", HELD_OUT, "dice_mean", ".3f"),
    ("minus full", HELD_OUT, f"dice_mean{MINUS_FULL}", "+.3f"),
    ("Dice, real", "real_dice", "dice_mean", ".3f"),
    ("minus full", "real_dice", f"dice_mean{MINUS_FULL}", "+.3f"),
    ("LVEF MAE, real", "real_lvef_simpson", "mae", ".1f"),
    ("minus full", "real_lvef_simpson", f"mae{MINUS_FULL}", "+.1f"),
    ("LVEF bias, real", "real_lvef_simpson", "bias", "+.1f"),
)


def choose_lines(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What to leave out, by line; `full` comes first, as all others are compared with it.

    Raises:
      UserError: a name that is no group, no ingredient and none of the other lines.
    """
    known = LINES | {name: (name,) for name in INGREDIENTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"--groups: there is no {', '.join(unknown)}; expected some of {', '.join(LINES)}, or single ingredients: "
            f"{', '.join(INGREDIENTS)}"
        )
    return {name: known[name] for name in (FULL, *names)}


def training_stage(name: str, without: Sequence[str], arguments: argparse.Namespace) -> ConfigDict:
    """The config of a line's training: that of the first packaged network on fewer phantoms, in fewer steps."""
    config = weights.get_config()
    # Lines that leave nothing out share their phantoms.
    config.data_dir = str(arguments.workdir / (name if without else FULL) / "phantoms")
    config.seed += int(name == REPEATED)
    config.phantoms.update(num_videos=arguments.num_phantoms, without=tuple(without), splits=SPLITS)
    stage = config.segmentation.copy_and_resolve_references()
    # For the run's config.json, by which a folder of other phantoms is told.
    stage.phantoms, stage.generator_version = config.phantoms, GENERATOR_VERSION
    splits = [split_of(config.phantoms.seed, index, SPLITS) for index in range(arguments.num_phantoms)]
    steps_per_epoch = max(1, splits.count("TRAIN") // stage.train.batch_size)
    stage.train.num_epochs = math.ceil(arguments.num_steps / steps_per_epoch)
    stage.train.max_steps = arguments.num_steps
    return stage


def held_out_stage(arguments: argparse.Namespace) -> ConfigDict:
    """The config by which all lines are measured: phantoms of another seed, nothing left out, all TEST."""
    stage = training_stage(FULL, (), arguments)
    if arguments.seed == stage.phantoms.seed:
        raise UserError(f"--seed={arguments.seed}: the networks are trained on these phantoms; take another seed")
    stage.data_dir = str(arguments.workdir / HELD_OUT / "phantoms")
    stage.phantoms.update(num_videos=arguments.num_held_out, seed=arguments.seed, variety=(1.0, 1.0), truth=False)
    stage.phantoms.splits = (0.0, 0.0, 1.0)
    return stage


def make_phantoms(stage: ConfigDict, folder: pathlib.Path) -> None:
    """Makes the phantoms of a config, unless they are there; config.json, written before, says what was asked for."""
    run.write_config(stage, folder)
    ensure_phantoms(stage.data_dir, stage.phantoms)


def finish_line(
    stage: ConfigDict, held_out: ConfigDict, folder: pathlib.Path, rows: Sequence[SourceRow]
) -> tuple[Groups, Values]:
    """Metrics of a line and what they are made of, after training and measuring it unless that was done before."""
    wanted = {f"{HELD_OUT}.dice_mean"} | ({"real_lvef_simpson.mae"} if rows else set())
    if not wanted <= read_values(folder).keys():
        make_phantoms(stage, folder)
        run.train_network(stage, folder)
        measure_line(held_out, folder, rows)
    metrics = evaluate.load_metrics(folder / "metrics.json")
    return {HELD_OUT: metrics.pop(stage.stage), **metrics}, read_values(folder)


def read_values(folder: pathlib.Path) -> Values:
    """What was measured per video; nothing before the line is finished."""
    if not (folder / VALUES).exists():
        return {}
    with np.load(folder / VALUES) as values:
        return dict(values)


def measure_line(held_out: ConfigDict, folder: pathlib.Path, rows: Sequence[SourceRow]) -> None:
    """Measures a line's network on the held-out phantoms and on the real videos given: `metrics.json` and values."""
    values = {f"{HELD_OUT}.dice_mean": evaluate_segmentation(run.open_run(held_out, folder), "TEST").dice}
    if rows:
        segmentation = load_segmentation(str(folder))
        # One view: more would only widen an interval of LVEF that has no calibration here.
        scores = [real_video.score_video(row, segmentation, 1) for row in tqdm(rows, desc="real videos", unit="clip")]
        metrics = real_video.summarise(scores)
        for group in metrics.keys() & {"dice", "lvef_simpson"}:
            evaluate.update_metrics(folder / "metrics.json", f"real_{group}", metrics[group], data="real")
        both = [ed + es for ed, es in (score.dice for score in scores if score.dice)]
        values["real_dice.dice_mean"] = np.array([evaluate.dice_from_counts(counts) for counts in both])
        values["real_lvef_simpson.mae"] = np.array([abs(s.lvef_percent["lvef_simpson"] - s.ef_percent) for s in scores])
    with replaced_file(folder / VALUES) as temporary:
        np.savez(temporary, **values)


def compare_lines(values: Values, full: Values) -> dict[str, dict[str, Interval]]:
    """Mean of line - full by group and metric, paired by video; videos that have a value in one alone are left out."""
    differences = {}
    for name in full.keys() & values.keys():
        pair = np.stack([values[name], full[name]])
        pair = pair[:, np.isfinite(pair).all(axis=0)]
        group, metric = name.split(".")
        if pair.size:
            differences[group] = {f"{metric}{MINUS_FULL}": evaluate.paired_difference(*pair)}
    return differences


def to_content(lines: Mapping[str, Groups], stages: Mapping[str, ConfigDict], arguments: argparse.Namespace) -> dict:
    """What is written: numbers over all videos alone."""
    entries = {}
    for name, groups in lines.items():
        of_real = {group: metrics for group, metrics in groups.items() if group != HELD_OUT}
        entries[name] = {"without": list(stages[name].phantoms.without), "training_seed": stages[name].seed}
        entries[name]["metrics"] = to_entries({HELD_OUT: groups[HELD_OUT]}, "phantom") | to_entries(of_real, "real")
    return {
        "command": "python -m benchmarks.phantom_ablation --output=FILE.json" + " --real=DIR" * bool(arguments.real),
        "note": f"real: {real_video.NOTE}",
        "device": describe_device(),
        "generator_version": GENERATOR_VERSION,
        "network": stages[FULL].network.to_dict(),
        **{name: getattr(arguments, name) for name in ("num_phantoms", "num_steps", "num_held_out")},
        "phantom_seeds": {"training": stages[FULL].phantoms.seed, HELD_OUT: arguments.seed},
        "lines": entries,
    }


def render_table(lines: Mapping[str, Groups]) -> str:
    """Markdown: a row per line, every metric with its 95 % interval, beside it the paired difference to `full`."""
    columns = [column for column in COLUMNS if column[1] in lines[FULL]]
    rows = [["left out", *(title for title, *_ in columns)], ["---"] * (1 + len(columns))]
    for name, groups in lines.items():
        found = [(groups.get(group, {}).get(metric), digits) for _, group, metric, digits in columns]
        rows.append([name, *(describe(*cell) if cell[0] else "" for cell in found)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def measure(arguments: argparse.Namespace) -> None:
    """Trains and measures what is missing; the file is written anew after every line."""
    chosen = choose_lines([name.strip() for name in arguments.groups.split(",") if name.strip()])
    rows = read_source(pathlib.Path(arguments.real)).rows if arguments.real else []
    if arguments.real and not rows:
        raise UserError(f"{arguments.real}: no videos; expected a folder in EchoNet-Dynamic's layout")
    held_out = held_out_stage(arguments)
    stages = {name: training_stage(name, without, arguments) for name, without in chosen.items()}
    for name, stage in {HELD_OUT: held_out, **stages}.items():
        check_same_settings(stage, arguments.workdir / name)
    run.enable_compile_cache(held_out.compile_cache_dir)
    make_phantoms(held_out, arguments.workdir / HELD_OUT)
    lines, full = {}, None
    for number, (name, stage) in enumerate(stages.items(), 1):
        print(f"[{number}/{len(stages)}] {name}: without {', '.join(stage.phantoms.without) or 'nothing'}", flush=True)
        groups, values = finish_line(stage, held_out, arguments.workdir / name, rows)
        differences = compare_lines(values, full) if full else {}
        lines[name] = {group: metrics | differences.get(group, {}) for group, metrics in groups.items()}
        full = full or values
        write_json(arguments.output, to_content(lines, stages, arguments))
    print(render_table(lines))


@reports_user_errors
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, metavar="FILE", help="JSON of the figures")
    parser.add_argument("--workdir", type=pathlib.Path, default="runs/phantom_ablation", metavar="DIR")
    parser.add_argument("--real", metavar="DIR", help="real videos in EchoNet-Dynamic's layout")
    parser.add_argument("--num_phantoms", type=int, default=300, help="of each line; a tenth of them is VAL")
    parser.add_argument("--num_steps", type=int, default=200, help="of each training")
    parser.add_argument("--num_held_out", type=int, default=120, help="phantoms to measure on")
    parser.add_argument("--seed", type=int, default=7010, help="of the held-out phantoms")
    parser.add_argument("--groups", default=",".join(LINES), help="lines, with commas (default: %(default)s)")
    measure(parser.parse_args(argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
