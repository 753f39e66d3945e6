"""The whole chain on phantoms: data, CSS, masks, teacher, student, evaluation; small enough for a laptop.

Beside the semi-supervised chain stand supervised segmentation and a supervised EF baseline with the same labels and
steps. The networks are those of the papers with fewer channels; learning rates suit random initial weights.

Command: python main.py --config=configs/demo.py
Expected: see README.md. Phantom results say that the code works, not how it does on patients.
"""

from ml_collections import ConfigDict

from configs import base, css, ef, kd, seg, teacher


def get_config(variant: str = "") -> ConfigDict:
    config = base.get_config()
    config.stage = "demo"
    config.data_dir = "data/demo"
    config.phantoms.num_videos = 460
    config.phantoms.num_frames = (48, 48)
    # Hearts and pictures less unlike each other than patients': a minute of training on 160 labels is enough for them.
    config.phantoms.variety = (0.3, 0.3)
    config.phantoms.splits = (0.8, 0.05, 0.15)
    config.labels.num_labelled = 160
    config.labels.num_unlabelled = 200
    config.stages = ConfigDict(
        {
            "supervised": shrink_segmentation(seg.get_config(), config),
            "css": shrink_segmentation(css.get_config(), config),
            "teacher": shrink_video(teacher.get_config(), config),
            "student": shrink_video(kd.get_config(), config),
            "baseline": shrink_video(ef.get_config(), config),
        }
    )
    return config


def shrink_segmentation(stage: ConfigDict, config: ConfigDict) -> ConfigDict:
    """A segmentation stage with a sixteenth of the channels and a shorter unlabelled clip."""
    _share(stage, config)
    stage.network.width = 4
    stage.css.num_frames = 16
    stage.css.period = 2
    stage.css.template = 7
    stage.optimiser.learning_rate = 3e-3
    stage.train.num_epochs = 20
    stage.train.checkpoint_epochs = stage.validation.every_epochs = 10
    return stage


def shrink_video(stage: ConfigDict, config: ConfigDict) -> ConfigDict:
    """An EF stage with an eighth of the channels, on clips of 8 frames over a second, every second row and column."""
    _share(stage, config)
    stage.network.width = 8
    stage.clip.num_frames = 8
    stage.clip.period = 6
    stage.clip.decimate = 2
    stage.optimiser.learning_rate = 5e-3
    stage.train.num_epochs = 24
    stage.train.checkpoint_epochs = stage.validation.every_epochs = 12
    # Two unlabelled clips a step are a noisy gradient: at the paper's weight of 5 it drowns the eight labelled ones.
    stage.kd.unlabelled_batch_size = 2
    stage.kd.unlabelled_weight = 1.0
    stage.validation.num_passes = 1
    stage.evaluation.one_clip_seeds = (0,)
    return stage


def _share(stage: ConfigDict, config: ConfigDict) -> None:
    """Lets a stage follow the demo's own fields, also when they are set on the command line."""
    stage.data_dir = config.get_ref("data_dir")
    stage.seed = config.get_ref("seed")
    stage.labels.num_labelled = config.labels.get_ref("num_labelled")
    stage.labels.num_unlabelled = config.labels.get_ref("num_unlabelled")
    stage.init_from = "random"
    stage.optimiser.name = "adam"
    stage.optimiser.schedule = "cosine"
    stage.train.batch_size = 8
    stage.evaluation.splits = ("TEST",)
    stage.infer.splits = ("TRAIN", "VAL", "TEST")
