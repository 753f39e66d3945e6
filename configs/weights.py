"""The segmentation networks that come with the package: phantoms, training, and their mean in echojax/weights.

Two networks of one kind, whose logits are averaged: one learns from phantoms easy and hard, of whose pictures many stay
clear, and finds borders to the pixel; the other sees hard phantoms alone, every picture changed, and is not lost where
walls drop out. No real frame, label or weight of others enters; the best steps are chosen on phantoms.
Command: python main.py --config=configs/weights.py
    --config.package_dir=DIR       leave the packaged networks as they are and write there
A killed run goes on where it stopped.
Expected: see echojax/weights/README.md.
"""

from ml_collections import ConfigDict

from configs import base, seg_masks, smoke


def get_config(variant: str = "") -> ConfigDict:
    config = base.get_config()
    config.stage = "weights"
    config.package_dir = "echojax/weights/segmentation"
    config.data_dir = "data/weights"
    config.seed = 1
    config.phantoms.num_videos = 4000
    config.phantoms.seed = 2026
    config.phantoms.num_frames = (16, 24)
    config.phantoms.variety = (0.2, 1.0)
    config.phantoms.splits = (0.92, 0.03, 0.05)
    config.network.width = 12
    config.network.blocks = (2, 2, 3, 2)
    config.network.decoder = 16
    config = smoke.apply_variant(config, variant)
    if config.smoke:
        config.package_dir = "runs/smoke/weights/package"
    config.phantoms.truth = True
    config.segmentation = _segmentation(config, config, seed=config.get_ref("seed"))
    # Some of the pictures stay clear, so that borders are learned to the pixel where they can be seen.
    config.segmentation.augment.share = 0.6
    # Dice's optimum takes in what is doubtful around small cavities; with its full weight ESV is read too large.
    config.segmentation.seg_masks.dice_weight = 0.3
    config.segmentation.train.num_epochs = 2 if config.smoke else 24
    config.varied = _varied(config)
    return config


def _varied(config: ConfigDict) -> ConfigDict:
    """Phantoms and training of the second network."""
    varied = ConfigDict({"data_dir": config.get_ref("data_dir") + "_varied"})
    varied.phantoms = config.phantoms.copy_and_resolve_references()
    for field in ("num_frames", "splits"):
        varied.phantoms[field] = config.phantoms.get_ref(field)
    varied.phantoms.num_videos = config.phantoms.get_ref("num_videos") if config.smoke else 3000
    varied.phantoms.seed = config.phantoms.get_ref("seed") + 1
    varied.phantoms.variety = (1.0, 1.0)
    varied.segmentation = _segmentation(config, varied, seed=config.get_ref("seed") + 1)
    varied.segmentation.train.num_epochs = 2 if config.smoke else 20
    return varied


def _segmentation(config: ConfigDict, source: ConfigDict, seed) -> ConfigDict:
    """Training on the phantoms of a source; augmentation and loss as configs/seg_masks.py has them."""
    stage = seg_masks.get_config()
    stage.smoke = config.get_ref("smoke")
    stage.seed = seed
    stage.data_dir = source.get_ref("data_dir")
    stage.masks_dir = source.get_ref("data_dir") + "_truth"
    stage.network = config.network
    stage.compile_cache_dir = config.get_ref("compile_cache_dir")
    stage.validation.every_epochs = stage.train.checkpoint_epochs = 2
    stage.evaluation.splits = ("TEST",)
    if config.smoke:
        stage.train.batch_size = 4
        stage.train.log_steps = 1
        stage.validation.every_epochs = stage.train.checkpoint_epochs = 1
    return stage
