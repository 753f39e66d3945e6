"""Supervised segmentation of the left ventricle: EchoNet-Dynamic's, and in CSS the baseline of stage 1.

Paper: Ouyang et al., Nature 580 (2020), https://doi.org/10.1038/s41586-020-2145-8.
Command: python main.py --config=configs/seg.py --config.init_from=DIR
Expected on EchoNet-Dynamic: pooled Dice 0.92 with ImageNet weights and all labels (`--config.labels.subset=all
--config.train.num_epochs=50`). Steps: 25 epochs of 46 with 920 labelled videos.
"""

from configs import base, smoke


def get_config(variant: str = ""):
    config = base.get_config()
    config.stage = "seg"
    config.optimiser.learning_rate = 1e-5  # belongs to the loss summed over the pixels of 20 images
    config.optimiser.weight_decay = 0.0
    config.optimiser.decay_epochs = 0
    return smoke.apply_variant(config, variant)
