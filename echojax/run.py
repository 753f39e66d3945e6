"""From a config and a mode to a finished run: train, evaluate or infer one stage."""

import dataclasses
import importlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from echojax import evaluation, judging, pages, remote
from echojax.data import data_kind, read_names, usual_size
from echojax.errors import UserError
from echojax.files import write_json
from echojax.networks import build_network
from echojax.pipelines.phantoms import ensure_phantoms
from echojax.records import VideoSet, open_masks, open_videos
from echojax.report import page
from echojax.resident import make_resident
from echojax.train import checkpoint, processes
from echojax.train.loop import train
from echojax.versions import versions

STAGES = ("seg", "seg_masks", "css", "ef", "teacher", "kd", "dfkd_targets", "dfkd")
PIPELINES = ("demo", "claim", "dfkd_sweep", "improvement", "weights", "paper")
# Those that may run in several processes; the others have small networks to train, and share out devices by themselves.
LARGE_PIPELINES = ("paper",)
MODES = ("train", "evaluate", "infer")


class Evaluated(NamedTuple):
    """What a run was worth, by split: results, and the sections of its page that show them."""

    results: dict[str, evaluation.SegmentationResults | evaluation.EfResults]
    sections: dict[str, page.Section]

    def describe_failures(self) -> list[str]:
        """A line for each video that could not be evaluated."""
        return [
            f"{split}: {name} failed: {reason}"
            for split, results in self.results.items()
            if isinstance(results, judging.VideoResults)
            for name, reason in results.failures.items()
        ]


def run(config, workdir: str | Path, mode: str) -> int:
    """Runs a config; see `python main.py --help`.

    Args:
      workdir: "" is runs/<stage>, or runs/smoke/<stage> for a smoke variant; may be in a bucket (`echojax.remote`).
      mode: train (and evaluate), evaluate or infer.

    Returns:
      0, or 1 where some videos could not be evaluated.

    Raises:
      UserError: for an unknown stage or mode and for unusable input.
    """
    if mode not in MODES:
        raise UserError(f"--mode is {mode!r}, expected one of {', '.join(MODES)}")
    if jax.process_count() > 1 and config.stage in PIPELINES and config.stage not in LARGE_PIPELINES:
        raise UserError(
            f"{config.stage} runs in one process, this is one of {jax.process_count()}; leave --processes out"
        )
    workdir = workdir or f"runs/{'smoke/' if config.smoke else ''}{config.stage}"
    check_places(config, workdir)
    enable_compile_cache(config.compile_cache_dir)
    remote.use_cache(config.data.cache_dir)
    with remote.working_folder(workdir) as folder:
        return _run_in(folder, config, mode)


def check_places(config, workdir: str | Path) -> None:
    """Raises UserError for a place in a bucket where only a local one will do."""
    if remote.is_remote(workdir) and jax.process_count() > 1:
        raise UserError(
            f"--workdir={workdir}: several processes write into one folder; mount the bucket on every host, for "
            "instance with gcsfuse, and give the folder where it is mounted"
        )
    if remote.is_remote(config.data_dir) and config.phantoms.num_videos:
        raise UserError(f"data_dir={config.data_dir}: phantoms are made in a local folder; give one, or copy it there")


def _run_in(workdir: Path, config, mode: str) -> int:
    evaluated = None
    if config.stage in PIPELINES:
        if mode != "train":
            raise UserError(f"--mode={mode} is for single stages; {config.stage} trains and evaluates several")
        importlib.import_module(f"echojax.pipelines.{config.stage}").run_pipeline(config, workdir)
    elif config.stage in STAGES:
        evaluated = {"train": train_stage, "evaluate": evaluate_stage, "infer": infer_stage}[mode](config, workdir)
    else:
        raise UserError(f"stage is {config.stage!r}, expected one of {', '.join(STAGES + PIPELINES)}")
    failures = evaluated.describe_failures() if evaluated else []
    if processes.is_first():
        print("\n".join([*failures, describe_files(workdir), "Research use only, not a medical device."]))
    return 1 if failures else 0


def train_stage(config, workdir: Path) -> Evaluated:
    """Trains a stage, writes masks if asked to, and evaluates; a stage that trains nothing applies what it is given."""
    processes.first_does(lambda: ensure_phantoms(config.data_dir, config.phantoms))
    for name, required in config.requires.items():
        if not (workdir.parent / name / "metrics.json").exists():
            train_stage(required, workdir.parent / name)
    if hasattr(_module(config), "build"):
        train_network(config, workdir)
    else:
        processes.first_does(lambda: write_config(config, workdir))
    if config.infer.after_training:
        infer_stage(config, workdir)
    return evaluate_stage(config, workdir)


def train_network(config, workdir: Path) -> None:
    """Trains a stage's network from where it stands to its end."""
    stage = make_resident(_module(config).build(config), config.data.resident)
    for note in stage.notes:
        print(f"{stage.name}: {note}")
    processes.first_does(lambda: write_config(config, workdir))
    timing = train(stage, config, workdir, versions())
    print(f"{stage.name}: {timing.describe()}")


def evaluate_stage(config, workdir: Path) -> Evaluated:
    """Evaluates a run's best checkpoint on the config's splits, where they hold videos, and writes its page.

    Several processes share what the network has to compute; the first alone writes the page, and judges whole videos.
    """
    with processes.output_folder(workdir) as folder:
        run_ = dataclasses.replace(open_run(config, workdir), workdir=folder)
        evaluate, splits = evaluation.evaluate_ef, filled_splits(run_.videos, config.evaluation.splits)
        if _module(config).KIND == "segmentation":
            evaluate = judging.judge_videos if config.evaluation.videos else evaluation.evaluate_segmentation
        if evaluate is judging.judge_videos and not processes.is_first():
            splits = []
        results = {split: evaluate(run_, split) for split in splits}
        if not (folder / "metrics.json").exists():
            write_json(folder / "metrics.json", {})  # nothing could be measured: the run is finished all the same
        return Evaluated(results, pages.write_run_page(run_, results) if processes.is_first() else {})


def infer_stage(config, workdir: Path) -> None:
    """Applies a run's best checkpoint to every video of the config's splits: masks, or EF per video and clip."""
    run_ = open_run(config, workdir)
    splits = filled_splits(run_.videos, config.infer.splits)
    if _module(config).KIND == "segmentation":
        for split in splits:
            evaluation.infer_masks(run_, split)
        return
    with processes.output_folder(workdir) as folder:
        run_ = dataclasses.replace(run_, workdir=folder)
        for split in splits:
            evaluation.predict_split(run_, split)


def filled_splits(videos: VideoSet, splits: Sequence[str]) -> list[str]:
    """Those of the splits that hold videos; the others are named in passing.

    Raises:
      UserError: none does.
    """
    filled = [split for split in splits if len(videos.select(split))]
    if not filled:
        raise UserError(f"{videos.data_dir}: no video of {', '.join(splits) or 'no split at all'} is there")
    for split in splits:
        if split not in filled:
            print(f"{split}: no videos")
    return filled


def open_run(config, workdir: Path) -> evaluation.Run:
    """A run's best checkpoint with the data it is to be tried on."""
    path = find_weights(config, workdir)
    metadata = checkpoint.load_metadata(path)
    network = build_network(metadata.network)
    params, stats = checkpoint.load_weights(path, network.params, network.stats)
    videos = open_videos(config.data_dir)
    if config.names:
        videos = videos.only(read_names(config.names))
    metadata.preprocessing.check_size(config.data_dir, *usual_size(videos))
    needs_masks = metadata.preprocessing.in_channels == 4
    return evaluation.Run(
        stage=config.stage,
        network=network._replace(params=params, stats=stats),
        preprocessing=metadata.preprocessing,
        checkpoint=f"{metadata.stage}, step {metadata.step}, best value {metadata.best}",
        videos=videos,
        masks=open_masks(config.masks_dir) if needs_masks else None,
        config=config,
        workdir=workdir,
        data_kind=config.evaluation.data_kind or data_kind(videos),
    )


def find_weights(config, workdir: Path) -> Path:
    """The checkpoint that a stage applies: what it trained, or what a stage that trains nothing is given."""
    module = _module(config)
    if hasattr(module, "build"):
        return checkpoint.find_checkpoint(workdir, f"python main.py --config=configs/{config.stage}.py")
    return module.find_weights(config)


def enable_compile_cache(directory: str) -> None:
    """Keeps compiled programs between runs; an empty name keeps none."""
    if directory:
        jax.config.update("jax_compilation_cache_dir", str(Path(directory).expanduser()))


def write_config(config, workdir: Path) -> None:
    """Writes config.json: the resolved config, versions and commit."""
    content = {"config": json.loads(config.to_json_best_effort()), "versions": versions(), "commit": commit()}
    write_json(workdir / "config.json", content)


def commit() -> str:
    """The checkout's commit, with "+changes" where it was edited; empty outside of one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def describe_files(workdir: Path) -> str:
    """What a run left in its directory, a line per file or checkpoint, with sizes."""
    lines = [f"Files in {workdir}:"]
    for path in sorted(workdir.iterdir()):
        files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        size_mb = sum(each.stat().st_size for each in files) / 1e6
        lines.append(f"  {path.name + ('/' if path.is_dir() else ''):<28} {size_mb:9.2f} MB")
    return "\n".join(lines)


def _module(config):
    """A stage's module: its `KIND`, and `build(config)`, or `find_weights(config)` where nothing is trained."""
    return importlib.import_module(f"echojax.stages.{config.stage}")
