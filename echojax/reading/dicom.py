"""DICOM files to clips; with dicom_pixels.py the only place that knows pydicom.

Messages of pydicom may quote a header's values, names among them: they are never shown, only chained to ours.
"""

import dataclasses
import math
import pathlib
import struct
import tempfile
import warnings
import zlib
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.encaps import generate_fragments
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MPEGTransferSyntaxes,
)

from echojax.reading.clip import MAX_BYTES, Clip, ClipError, Flag, Times, check_shape, in_words
from echojax.reading.containers import decode_container
from echojax.reading.dicom_header import other_flags, read_spacing, read_times
from echojax.reading.dicom_pixels import decode_frames

# What pydicom and the decoders behind it raise about files that are damaged in one way or another.
_DAMAGE = (
    pydicom.errors.InvalidDicomError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
# Cross-sections, X-rays and nuclear pictures. Echocardiograms also come as OT, SC or with a modality of their own.
_OTHER_MODALITIES = ("CR", "CT", "DX", "IO", "MG", "MR", "NM", "PT", "PX", "RF", "RG", "RTDOSE", "RTIMAGE", "XA")
_INFLATE_CHUNK = 2**20
# Preamble, "DICM", and the element that holds the length of the rest of the file meta information.
_META_START = 128 + 4 + 12


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the header says that pixels are stored."""

    num_frames: int
    height: int
    width: int
    channels: int
    bytes_per_value: int


def read_dicom(path: pathlib.Path, name: str, kind: str, max_bytes: int = MAX_BYTES) -> Clip:
    """Reads a DICOM of one or many frames, in any photometric interpretation and compression that can be decoded."""
    with warnings.catch_warnings():
        # Warnings, too, may quote values.
        warnings.simplefilter("ignore")
        dataset = _read_dataset(path, max_bytes)
        layout = _read_layout(path, dataset, max_bytes)
        frames, flags, times = _decode(path, dataset, layout, max_bytes)
        num_frames, height, width = frames.shape[:3]
        if times is None or "FrameTime" in dataset or "FrameTimeVector" in dataset:
            times = read_times(dataset, num_frames)
        spacing = read_spacing(dataset, height, width)
        flags = (*times.flags, *spacing.flags, *other_flags(dataset), *flags)
    return Clip(
        frames,
        times.frame_times_s,
        times.fps,
        times.fps_source,
        spacing.spacing_cm,
        spacing.source,
        spacing.region,
        name,
        kind,
        flags,
    )


def _read_dataset(path: pathlib.Path, max_bytes: int) -> pydicom.Dataset:
    try:
        with open(path, "rb") as file:
            _refuse_inflation(path, file, max_bytes)
            file.seek(0)
            dataset = pydicom.dcmread(file, force=True)
            if "TransferSyntaxUID" not in dataset.file_meta:
                dataset.file_meta.TransferSyntaxUID = _guess_syntax(dataset)
    except _DAMAGE as error:
        raise ClipError(path, "damaged", "its DICOM header is damaged or ends early; export it again") from error
    if len(dataset) == 0:
        raise ClipError(path, "damaged", "its DICOM header is damaged or ends early; export it again")
    return dataset


def _guess_syntax(dataset: pydicom.Dataset) -> str:
    is_implicit, is_little_endian = dataset.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian


def _refuse_inflation(path: pathlib.Path, file: BinaryIO, max_bytes: int) -> None:
    """Refuses a deflated data set that would fill the memory: pydicom inflates all of it at once."""
    if file.read(132)[128:] != b"DICM":
        return
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    file.seek(_META_START + int(meta.FileMetaInformationGroupLength))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    num_bytes = 0
    while compressed := inflater.unconsumed_tail or file.read(_INFLATE_CHUNK):
        num_bytes += len(inflater.decompress(compressed, _INFLATE_CHUNK))
        if num_bytes > max_bytes:
            text = f"inflates to more than the {in_words(max_bytes)} allowed; it is damaged or meant to harm"
            raise ClipError(path, "too_large", text)


def _read_layout(path: pathlib.Path, dataset: pydicom.Dataset, max_bytes: int) -> Layout:
    if "PixelData" not in dataset:
        if "Rows" in dataset:
            raise ClipError(path, "truncated", "ends before its pixels; fetch it again")
        raise ClipError(path, "no_picture", "holds no picture: a report, a curve or an index, or it ends early")
    if dataset.get("Modality") in _OTHER_MODALITIES:
        raise ClipError(path, "not_ultrasound", f"is no ultrasound: its header says {dataset.Modality}")
    try:
        layout = Layout(
            num_frames=int(dataset.get("NumberOfFrames") or 1),
            height=int(dataset.Rows),
            width=int(dataset.Columns),
            channels=int(dataset.get("SamplesPerPixel") or 1),
            bytes_per_value=math.ceil(int(dataset.BitsAllocated) / 8),
        )
    except _DAMAGE as error:
        text = "its header does not say how large its pictures are; export it again"
        raise ClipError(path, "damaged", text) from error
    # A palette gives three colours per value.
    channels = 3 if dataset.get("PhotometricInterpretation") == "PALETTE COLOR" else layout.channels
    sizes = layout.num_frames, layout.height, layout.width, channels, layout.bytes_per_value
    check_shape(path, *sizes, max_bytes)
    if layout.channels not in (1, 3):
        raise ClipError(path, "wrong_shape", f"holds {layout.channels} values per pixel, expected 1 or 3")
    return layout


def _decode(
    path: pathlib.Path, dataset: pydicom.Dataset, layout: Layout, max_bytes: int
) -> tuple[np.ndarray, tuple[Flag, ...], Times | None]:
    """Frames, flags, and the times of a video stream that the pixels were."""
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        if syntax in MPEGTransferSyntaxes:
            frames, times = _decode_stream(path, dataset, max_bytes)
            return frames, (), times
        _check_decoder(path, syntax)
        frames, flags = decode_frames(path, dataset, layout.num_frames)
        return frames, flags, None
    except ClipError:
        raise
    except _DAMAGE as error:
        text = f"its {layout.num_frames} pictures of {layout.width}x{layout.height} are damaged or end early"
        raise ClipError(path, "truncated", f"{text}; export it again") from error


def _check_decoder(path: pathlib.Path, syntax: pydicom.uid.UID) -> None:
    """Raises ClipError where nothing installed can decode a transfer syntax."""
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError as error:
        text = "its pixels are stored in a way that is not known here (transfer syntax unknown); export it again"
        raise ClipError(path, "no_decoder", text) from error
    if not decoder.is_available:
        text = f"its pixels are compressed as {syntax.name}, for which a decoder is missing: pip install echojax[dicom]"
        raise ClipError(path, "no_decoder", text)


def _decode_stream(path: pathlib.Path, dataset: pydicom.Dataset, max_bytes: int) -> tuple[np.ndarray, Times]:
    """Decodes MPEG-2, H.264 or H.265, which is one stream over all frames, as the video file that it is."""
    stream = b"".join(generate_fragments(dataset.PixelData))
    with tempfile.TemporaryDirectory(prefix="echojax-") as folder:
        file = pathlib.Path(folder) / "stream"
        file.write_bytes(stream)
        try:
            return decode_container(file, max_bytes)
        except ClipError as error:
            raise ClipError(path, error.reason, f"its video stream: {error.text}") from error
