"""Supervised regression of the ejection fraction: EchoNet-Dynamic's, and in CSS the baseline of stages 2 and 3.

Paper: Ouyang et al., Nature 580 (2020), https://doi.org/10.1038/s41586-020-2145-8.
Command: python main.py --config=configs/ef.py --config.init_from=DIR
Expected on EchoNet-Dynamic: MAE 4.22, RMSE 5.56, R2 0.79 over all clips with all labels
(`--config.labels.subset=all --config.train.num_epochs=45`) and Kinetics-400 weights.
"""

from configs import base, smoke


def get_config(variant: str = ""):
    config = base.get_config()
    config.stage = "ef"
    return smoke.apply_variant(config, variant)
