"""CSS, stage 3: the distilled student, which needs no mask. The end of the semi-supervised chain.

Paper: Dai et al., IEEE TMI 42 (2023), https://doi.org/10.1109/TMI.2022.3229136, arXiv 2210.11291.
Command: python main.py --config=configs/kd.py (after configs/css.py and configs/teacher.py)
Expected on EchoNet-Dynamic with 920 labels: MAE 4.90, RMSE 6.57, R2 0.711 on one random clip per video. 25 epochs of 46
steps, each with 20 labelled and 10 unlabelled clips. The student starts from the teacher: `init_from` is not used.
"""

from configs import css, ef, smoke, teacher


def get_config(variant: str = ""):
    config = ef.get_config()
    config.stage = "kd"
    before = {"css": css.get_config(variant), "teacher": teacher.get_config(variant)} if variant else None
    return smoke.apply_variant(config, variant, requires=before)
