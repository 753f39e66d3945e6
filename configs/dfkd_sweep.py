"""EchoDFKD's figure: the student in six sizes, equal data and steps, Dice over the number of weights.

Paper: Petit et al., WACV 2025, arXiv 2409.07566; there sixteen sizes, trained on EchoNet-Synthetic.
Command: python main.py --config=configs/dfkd_sweep.py
    --config.sizes="((1, 1, 12), (2, 2, 12), (3, 3, 12))"     other sizes: blocks, layers, channels of the first block
    --config.masks_dir=runs/dfkd_targets/masks                a teacher's masks in place of the phantoms' true ones
A killed run goes on where it stopped, size by size. With several devices each size has one of them for itself.
Expected: see README.md. Phantom results say that the code works, not how it does on patients.
"""

from ml_collections import ConfigDict

from configs import base, dfkd, smoke


def get_config(variant: str = "") -> ConfigDict:
    config = get_base(variant)
    config.stage = "dfkd_sweep"
    config.sizes = ((1, 1, 6), (1, 2, 6), (2, 1, 6), (2, 2, 6), (3, 1, 6), (3, 2, 6))
    if config.smoke:
        config.sizes = ((1, 1, 2), (2, 1, 2))
    config.student = shorten_student(dfkd.get_config(), config)
    return config


def get_base(variant: str) -> ConfigDict:
    """Phantoms with their true masks, in data/students or, for a smoke variant, data/smoke."""
    config = base.get_config()
    config.data_dir = "data/students"
    config.phantoms.num_videos = 240
    config.phantoms.seed = 1  # settings were chosen on phantoms of seed 0
    config.phantoms.num_frames = (48, 48)
    config.phantoms.variety = (0.4, 0.4)
    config.phantoms.splits = (0.7, 0.05, 0.25)
    config = smoke.apply_variant(config, variant)
    config.phantoms.truth = True
    config.masks_dir = config.get_ref("data_dir") + "_truth"
    return config


def shorten_student(student: ConfigDict, config: ConfigDict) -> ConfigDict:
    """A student's config cut to a minute: few and short clips, Dice at the traced frames alone."""
    student.data_dir = config.get_ref("data_dir")
    student.masks_dir = config.get_ref("masks_dir")
    student.seed = config.get_ref("seed")
    student.clip.num_frames = 8
    student.optimiser.schedule = "cosine"
    student.optimiser.learning_rate = 1e-2
    student.train.batch_size = 2
    student.train.num_epochs = 3
    student.train.patience = 0
    student.validation.every_epochs = 3
    student.validation.batch_size = 12
    student.evaluation.splits = ("TEST",)
    student.evaluation.videos = False
    if config.smoke:
        student.smoke = True
        student.clip.num_frames = 4
        student.train.num_epochs = 1
        student.train.log_steps = 1
    return student
