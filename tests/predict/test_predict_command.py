"""`echojax predict` from the command line, with small networks of random weights, and their calibration."""

import json

import numpy as np
import pytest
from narrow_networks import DESCRIPTIONS, narrow_state_dict, save_weights
from predict_clips import FPS, bright_segmentation, make_bright_frames, make_calibration, make_clip
from schema import find_violations

from benchmarks import calibrate_interval
from benchmarks.phantom_clips import PhantomScore
from echojax import cli
from echojax.errors import UserError
from echojax.porting.port import port
from echojax.predict import load_regression, load_segmentation, networks, predict_clip
from echojax.predict.interval import FILE_NAME, FLOOR_POINTS, Disagreement
from echojax.video import write_video

pytestmark = pytest.mark.usefixtures("quick_compiler")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("segmentation", "convlstm_11", "ef", "teacher"):
        port(save_weights(folder / f"{name}.safetensors", narrow_state_dict(DESCRIPTIONS[name])), folder / name)
    return folder


@pytest.fixture(scope="module")
def clip_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "a4c.avi"
    write_video(path, make_bright_frames(), FPS)
    return path


@pytest.fixture(autouse=True)
def own_compile_cache(monkeypatch, compile_cache):
    """The command would otherwise set a cache for the whole process."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(compile_cache))


def predict(*arguments) -> int:
    return cli.main(["predict", *map(str, arguments)])


@pytest.mark.parametrize(("family", "ef"), [("segmentation", "teacher"), ("convlstm_11", "ef")])
def test_any_family_goes_from_clip_to_report(checkpoints, clip_path, tmp_path, capsys, family, ef):
    code = predict(
        clip_path, f"--segmentation={checkpoints / family}", f"--ef={checkpoints / ef}", f"--output={tmp_path}"
    )
    assert code == 0
    content = json.loads((tmp_path / "a4c" / "result.json").read_text())
    assert find_violations(content) == []
    assert content["networks"]["ef"]["family"] == "video_resnet"
    assert np.isfinite(content["lvef_by_method_percent"]["direct_regression"])
    assert "calibrate_interval" in content["lvef_percent"]["interval_missing_because"]
    printed = capsys.readouterr().out
    assert printed.startswith("a4c: ") and str(tmp_path / "a4c" / "report.html") in printed
    assert "Research use only" in printed


def test_one_bad_file_is_exit_code_1(checkpoints, clip_path, tmp_path, capsys):
    missing = tmp_path / "missing.avi"
    code = predict(clip_path, missing, f"--segmentation={checkpoints / 'segmentation'}", f"--output={tmp_path}/out")
    assert code == 1
    captured = capsys.readouterr()
    assert f"failed: {missing}: no such file" in captured.err
    assert (tmp_path / "out" / "a4c" / "result.json").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "comes without packaged weights; give a segmentation network with --segmentation=DIR"),
        (["--segmentation=nowhere"], "nowhere does not exist"),
        (["--segmentation={}/ef"], "segment is not for this checkpoint"),
        (["--segmentation={}/segmentation", "--ef={}/segmentation"], "ejection_fraction is not for this checkpoint"),
        (["--segmentation={}/segmentation", "--views=9"], "--views is 9, expected 1 to 5"),
        (["--segmentation={}/segmentation", "--level=95"], "--level is 95, expected a share"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(checkpoints, clip_path, tmp_path, monkeypatch, capsys, options, text):
    monkeypatch.setattr(networks, "PACKAGED_WEIGHTS", tmp_path / "none")
    options = [option.format(checkpoints) for option in options]
    assert predict(clip_path, f"--output={tmp_path}/out", *options) == 2
    message = capsys.readouterr().err
    assert text in message and message.count("\n") == 1 and "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_packaged_weights_are_the_default(checkpoints, monkeypatch):
    monkeypatch.setattr(networks, "PACKAGED_WEIGHTS", checkpoints / "convlstm_11")
    assert load_segmentation().description["packaged"] is True
    assert load_segmentation(str(checkpoints / "convlstm_11")).description["packaged"] is False


def test_one_compilation_serves_clips_of_every_length(checkpoints):
    segmentation = load_segmentation(str(checkpoints / "segmentation"))
    model = segmentation.segment.__self__
    for num_frames in (1, 16, 37):
        assert segmentation.segment(np.zeros((num_frames, 112, 112, 1), np.uint8)).shape == (num_frames, 112, 112)
    assert model._segment._cache_size() == 1


def test_a_teacher_of_another_size_is_refused(checkpoints):
    with pytest.raises(UserError, match="sees masks of 112x112 pixels, but the segmentation network makes them 64x64"):
        load_regression(str(checkpoints / "teacher"), bright_segmentation(size=64))


def test_calibration_belongs_to_its_weights(checkpoints):
    folder = checkpoints / "segmentation"
    weights = load_segmentation(str(folder)).description["weights_sha256"]
    path = next(folder.rglob("_CHECKPOINT_METADATA")).parent / FILE_NAME
    try:
        for of, is_used in ((weights, True), ("another", False)):
            make_calibration(of=of).save(path)
            segmentation = load_segmentation(str(folder))
            assert (segmentation.calibration is not None) == is_used
            assert is_used or "belongs to other weights" in segmentation.why_uncalibrated
    finally:
        path.unlink()


def test_calibration_on_phantoms(tmp_path, monkeypatch, capsys):
    """Readings become a file that corrects later clips and gives them an interval; clips without one have no say.

    Every third clip lies on the line known = 10 + 0.8 read, the thirty others are 1 to 30 points above it.
    """
    perfect = bright_segmentation()
    quiet = Disagreement(0.0, 0.0, 0.0)
    errors = [0 if index % 3 == 0 else 1 + 2 * (index // 3) + (index % 3 == 2) for index in range(45)]
    scores = [
        PhantomScore(10 + 0.8 * read + error, np.nan, np.nan, read, 50.0, quiet, False, 0.9, 0.9, 0.9, ())
        for read, error in zip(np.linspace(20, 70, 45), errors, strict=True)
    ] + [PhantomScore(50.0, 50.0, 10.0, 10.0, 50.0, quiet, True, 0.0, 0.0, 0.0, ("no_beat",))] * 5
    monkeypatch.setattr(calibrate_interval, "load_segmentation", lambda directory: perfect)
    monkeypatch.setattr(calibrate_interval, "score_phantoms", lambda *arguments: scores)
    monkeypatch.setattr(calibrate_interval, "find_checkpoint", lambda directory, made_by: tmp_path)
    assert calibrate_interval.main(["--segmentation=any", "--num_phantoms=50", "--seed=9"]) == 0
    calibration = networks.load_calibration(tmp_path / FILE_NAME)
    assert calibration.num_clips == 30 and "45 of 50 phantoms" in calibration.calibrated_on
    assert calibration.calibrated_on.endswith("seed 9)")
    assert (calibration.correction.intercept_points, calibration.correction.slope) == pytest.approx((10, 0.8))
    quantiles = {"0.8": 25 / FLOOR_POINTS, "0.9": 28 / FLOOR_POINTS, "0.95": 30 / FLOOR_POINTS}
    assert calibration.quantiles == pytest.approx(quantiles)
    prediction = predict_clip(make_clip(make_bright_frames()), perfect._replace(calibration=calibration))
    assert prediction.interval.low < prediction.lvef_percent < prediction.interval.high
    assert "calibrated on 45 of 50 phantoms" in capsys.readouterr().out


def test_too_few_phantoms_is_wrong_use(monkeypatch, capsys):
    monkeypatch.setattr(calibrate_interval, "load_segmentation", lambda directory: bright_segmentation())
    monkeypatch.setattr(calibrate_interval, "score_phantoms", lambda *arguments: [])
    assert calibrate_interval.main(["--segmentation=any", "--num_phantoms=5"]) == 2
    assert "expected at least" in capsys.readouterr().err
