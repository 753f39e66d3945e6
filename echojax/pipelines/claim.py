"""The paper's claim, tried on phantoms: do unlabelled videos help when an eighth of the labels is there?

Several seeds train the demo's stages at the same labels and steps. CSS is compared with supervised segmentation by the
Dice of each held-out video, the student with the baseline by its absolute EF error, both as paired differences.
"""

from pathlib import Path

import numpy as np

from echojax import evaluate
from echojax.data import data_kind
from echojax.evaluation import EfResults, SegmentationResults
from echojax.pipelines import demo
from echojax.pipelines.phantoms import ensure_phantoms
from echojax.records import open_videos

COMPARISONS = {
    "css_minus_supervised": ("css", "supervised", "dice", "Dice, CSS - labels only (higher is better for CSS)"),
    "student_minus_baseline": ("student", "baseline", "mae", "MAE, student - labels only (lower is better for it)"),
}


def run_pipeline(config, workdir: Path) -> None:
    """Runs the chain once per seed and writes the paired differences, whatever they are."""
    ensure_phantoms(config.data_dir, config.phantoms)
    kind = data_kind(open_videos(config.data_dir))
    by_seed = []
    for seed in config.seeds:
        config.seed = seed
        print(f"\nSeed {seed}")
        chain = demo.run_chain(config, workdir / f"seed_{seed}")
        by_seed.append({name: evaluated.results["TEST"] for name, evaluated in chain.items()})
    print(f"\nTEST, {kind} videos, {len(config.seeds)} seeds: mean paired difference [95 % interval]")
    for group, (first, second, metric, label) in COMPARISONS.items():
        runs = [_per_video([of_seed[name] for of_seed in by_seed], metric) for name in (first, second)]
        differences = evaluate.compare_seeds(*runs, metric)
        evaluate.update_metrics(workdir / "metrics.json", group, differences, data=kind, split="TEST")
        print(f"  {label}")
        for name, of_name in differences.items():
            print(f"    {name:<18} {of_name.value:+.4f} [{of_name.low:+.4f}, {of_name.high:+.4f}]   n={of_name.n}")
    for name in config.stages:
        values = [each[name].metrics["mae" if isinstance(each[name], EfResults) else "dice"].value for each in by_seed]
        over_seeds = evaluate.mean_interval(np.array(values))
        metrics = {"mean_over_seeds": over_seeds}
        evaluate.update_metrics(workdir / "metrics.json", name, metrics, data=kind, split="TEST")
        print(f"  {name:<12} mean over seeds {over_seeds.value:.4f} ({', '.join(f'{value:.4f}' for value in values)})")


def _per_video(runs: list[SegmentationResults | EfResults], metric: str) -> np.ndarray:
    """(seeds, videos): "dice" of each video, or "mae", its absolute EF error in percent."""
    return np.array([run.dice if metric == "dice" else np.abs(run.predicted - run.ef) for run in runs])
