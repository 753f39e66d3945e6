"""EchoDFKD, step 2: a ConvLSTM student learns to segment from a teacher's masks of synthetic videos alone.

Paper: Petit et al., WACV 2025, arXiv 2409.07566.
Command: python main.py --config=configs/dfkd.py (after configs/dfkd_targets.py)
    configs/dfkd.py:improved     the improved student: skip connections, scaled input, Dice beside cross-entropy,
                                 clips of several speeds
    configs/dfkd.py:phantoms     small, on phantoms with their true masks: ten minutes on two cores; improved_phantoms,
                                 too
    --config.dfkd.num_blocks=2 --config.dfkd.num_layers=1     another of the paper's sixteen sizes
    --config.dfkd.recipe=soft56                               what the original's published script trains with
    --config.masks_dir=data/phantoms_truth                    phantoms' true masks in place of a teacher's
    --mode=evaluate --config.data_dir=data/echonet            on real videos, which it was never shown
Expected: Dice on EchoNet-Dynamic's TEST of about 0.908 with 3 x 3 (the original's figure), 0.784 with 1 x 1. At most
350 epochs of 233 steps with EchoNet-Synthetic's 7465 videos, each step 32 clips of 25 frames.
"""

from ml_collections import ConfigDict

from configs import base, dfkd_targets, smoke
from echojax.errors import UserError

VARIANTS = ("", "smoke", "phantoms", "improved", "improved_smoke", "improved_phantoms")


def get_config(variant: str = ""):
    if variant not in VARIANTS:
        raise UserError(f"variant of the config is {variant!r}, expected one of {', '.join(VARIANTS[1:])}, or none")
    config = base.get_config()
    config.stage = "dfkd"
    config.data_dir = "data/synthetic"
    config.masks_dir = "runs/dfkd_targets/masks"
    config.init_from = "random"
    config.clip.num_frames = 25
    config.optimiser.name = "adam"
    config.optimiser.learning_rate = 1e-3
    config.optimiser.weight_decay = 0.0
    config.optimiser.decay_epochs = 0
    config.train.batch_size = 32
    config.train.num_epochs = 350
    config.train.patience = 10
    config.validation.batch_size = 32
    config.evaluation.videos = True
    # Whoever labelled the student's videos is its teacher, unless another is named.
    config.evaluation.teacher_masks_dir = config.get_oneway_ref("masks_dir")
    if variant.startswith("improved"):
        config.dfkd.variant = "improved"
        config.dfkd.periods = (1, 2, 3)
        config.dfkd.dice_weight = 1.0
    if variant.endswith("smoke"):
        return _shrink(config)
    return _learn_from_phantoms(config) if variant.endswith("phantoms") else config


def _learn_from_phantoms(config: ConfigDict) -> ConfigDict:
    """A student that two cores can train, and the phantoms, as unlike one another as the generator can, to train it."""
    config.data_dir = "data/student_phantoms"
    config.masks_dir = "data/student_phantoms_truth"
    config.phantoms.num_videos = 400
    config.phantoms.num_frames = (64, 64)
    config.phantoms.splits = (0.8, 0.1, 0.1)
    config.phantoms.truth = True
    config.dfkd.num_blocks, config.dfkd.num_layers, config.dfkd.width = 3, 1, 8
    config.clip.num_frames = 10
    config.optimiser.schedule = "cosine"
    config.optimiser.learning_rate = 1e-2
    config.train.batch_size = 2
    config.train.num_epochs = 4
    config.train.patience = 0
    config.validation.batch_size = 10
    return config


def _shrink(config: ConfigDict) -> ConfigDict:
    """The whole chain in three minutes on two cores: phantoms, a teacher, its masks, the student; both learn."""
    targets = dfkd_targets.get_config("smoke")
    teacher = targets.requires["seg"]
    config = smoke.apply_variant(config, "smoke", {"student_targets": targets})
    # Under names of their own, as there may be smoke runs of the teacher's stages that learnt less.
    targets.requires = ConfigDict({"student_teacher": teacher})
    targets.teacher_dir = "runs/smoke/student_teacher"
    config.masks_dir = "runs/smoke/student_targets/masks"
    for stage in (teacher, targets, config):
        stage.data_dir = "data/smoke_students"
        stage.phantoms.num_videos = 60
        stage.phantoms.num_frames = (48, 48)
        stage.phantoms.variety = (0.2, 0.2)
        stage.phantoms.splits = (0.6, 0.2, 0.2)
        stage.evaluation.splits = ("TEST",)
        stage.optimiser.name = "adam"
        stage.optimiser.schedule = "cosine"
    teacher.labels.subset = "all"
    teacher.optimiser.learning_rate = 3e-3
    teacher.train.batch_size = 8
    teacher.train.num_epochs = 25
    teacher.validation.every_epochs = teacher.train.checkpoint_epochs = 25
    config.dfkd.num_blocks, config.dfkd.num_layers, config.dfkd.width = 3, 1, 6
    config.optimiser.learning_rate = 1e-2
    config.train.batch_size = 2
    config.train.num_epochs = 10
    config.train.patience = 0
    config.validation.every_epochs = config.train.checkpoint_epochs = 5
    config.validation.batch_size = 12
    return config
