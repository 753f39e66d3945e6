"""The paper's claim on phantoms: an eighth of the labels, three seeds, equal steps with and without unlabelled videos.

Paper: Dai et al., IEEE TMI 42 (2023): cyclic self-supervision and distillation on unlabelled videos beat labels alone.
Command: python main.py --config=configs/claim.py
Reports paired differences with 95 % intervals, whatever they are: Dice of CSS minus labels alone, MAE of student minus
baseline.
"""

from ml_collections import ConfigDict

from configs import demo


def get_config(variant: str = "") -> ConfigDict:
    config = demo.get_config(variant)
    config.stage = "claim"
    config.seeds = (0, 1, 2)
    config.data_dir = "data/claim"
    config.phantoms.num_videos = 640
    config.phantoms.seed = 1
    config.phantoms.variety = (0.4, 0.4)
    config.labels.num_labelled = 64
    config.labels.num_unlabelled = 448
    config.phantoms.splits = (0.8, 0.05, 0.15)
    config.stages.student.kd.unlabelled_weight = 5.0  # the paper's
    # Eight steps an epoch with 64 labelled videos: about as many steps as the demo's.
    for name, stage in config.stages.items():
        stage.train.num_epochs = 63 if name in ("css", "supervised") else 72
        stage.train.checkpoint_epochs = stage.validation.every_epochs = 18
    return config
