"""The segmentation network that comes with the package: phantoms, training, and its folder in echojax/weights.

No real frame, label or weight of others enters; the best step is chosen on phantoms.
Command: python main.py --config=configs/weights.py
    --config.package_dir=DIR       leave the packaged network as it is and write there
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
    config.segmentation = _segmentation(config)
    return config


def _segmentation(config: ConfigDict) -> ConfigDict:
    stage = seg_masks.get_config()
    for field in ("smoke", "seed", "data_dir"):
        stage[field] = config.get_ref(field)
    stage.masks_dir = config.get_ref("data_dir") + "_truth"
    stage.network = config.network
    stage.compile_cache_dir = config.get_ref("compile_cache_dir")
    # Half of the pictures stay clear, so that borders are learned to the pixel where they can be seen.
    stage.augment.share = 0.5
    # Dice's optimum takes in what is doubtful around small cavities; with its full weight ESV is read too large.
    stage.seg_masks.dice_weight = 0.3
    stage.train.num_epochs = 22
    stage.validation.every_epochs = stage.train.checkpoint_epochs = 2
    stage.evaluation.splits = ("TEST",)
    if config.smoke:
        stage.train.batch_size = 4
        stage.train.num_epochs = 2
        stage.train.log_steps = 1
        stage.validation.every_epochs = stage.train.checkpoint_epochs = 1
    return stage
