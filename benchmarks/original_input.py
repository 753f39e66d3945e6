"""What the original programs do for one training clip, written anew: decode all, normalise all, cut, shift.

OpenCV decodes the whole AVI frame by frame; the whole video becomes float32 and is normalised; 32 frames are cut out of
it and shifted within a border of 12 pixels.
"""

import time
from typing import NamedTuple

import cv2
import numpy as np

from echojax.errors import UserError

NUM_FRAMES, PERIOD, PAD = 32, 2, 12


class Cut(NamedTuple):
    """What is random in an item: the first frame, and row and column of the crop on the padded canvas."""

    start: int
    row: int
    column: int


def decode_original(path: str) -> np.ndarray:
    """The whole video, uint8 (3, t, h, w), RGB."""
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    sizes = (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    video = np.empty((*(int(capture.get(size)) for size in sizes), 3), np.uint8)
    for number in range(len(video)):
        found, frame = capture.read()
        if not found:
            raise UserError(f"{path}: frame {number} of {len(video)} cannot be read")
        video[number] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    capture.release()
    return video.transpose(3, 0, 1, 2)


def original_item(path: str, cut: Cut, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """One training clip, float32 (3, 32, h, w)."""
    video = decode_original(path).astype(np.float32)
    video = (video - mean.reshape(3, 1, 1, 1)) / std.reshape(3, 1, 1, 1)
    _, count, height, width = video.shape
    if count < NUM_FRAMES * PERIOD:
        video = np.concatenate([video, np.zeros((3, NUM_FRAMES * PERIOD - count, height, width), np.float32)], axis=1)
    clip = video[:, cut.start + PERIOD * np.arange(NUM_FRAMES)]
    canvas = np.zeros((3, NUM_FRAMES, height + 2 * PAD, width + 2 * PAD), np.float32)
    canvas[:, :, PAD:-PAD, PAD:-PAD] = clip
    return canvas[:, :, cut.row : cut.row + height, cut.column : cut.column + width]


def run_original(task: tuple[str, int, np.ndarray | None, np.ndarray | None]) -> float:
    """Makes an item in a worker and drops it there, which spares the original the way back; returns its CPU time.

    Args:
      task: path, seed, mean and standard deviation; without these two the video is only decoded.
    """
    path, seed, mean, std = task
    begin = time.process_time()
    if mean is None:
        decode_original(path)
    else:
        row, column = np.random.default_rng(seed).integers(2 * PAD, size=2)
        original_item(path, Cut(seed % 2, row, column), mean, std)
    return time.process_time() - begin
