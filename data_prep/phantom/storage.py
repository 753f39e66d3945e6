"""What storing does to a picture: another size in between, and JPEG."""

import functools

import numpy as np

BLOCK_PX = 8
# Luminance quantisation at quality 50 (ITU-T T.81, table K.1).
QUANTISATION = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)


def resample(pictures: np.ndarray, source_px: int) -> np.ndarray:
    """Brings float32 pictures (t, n, n) to source_px x source_px and back, bilinear both ways."""
    size = pictures.shape[-1]
    matrix = _linear_matrix(size, source_px) @ _linear_matrix(source_px, size)
    return matrix.T @ pictures @ matrix


@functools.lru_cache(maxsize=64)
def _linear_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Matrix (size_in, size_out) of bilinear interpolation with pixel centres at halves, edges repeated."""
    position = np.clip((np.arange(size_out) + 0.5) * size_in / size_out - 0.5, 0, size_in - 1)
    return np.maximum(1 - np.abs(np.arange(size_in)[:, None] - position), 0).astype(np.float32)


def recompress(frames: np.ndarray, quality: int) -> np.ndarray:
    """What JPEG of a quality (1..100, scaled as libjpeg does) leaves of uint8 frames (t, h, w), sides multiples of 8.

    A quality of 100 leaves the frames as they are.
    """
    if quality == 100:
        return frames
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    steps = np.maximum(np.rint(QUANTISATION * scale), 1)
    transform = _cosine_transform()
    t, h, w = frames.shape
    blocks = frames.reshape(t, h // BLOCK_PX, BLOCK_PX, w // BLOCK_PX, BLOCK_PX).swapaxes(2, 3).astype(np.float32)
    levels = transform @ (blocks - 128) @ transform.T
    restored = transform.T @ (np.rint(levels / steps) * steps) @ transform + 128
    return np.rint(np.clip(restored, 0, 255)).astype(np.uint8).swapaxes(2, 3).reshape(t, h, w)


@functools.cache
def _cosine_transform() -> np.ndarray:
    """Orthonormal discrete cosine transform of a block's side: (8, 8)."""
    frequency = np.arange(BLOCK_PX)[:, None]
    matrix = np.cos(np.pi * frequency * (2 * np.arange(BLOCK_PX) + 1) / (2 * BLOCK_PX)) * np.sqrt(2 / BLOCK_PX)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)
