"""CSS, stage 2: the multi-modal teacher, which sees RGB and the predicted mask of every frame."""

from echojax.records import open_masks
from echojax.stages.ef import build_regression
from echojax.train.loop import Stage

KIND = "ef"


def build(config) -> Stage:
    """A four-channel video network with the mean squared error over labelled clips (L_m)."""
    return build_regression(config, "teacher", in_channels=4, masks=open_masks(config.masks_dir))
