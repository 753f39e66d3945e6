import pickle
import struct

import cv2
import numpy as np
import pytest
import shared
from tiny_echonet import make_avi, make_frames

from echojax import video


def write_bytes(tmp_path, content: bytes, name: str = "video.avi"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def cut_inside(avi: bytes, frame: int) -> bytes:
    """Ends the file inside the data of the given frame."""
    position = avi.index(b"movi") + 4
    for _ in range(frame):
        position += 8 + struct.unpack("<I", avi[position + 4 : position + 8])[0]
        position += position % 2
    return avi[: position + 40]


def test_lossless_codec_gives_the_frames_back(tmp_path):
    frames = make_frames(0, height=48, width=64)
    video.write_video(tmp_path / "video.avi", frames, 24.5, codec="FFV1")
    found, fps = video.read_video(tmp_path / "video.avi")
    np.testing.assert_array_equal(found, frames)
    assert fps == 24.5


def test_channels_are_red_green_blue(tmp_path):
    red = np.zeros((3, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    video.write_video(tmp_path / "video.avi", red, 30)
    found, _ = video.read_video(tmp_path / "video.avi")
    assert found[..., 0].mean() > 190
    assert found[..., 1:].mean() < 10


def test_frames_are_those_of_opencvs_ffmpeg(tmp_path):
    path = write_bytes(tmp_path, make_avi(3))
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    expected = [capture.read()[1] for _ in range(10)]
    capture.release()
    np.testing.assert_array_equal(video.read_video(path)[0], np.stack(expected)[..., ::-1])


@pytest.mark.parametrize("name, codec", [("video.mp4", "vp09"), ("video.avi", "MJPG")])
def test_lossy_codecs_are_close(tmp_path, name, codec):
    frames = np.linspace(0, 255, 64).astype(np.uint8)[None, None, :, None].repeat(12, 0).repeat(64, 1)
    video.write_video(tmp_path / name, frames, 30, codec=codec)
    found, fps = video.read_video(tmp_path / name)
    assert found.shape == (12, 64, 64, 3)
    assert fps == pytest.approx(30, abs=0.01)
    assert np.abs(found.astype(int) - frames).mean() < 4


def test_grey_frames_may_lack_the_channel(tmp_path):
    frames = make_frames(1)[..., 0]
    video.write_video(tmp_path / "a.avi", frames, 30, codec="FFV1")
    found, _ = video.read_video(tmp_path / "a.avi")
    np.testing.assert_array_equal(found, frames[..., None].repeat(3, axis=-1))


def test_to_gray_is_the_weighted_sum():
    frames = make_frames(2)
    grey = video.to_gray(frames)
    assert grey.shape == (*frames.shape[:3], 1)
    assert np.abs(grey[..., 0] - frames @ [0.299, 0.587, 0.114]).max() <= 0.51
    same = frames[..., :1].repeat(3, axis=-1)
    np.testing.assert_array_equal(video.to_gray(same), frames[..., :1])


@pytest.mark.parametrize(
    "content, reason, text",
    [
        (b"", "empty", "0 bytes"),
        (b"not a video" * 100, "unreadable", "not a video that FFmpeg can open"),
        (make_avi(0)[:3000], "unreadable", "not a video"),
        (cut_inside(make_avi(0), 6), "truncated", "ends early: [67] of 10 declared frames"),
        (cut_inside(make_avi(0), 9), "truncated", "ends early"),
    ],
    ids=["empty", "text", "header_only", "cut", "cut_in_last_frame"],
)
def test_unusable_files(tmp_path, content, reason, text):
    path = write_bytes(tmp_path, content)
    with pytest.raises(video.VideoError, match=text) as caught:
        video.read_video(path)
    assert caught.value.reason == reason
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_file(tmp_path):
    with pytest.raises(video.VideoError, match="no such file") as caught:
        video.read_video(tmp_path / "video.avi")
    assert caught.value.reason == "missing"


def test_losing_only_the_seek_index_does_not_matter(tmp_path):
    avi = make_avi(0)
    whole, _ = video.read_video(write_bytes(tmp_path, avi))
    cut, _ = video.read_video(write_bytes(tmp_path, avi[: avi.rindex(b"idx1")], "cut.avi"))
    np.testing.assert_array_equal(cut, whole)


def test_error_survives_a_process_boundary(tmp_path):
    error = pickle.loads(pickle.dumps(video.VideoError(tmp_path / "x.avi", "empty", "the file has 0 bytes")))
    assert str(error) == f"{tmp_path / 'x.avi'}: the file has 0 bytes"
    assert (error.path, error.reason) == (tmp_path / "x.avi", "empty")


def test_nothing_is_left_of_a_video_that_cannot_be_written(tmp_path):
    with pytest.raises(video.VideoError, match=r"cannot write codec MJPG into \.mp5"):
        video.write_video(tmp_path / "video.mp5", make_frames(0), 30)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_frames", [5, 25, 37])
def test_parts_encoded_at_the_same_time_are_one_video(tmp_path, num_frames):
    """Blocks of grey that move and grow brighter, which a codec keeps."""
    frames = np.full((num_frames, 64, 96, 3), 30, np.uint8)
    for number, frame in enumerate(frames):
        frame[16:48, number : number + 32] = 60 + 5 * number
    video.write_video(tmp_path / "whole.mp4", frames, 25, codec="vp09")
    video.write_video(tmp_path / "parts.mp4", frames, 25, codec="vp09", num_parts=3)
    whole, parts = (video.read_timed_video(tmp_path / f"{name}.mp4") for name in ("whole", "parts"))
    assert parts.frames.shape == whole.frames.shape == frames.shape and parts.fps == whole.fps
    np.testing.assert_allclose(parts.frame_times_s, whole.frame_times_s, atol=1e-6)
    for decoded in (whole, parts):
        assert np.abs(decoded.frames.astype(int) - frames).mean((1, 2, 3)).max() < 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.mp4", "whole.mp4"]


@pytest.mark.parametrize(
    "frames, fps",
    [
        (np.zeros((2, 8, 8, 3), np.float32), 30),
        (np.zeros((2, 8, 8, 4), np.uint8), 30),
        (np.zeros((0, 8, 8, 3), np.uint8), 30),
        (np.zeros((8, 8), np.uint8), 30),
        (np.zeros((2, 8, 8, 3), np.uint8), 0),
        (np.zeros((2, 8, 9, 3), np.uint8), 30),
        (np.zeros((2, 7, 8, 3), np.uint8), 30),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, frames, fps):
    with pytest.raises(ValueError, match="must be"):
        video.write_video(tmp_path / "video.avi", frames, fps)


def test_real_videos_decode_whole():
    paths = sorted((shared.require_shared("real_echo") / "Videos").glob("*.avi"))
    assert len(paths) == 12
    for path in paths[:3]:
        frames, _ = video.read_video(path)
        assert frames.shape[1:] == (112, 112, 3)
        assert len(frames) > 100
