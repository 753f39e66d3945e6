"""Decoded DICOM pixels of any photometric interpretation to grey levels or RGB."""

import itertools
import math
import os

import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder

from echojax import video
from echojax.reading.clip import Flag
from echojax.reading.levels import to_levels

# Tissue is grey. Decoded in the wrong colour space, black alone becomes green with a difference of channels of 135.
_GREY_SPREAD = 12
_COLOURED_SPREAD = 60

Decoded = tuple[np.ndarray, tuple[Flag, ...]]


def decode_frames(path: os.PathLike, dataset: pydicom.Dataset, num_frames: int) -> Decoded:
    """Decodes all frames of a data set: uint8 (t, h, w, 1) or RGB (t, h, w, 3), and flags."""
    _correct_subsampling(dataset, num_frames)
    frames, space = _decode(dataset, num_frames)
    if frames.ndim == 4:
        return _to_rgb(frames, space)
    if space == "PALETTE COLOR":
        return _look_up(frames, dataset), ()
    return _to_grey(path, frames, dataset, space)


def _decode(dataset: pydicom.Dataset, num_frames: int) -> tuple[np.ndarray, str]:
    """All frames as they are stored, and their photometric interpretation."""
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    if not decoder.UID.is_encapsulated:
        # Frame by frame, pydicom 3.0 loses its place in uncompressed YBR_FULL_422.
        frames, properties = decoder.as_array(dataset, raw=True, allow_excess_frames=False)
        return frames, str(properties["photometric_interpretation"])
    frames, space = None, ""
    pictures = decoder.iter_array(dataset, raw=True, number_of_frames=num_frames)
    # Whatever follows the declared frames is left alone.
    for count, (picture, properties) in enumerate(itertools.islice(pictures, num_frames), start=1):
        if frames is None:
            frames = np.empty((num_frames, *picture.shape), picture.dtype)
            space = str(properties["photometric_interpretation"])
        frames[count - 1] = picture
    if frames is None or count < num_frames:
        raise ValueError("fewer frames than declared")
    return frames, space


def _correct_subsampling(dataset: pydicom.Dataset, num_frames: int) -> None:
    """Uncompressed pixels said to be YBR_FULL_422 that fill the space of whole ones are whole."""
    if dataset.get("PhotometricInterpretation") != "YBR_FULL_422":
        return
    syntax = dataset.file_meta.TransferSyntaxUID
    whole = num_frames * dataset.Rows * dataset.Columns * 3
    if not syntax.is_encapsulated and len(dataset.PixelData) >= whole:
        dataset.PhotometricInterpretation = "YBR_FULL"


def _to_rgb(frames: np.ndarray, space: str) -> Decoded:
    """Converts to RGB, unless the header is wrong about the colour space, as it often is."""
    flags: tuple[Flag, ...] = ()
    if frames.dtype != np.uint8:
        frames = (frames >> (8 * frames.dtype.itemsize - 8)).astype(np.uint8)
    is_ybr = space.startswith("YBR_FULL")
    sample = frames[len(frames) // 2 :][:1]
    as_it_is, converted = _spread(sample), _spread(video.ybr_to_rgb(sample))
    said, other = (converted, as_it_is) if is_ybr else (as_it_is, converted)
    if said > _COLOURED_SPREAD and other < _GREY_SPREAD:
        is_ybr = not is_ybr
        text = f"the header calls the colours {space}, but they are {'YBR_FULL' if is_ybr else 'RGB'}; corrected"
        flags = (Flag("colours_mislabelled", text),)
    return video.ybr_to_rgb(frames) if is_ybr else frames, flags


def _spread(frames: np.ndarray) -> float:
    """Difference between the largest and the smallest channel, median over pixels."""
    return float(np.median(np.ptp(frames.astype(np.int16), axis=-1)))


def _look_up(frames: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Palette to RGB; entries have 16 bits, of which some machines fill the lower 8 only."""
    coloured = np.empty((*frames.shape, 3), np.uint8)
    for frame, result in zip(frames, coloured, strict=True):
        picture = apply_color_lut(frame, dataset)[..., :3]
        result[...] = picture >> 8 if picture.dtype == np.uint16 and picture.max() > 255 else picture
    return coloured


def _to_grey(path: os.PathLike, frames: np.ndarray, dataset: pydicom.Dataset, space: str) -> Decoded:
    """Applies rescale and window where the header has them, and turns MONOCHROME1 (0 is white) over."""
    has_window = _has_window(dataset) or "VOILUTSequence" in dataset
    has_rescale = "RescaleSlope" in dataset or "ModalityLUTSequence" in dataset
    if has_window:
        levels, flags = _apply_window(frames, dataset), ()
    else:
        if has_rescale:
            frames = apply_modality_lut(frames, dataset).astype(np.float32)
        levels, flags = to_levels(path, frames)
    return (255 - levels if space == "MONOCHROME1" else levels)[..., None], flags


def _has_window(dataset: pydicom.Dataset) -> bool:
    """Tells whether the header has a window that shows anything: finite, and at least one level wide."""
    try:
        centre, width = (
            float(np.atleast_1d(np.asarray(dataset[key].value, np.float64))[0])
            for key in ("WindowCenter", "WindowWidth")
        )
    except (KeyError, TypeError, ValueError, IndexError):
        return False
    return math.isfinite(centre) and math.isfinite(width) and width >= 1


def _apply_window(frames: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Modality and VOI transformation, frame by frame, stretched from the window's range to 0..255."""
    levels = np.empty(frames.shape, np.uint8)
    low, high = _window_range(dataset, frames.dtype)
    for frame, result in zip(frames, levels, strict=True):
        shown = apply_voi_lut(apply_modality_lut(frame, dataset), dataset, index=0).astype(np.float64)
        result[...] = np.clip(np.rint((shown - low) * (255 / (high - low))), 0, 255)
    return levels


def _window_range(dataset: pydicom.Dataset, dtype: np.dtype) -> tuple[float, float]:
    """The range of values that `apply_voi_lut` maps its window to."""
    if "VOILUTSequence" in dataset:
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return 0.0, float(2**bits - 1)
    stored = int(dataset.BitsStored)
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if dtype.kind == "i" else (0, 2**stored - 1)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    if "ModalityLUTSequence" in dataset:
        bits = int(dataset.ModalityLUTSequence[0].LUTDescriptor[2])
        return 0.0, float(2**bits - 1)
    return low * slope + intercept, high * slope + intercept
