"""The `:smoke` variant of every config: the same config, shrunk to a minute on two cores, on phantoms.

Fewer channels, one block per stage, short clips, two epochs; nothing is replaced. What a stage needs from the stages
before it is made by their smoke variants, all below runs/smoke.
"""

from ml_collections import ConfigDict

from echojax.errors import UserError


def apply_variant(config: ConfigDict, variant: str, requires: dict[str, ConfigDict] | None = None) -> ConfigDict:
    """Returns the config itself for the variant "", and shrunk in place for "smoke".

    Args:
      requires: configs of the stages, already shrunk, that must have run before this one.
    """
    if variant not in ("", "smoke"):
        raise UserError(f"variant of the config is {variant!r}, expected none or 'smoke'")
    if variant == "smoke":
        _shrink(config)
        config.requires = ConfigDict(requires or {})
    return config


def _shrink(config: ConfigDict) -> None:
    config.smoke = True
    config.data_dir = "data/smoke"
    config.masks_dir = "runs/smoke/css/masks"
    config.teacher_dir = "runs/smoke/teacher"
    config.init_from = "random"
    config.phantoms.num_videos = 32
    config.phantoms.num_frames = (64, 80)
    config.phantoms.splits = (0.5, 0.25, 0.25)
    config.labels.num_labelled = 8
    config.labels.num_unlabelled = 8
    config.network.width = 8
    config.network.blocks = (1, 1, 1, 1)
    config.clip.num_frames = 8
    config.clip.period = 4
    config.css.period = 1
    config.kd.unlabelled_batch_size = 2
    config.train.batch_size = 4
    config.train.num_epochs = 2
    config.train.log_steps = 1
    config.validation.num_passes = 1
    config.evaluation.clip_stride = 16
    config.evaluation.one_clip_seeds = (0,)
    config.echoclip.num_videos = 1
    config.echoclip.frame_period = 16
