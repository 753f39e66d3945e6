"""CSS, stage 1: cyclic self-supervised segmentation, then the masks of every frame for the stages after it.

Paper: Dai et al., IEEE TMI 42 (2023), https://doi.org/10.1109/TMI.2022.3229136, arXiv 2210.11291.
Command: python main.py --config=configs/css.py --config.init_from=DIR
Expected on EchoNet-Dynamic: a pooled Dice slightly below the 0.92 of all labels, with 920 of them. 25 epochs of 46
steps, each with 20 ED frames, 20 ES frames and one unlabelled clip of 40 frames.
"""

from configs import seg, smoke


def get_config(variant: str = ""):
    config = seg.get_config()
    config.stage = "css"
    config.infer.after_training = True
    return smoke.apply_variant(config, variant)
