"""A person's own clip in, an ejection fraction with its interval, masks and a report out: `echojax predict`.

    from echojax import predict
    from echojax.reading import read_clip

    segmentation = predict.load_segmentation("runs/css")
    prediction = predict.predict_clip(read_clip("clip.avi"), segmentation)
    prediction.lvef_percent, prediction.interval, prediction.flags
    predict.write_outputs(prediction, "results/clip")     # result.json, masks.npz, overlay.mp4, report.html

Each step is one module: `networks` opens checkpoints, `measurement` goes from pixels to volumes and beats, `interval`
says how sure that is, `flags` what is doubtful, `result` and `outputs` write it down, `batch` does so for many files.
Research use only, not a medical device.
"""

from echojax.predict.batch import predict_paths
from echojax.predict.interval import Calibration, calibrate, load_calibration
from echojax.predict.networks import Regression, Segmentation, load_regression, load_segmentation
from echojax.predict.outputs import write_outputs
from echojax.predict.prediction import Prediction, predict_clip

__all__ = [
    "Calibration",
    "Prediction",
    "Regression",
    "Segmentation",
    "calibrate",
    "load_calibration",
    "load_regression",
    "load_segmentation",
    "predict_clip",
    "predict_paths",
    "write_outputs",
]
