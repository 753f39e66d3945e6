"""EchoDFKD, step 2: a ConvLSTM student learns to segment from a teacher's masks of synthetic videos alone.

Paper: Petit et al., WACV 2025, arXiv 2409.07566.
Command: python main.py --config=configs/dfkd.py (after configs/dfkd_targets.py)
    configs/dfkd.py:improved     the improved student: skip connections, scaled input, Dice beside cross-entropy,
                                 clips of several speeds
    --config.dfkd.num_blocks=2 --config.dfkd.num_layers=1     another of the paper's sixteen sizes
    --config.dfkd.recipe=soft56                               what the original's published script trains with
    --config.masks_dir=data/phantoms_truth                    phantoms' true masks in place of a teacher's
    --mode=evaluate --config.data_dir=data/echonet            on real videos, which it was never shown
Expected: Dice on EchoNet-Dynamic's TEST of about 0.908 with 3 x 3 (the original's figure), 0.784 with 1 x 1. At most
350 epochs of 233 steps with EchoNet-Synthetic's 7465 videos, each step 32 clips of 25 frames.
"""

from configs import base, dfkd_targets, smoke
from echojax.errors import UserError

VARIANTS = ("", "smoke", "improved", "improved_smoke")


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
    return _shrink(config) if variant.endswith("smoke") else config


def _shrink(config):
    config = smoke.apply_variant(config, "smoke", {"dfkd_targets": dfkd_targets.get_config("smoke")})
    config.masks_dir = "runs/smoke/dfkd_targets/masks"
    config.dfkd.num_blocks = 2
    config.dfkd.num_layers = 1
    config.dfkd.width = 4
    config.train.num_epochs = 6
    config.validation.batch_size = 4
    return config
