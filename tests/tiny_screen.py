"""Ultrasound machines' screens for tests: a picture of an echo, with text, bars and an ECG around it."""

import cv2
import numpy as np

from echojax import video
from echojax.fan import Fan

BANNER = (60, 60, 95)


def make_speckle(fan: Fan, height: int, width: int, num_frames: int = 12, seed: int = 0) -> np.ndarray:
    """Flickering speckle in a fan, uint8 (t, h, w, 1), with a black cavity in its middle."""
    rng = np.random.default_rng(seed)
    inside = fan.mask(height, width)
    y, x = np.mgrid[:height, :width]
    radius = 0.55 * fan.far + 0.45 * fan.near
    cavity = np.hypot(x - fan.apex_x, y - fan.apex_y - radius) < 0.12 * (fan.far - fan.near)
    noise = rng.integers(20, 200, (num_frames, height, width), dtype=np.uint8)
    return (noise * (inside & ~cavity))[..., None]


def put_on_screen(
    picture: np.ndarray, top: int, left: int, height: int = 600, width: int = 800, ecg_row: int | None = 575
) -> np.ndarray:
    """Pastes grey frames (t, h, w, 1) on a screen with a banner, letters, a grey bar, a depth scale and an ECG that is
    swept over the frames; uint8 RGB (t, height, width, 3)."""
    screen = np.zeros((height, width, 3), np.uint8)
    screen[:34] = BANNER
    cv2.putText(screen, "GENERAL HOSPITAL   DOE JANE 1970", (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255,) * 3, 2)
    for line, text in enumerate(["TIS0.7", "MI 1.3", "S5-1", "54Hz", "16cm", "2D", "Gn 55"]):
        cv2.putText(screen, text, (6, 70 + 22 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (230, 230, 200), 1)
    screen[60:220, width - 24 : width - 10] = np.linspace(255, 0, 160).astype(np.uint8)[:, None, None]
    for tick in range(60, height - 60, 30):
        screen[tick : tick + 3, width - 40 : width - 32] = 200
    frames = np.repeat(screen[None], len(picture), axis=0)
    place = frames[:, top : top + picture.shape[1], left : left + picture.shape[2]]
    np.maximum(place, picture, out=place)
    if ecg_row is not None:
        _sweep_ecg(frames, ecg_row)
    return frames


def enlarge(frames: np.ndarray, side: int) -> np.ndarray:
    """Grey frames (t, h, w) to (t, side, side, 1)."""
    return video.resize(frames[..., None], side, side, "cubic")


def _sweep_ecg(frames: np.ndarray, row: int) -> None:
    """A green trace with the sweep's gap moving through it, and a heart rate that changes."""
    num_frames, _, width = frames.shape[:3]
    x = np.arange(width)
    y = (row - 30 * np.exp(-(((x % 200 - 100) / 6) ** 2)) - 8 * np.exp(-(((x % 200 - 150) / 15) ** 2))).astype(int)
    for k, frame in enumerate(frames):
        drawn = (x - 1.5 * k / num_frames * width) % width > 30
        for shift in (-1, 0, 1):
            frame[y[drawn] + shift, x[drawn]] = (0, 255, 0)
        cv2.putText(frame, f"{60 + k % 9} HR", (width - 90, row - 40), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 255, 0), 2)
