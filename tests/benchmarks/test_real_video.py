"""The benchmark on videos in EchoNet's layout, here phantoms with a perfect network: its numbers, and no names."""

import json

import numpy as np
import pytest
from predict_clips import bright_segmentation, make_bright_frames, make_phantom

from benchmarks import real_video
from echojax.video import write_video


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three videos, two of them traced; the files claim another frame rate than the table, which is right."""
    folder = tmp_path_factory.mktemp("source")
    rows, tracings = ["FileName,EF,ESV,EDV,FPS,NumberOfFrames,Split"], ["FileName,X1,Y1,X2,Y2,Frame"]
    for index in range(3):
        phantom, name = make_phantom(index), f"0XSECRET{index}"
        write_video(folder / "Videos" / f"{name}.avi", make_bright_frames(index), 17.0, codec="FFV1")
        rows.append(f"{name},{phantom.ef_percent},1,2,{phantom.parameters.fps},72,TEST")
        if index < 2:
            for frame in (phantom.es_frame, phantom.ed_frame):
                tracings += [",".join(map(str, (f"{name}.avi", *row, frame))) for row in phantom.tracing(frame)]
    (folder / "FileList.csv").write_text("\n".join(rows))
    (folder / "VolumeTracings.csv").write_text("\n".join(tracings))
    return folder


def test_figures_of_a_perfect_network(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(real_video, "load_segmentation", lambda directory: bright_segmentation())
    output = tmp_path / "real.json"
    assert real_video.main([f"--real={source}", f"--output={output}", "--views=1"]) == 0
    content = json.loads(output.read_text(), parse_constant=pytest.fail)
    metrics = content["metrics"]
    assert content["num_videos"] == 3 and "Development set" in content["note"]
    assert metrics["dice"]["dice_mean"]["n"] == 2 and metrics["dice"]["dice_mean"]["value"] > 0.93
    assert metrics["lvef_simpson"]["mae"]["n"] == 3 and metrics["lvef_simpson"]["mae"]["value"] < 3
    assert metrics["frame_distance"]["es_frames"]["value"] <= 3
    fps = np.mean([make_phantom(index).parameters.fps for index in range(2)])
    milliseconds, frames = (metrics["frame_distance"][f"es_{unit}"]["value"] for unit in ("ms", "frames"))
    assert milliseconds == pytest.approx(1000 * frames / fps, rel=0.5)
    assert "interval" not in metrics
    for text in (output.read_text(), capsys.readouterr().out):
        assert "SECRET" not in text and str(source) not in text


def test_a_folder_without_videos_is_wrong_use(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(real_video, "load_segmentation", lambda directory: bright_segmentation())
    assert real_video.main([f"--real={tmp_path}", f"--output={tmp_path / 'x.json'}"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
