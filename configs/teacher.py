"""CSS, stage 2: the multi-modal teacher, trained on RGB clips with the predicted mask as fourth channel.

Paper: Dai et al., IEEE TMI 42 (2023), https://doi.org/10.1109/TMI.2022.3229136, arXiv 2210.11291.
Command: python main.py --config=configs/teacher.py --config.init_from=DIR (after configs/css.py)
Expected on EchoNet-Dynamic with 920 labels: MAE 5.13, RMSE 6.90, R2 0.676 over all clips. 25 epochs of 46 steps of 20
clips.
"""

from configs import css, ef, smoke


def get_config(variant: str = ""):
    config = ef.get_config()
    config.stage = "teacher"
    return smoke.apply_variant(config, variant, requires={"css": css.get_config(variant)} if variant else None)
