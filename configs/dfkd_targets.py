"""EchoDFKD, step 1: a teacher's masks of every frame of a data set without labels, for the student to learn from.

Paper: Petit et al., WACV 2025, arXiv 2409.07566. There the teacher is EchoNet-Dynamic's DeepLabV3, the data set
EchoNet-Synthetic.
Command: python main.py --config=configs/dfkd_targets.py --config.teacher_dir=DIR [--config.infer.encoding=floor]
`teacher_dir` is any segmentation checkpoint: a run of seg or css, or weights brought in by `echojax port`.
Expected: masks of TRAIN, VAL and TEST in runs/dfkd_targets/masks. A killed run goes on where it stopped.
"""

from configs import base, seg, smoke


def get_config(variant: str = ""):
    config = base.get_config()
    config.stage = "dfkd_targets"
    config.data_dir = "data/synthetic"
    config.teacher_dir = "runs/seg"
    config.infer.after_training = True
    config.evaluation.videos = True
    config = smoke.apply_variant(config, variant, {"seg": seg.get_config(variant)} if variant else None)
    if variant:
        config.teacher_dir = "runs/smoke/seg"
    return config
