"""The CSS paper from end to end, after an estimate: css, masks of every frame, teacher, kd, test on all clips."""

import json
import time
from pathlib import Path

from ml_collections import ConfigDict

from echojax import evaluate, run
from echojax.data import data_kind
from echojax.files import write_json
from echojax.pipelines.estimate import Estimate, estimate_stages
from echojax.pipelines.phantoms import ensure_phantoms
from echojax.pipelines.runs import check_same_settings
from echojax.records import open_videos
from echojax.train import processes

# In the order in which they run: a config's own fields are sorted by name.
STAGES = ("css", "teacher", "kd")
LABELS = {
    "css": "segmentation, CSS",
    "teacher": "EF, multi-modal teacher (RGB and mask), all clips",
    "kd": "EF, distilled student (RGB), all clips",
}
# What an evaluation writes last.
_LAST_FILE = "index.html"


def run_pipeline(config, workdir: Path) -> None:
    """Runs what is not done yet of the three stages, each in its own folder of workdir, and writes their metrics.

    Raises:
      UserError: a stage's folder holds a run of other settings, or what a stage needs is missing.
    """
    begin = time.perf_counter()
    processes.first_does(lambda: ensure_phantoms(config.data_dir, config.phantoms))
    stages = {name: stage_config(config, name, workdir) for name in STAGES}
    for name, stage in stages.items():
        check_same_settings(stage, workdir / name)
    pending = {name: stage for name, stage in stages.items() if not (workdir / name / _LAST_FILE).exists()}
    processes.wait()  # nobody begins before all have seen what is there
    estimate = None
    if pending and config.estimate.num_steps:
        estimate = estimate_stages(pending, workdir, config.estimate.num_steps)
        print(estimate.describe(config.estimate.price_per_hour))
        processes.first_does(lambda: write_json(workdir / "estimate.json", estimate.to_json()))
    for name, stage in pending.items():
        print(f"\n{LABELS[name]}")
        run.train_stage(stage, workdir / name)
    processes.first_does(lambda: write_results(config, workdir))
    print(describe_time(len(pending), time.perf_counter() - begin, estimate))


def stage_config(config, name: str, workdir: Path) -> ConfigDict:
    """A stage's config, with the results of the stages before it as its inputs."""
    stage = config.stages[name].copy_and_resolve_references()
    stage.masks_dir = str(workdir / "css" / "masks")
    stage.teacher_dir = str(workdir / "teacher")
    return stage


def write_results(config, workdir: Path) -> None:
    """Collects the stages' metrics of TEST in `metrics.json` and prints them."""
    collected = {name: json.loads((workdir / name / "metrics.json").read_text())[name] for name in STAGES}
    write_json(workdir / "metrics.json", collected)
    print(f"\nTEST, {data_kind(open_videos(config.data_dir))} videos: value [interval over videos]")
    for name, metrics in evaluate.load_metrics(workdir / "metrics.json").items():
        shown = [
            f"{metric} {metrics[metric].value:.3f} [{metrics[metric].low:.3f}, {metrics[metric].high:.3f}]"
            for metric in ("dice", "mae", "rmse", "r2")
            if metric in metrics
        ]
        print(f"  {LABELS[name]:<52} {'   '.join(shown)}")


def describe_time(num_stages: int, took_seconds: float, estimate: Estimate | None) -> str:
    """What the run took, beside what was estimated."""
    text = f"{num_stages} of {len(STAGES)} stages were left to do and took {took_seconds:.0f} s"
    return text if estimate is None else f"{text}, estimated {estimate.seconds:.0f} s"
