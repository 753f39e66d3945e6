"""Segmentation trained on videos whose every frame has a mask: phantoms' true ones, or a teacher's.

With `augment` the pictures are varied as much as scanners, patients and examiners vary them; so the packaged network is
trained (configs/weights.py).
Command: python main.py --config=configs/seg_masks.py --config.data_dir=data/phantoms
    --config.masks_dir=data/phantoms_truth
    --mode=evaluate --config.data_dir=data/echonet            on real videos, which it was never shown
Expected: see echojax/weights/README.md, of a network with a quarter of the channels.
"""

from configs import base, smoke


def get_config(variant: str = ""):
    config = base.get_config()
    config.stage = "seg_masks"
    config.data_dir = "data/synthetic"
    config.masks_dir = "runs/dfkd_targets/masks"
    config.init_from = "random"
    config.clip.num_frames = 1
    config.clip.period = 1
    for kind in config.augment:
        config.augment[kind] = 1.0
    config.optimiser.name = "adam"
    config.optimiser.learning_rate = 2e-3
    config.optimiser.schedule = "cosine"
    config.optimiser.weight_decay = 0.0
    config.optimiser.decay_epochs = 0
    config.train.batch_size = 16
    if variant == "smoke":
        config.phantoms.truth = True
    config = smoke.apply_variant(config, variant)
    if config.smoke:
        config.masks_dir = "data/smoke_truth"
        config.clip.num_frames = 2
        config.clip.period = 1
    return config
