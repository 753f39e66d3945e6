import numpy as np
import pytest
from PIL import Image
from tiny_dicom import make_grey

from echojax import video
from echojax.reading import read_clip
from echojax.reading.containers import _times

FRAMES = np.repeat(make_grey(12)[..., None], 3, axis=-1)


def flags_of(clip) -> set[str]:
    return {flag.kind for flag in clip.flags}


@pytest.mark.parametrize(
    "suffix, codec, kind",
    [("avi", "MJPG", "AVI"), ("mp4", "vp09", "MP4"), ("mov", "mp4v", "QuickTime"), ("mkv", "MJPG", "Matroska")],
)
def test_kinds_are_told_by_content(tmp_path, suffix, codec, kind):
    video.write_video(tmp_path / f"clip.{suffix}", FRAMES, 25, codec=codec)
    path = (tmp_path / f"clip.{suffix}").rename(tmp_path / "no_extension")
    clip = read_clip(path)
    assert (clip.kind, clip.fps, clip.fps_source) == (kind, pytest.approx(25), "file")
    assert clip.frames.shape == FRAMES.shape
    assert np.abs(clip.frames.astype(int) - FRAMES).mean() < 4
    np.testing.assert_allclose(clip.frame_times_s, np.arange(12) / 25)
    assert flags_of(clip) == {"spacing_unknown"}


def write_gif(path, durations_ms):
    first, *others = [Image.fromarray(frame) for frame in make_grey(len(durations_ms))]
    first.save(path, save_all=True, append_images=others, duration=durations_ms)
    return path


def test_gif(tmp_path):
    clip = read_clip(write_gif(tmp_path / "a.gif", [40] * 6))
    assert (clip.kind, clip.fps, len(clip.frames)) == ("GIF", 25.0, 6)
    assert np.abs(clip.frames - make_grey(6)[..., None].astype(int)).max() <= 4


def test_gif_of_uneven_times(tmp_path):
    clip = read_clip(write_gif(tmp_path / "a.gif", [40, 40, 40, 80, 40, 40, 40]))
    np.testing.assert_allclose(clip.frame_times_s, [0, 0.04, 0.08, 0.12, 0.2, 0.24, 0.28], atol=1e-3)
    assert (clip.fps, "frame_times_vary" in flags_of(clip)) == (pytest.approx(25), True)


def test_a_rate_that_cannot_be_is_replaced(tmp_path):
    video.write_video(tmp_path / "a.avi", FRAMES, 1000)
    clip = read_clip(tmp_path / "a.avi")
    assert (clip.fps, clip.fps_source) == (30.0, "assumed")
    assert "1000 frames per second, which cannot be" in clip.flags[0].text


@pytest.mark.parametrize("times", [[0, 0, 0], [0.2, 0.1, 0.0], [0, 0.0001, 0.0002], [5.0, 5.04, 5.08]])
def test_times_that_make_no_sense_give_way_to_the_rate(times):
    assert _times(np.array(times), 50.0, 3).fps == 50.0
