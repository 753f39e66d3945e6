"""The whole CSS paper in one command: cyclic segmentation, masks of every frame, teacher, student, test on all clips.

Paper: Dai et al., IEEE TMI 42 (2023), https://doi.org/10.1109/TMI.2022.3229136, arXiv 2210.11291.
Command: python main.py --config=configs/paper.py
    configs/paper.py:smoke                      the same, shrunk to a minute, on phantoms
    --config.estimate.price_per_hour=2.5        also says what it will cost, in whatever currency the price is in
    --processes=auto                            on several machines; docs/scaling.md
Needs EchoNet-Dynamic in data/echonet, and weights/resnet50 and weights/r2plus1d_18 to start from; without them it stops
and says how to get them (or --config.stages.css.init_from=random --config.stages.teacher.init_from=random).
Expected on EchoNet-Dynamic: what configs/css.py, teacher.py and kd.py say. Three times 25 epochs of 46 steps. How long
it takes is measured and printed before it begins. Killed at any moment, it goes on where it stopped.
"""

from ml_collections import ConfigDict

from configs import base, css, kd, smoke, teacher


def get_config(variant: str = "") -> ConfigDict:
    config = smoke.apply_variant(base.get_config(), variant)
    config.stage = "paper"
    config.stages = ConfigDict(
        {
            "css": _share(css.get_config(variant), config),
            "teacher": _share(teacher.get_config(variant), config),
            "kd": _share(kd.get_config(variant), config),
        }
    )
    if not variant:
        config.stages.css.init_from = "weights/resnet50"
        config.stages.teacher.init_from = "weights/r2plus1d_18"
    config.estimate = ConfigDict(
        {
            "num_steps": 2 if variant else 10,  # steps of each stage that are timed beforehand; 0 estimates nothing
            "price_per_hour": 0.0,  # of all machines together; 0 is unknown
        }
    )
    return config


def _share(stage: ConfigDict, config: ConfigDict) -> ConfigDict:
    """Lets a stage follow the paper's own fields, also when they are set on the command line."""
    stage.data_dir = config.get_ref("data_dir")
    stage.seed = config.get_ref("seed")
    stage.compile_cache_dir = config.get_ref("compile_cache_dir")
    stage.mesh.shard_params = config.mesh.get_ref("shard_params")
    stage.labels.num_labelled = config.labels.get_ref("num_labelled")
    stage.labels.num_unlabelled = config.labels.get_ref("num_unlabelled")
    stage.evaluation.splits = ("TEST",)
    stage.requires = ConfigDict()
    return stage
