"""DICOM files of a few small frames, to be read, and to be damaged by tests."""

import io
import pathlib

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

NUM_FRAMES, HEIGHT, WIDTH = 5, 48, 64
NAME, IDENTIFIER, DATE, INSTITUTION = "Doe^Jane", "PID-4711", "19700102", "Charity Hospital"


def make_grey(num_frames: int = NUM_FRAMES, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A smooth bright disc that grows, uint8 (t, h, w)."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    radius = np.linspace(8, 20, num_frames)[:, None, None]
    return np.rint(220 / (1 + np.exp((distance - radius) / 3)) + 10).astype(np.uint8)


def make_rgb() -> np.ndarray:
    """The grey clip with a smooth patch of colour, uint8 (t, h, w, 3)."""
    frames = np.repeat(make_grey()[..., None], 3, axis=-1)
    frames[:, 10:30, 10:30, 0] = np.linspace(60, 200, 20).astype(np.uint8)
    return frames


def make_region(**values) -> Dataset:
    """An item of Sequence of Ultrasound Regions: tissue in the whole picture, 0.2 x 0.2 cm."""
    region = Dataset()
    defaults = {
        "RegionSpatialFormat": 1,
        "RegionDataType": 1,
        "RegionLocationMinX0": 0,
        "RegionLocationMinY0": 0,
        "RegionLocationMaxX1": WIDTH - 1,
        "RegionLocationMaxY1": HEIGHT - 1,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": 0.2,
        "PhysicalDeltaY": 0.2,
    }
    for keyword, value in (defaults | values).items():
        setattr(region, keyword, value)
    return region


def make_dataset(pixels: np.ndarray, photometric: str = "MONOCHROME2", **elements) -> FileDataset:
    """An ultrasound clip with a person's data in its header; elements given as None are left out.

    Args:
      pixels: (t, h, w) or (t, h, w, 3), uncompressed.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["echojax"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    bits = 8 * pixels.dtype.itemsize
    values = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "US",
        "PatientName": NAME,
        "PatientID": IDENTIFIER,
        "PatientBirthDate": DATE,
        "InstitutionName": INSTITUTION,
        "NumberOfFrames": len(pixels),
        "Rows": pixels.shape[1],
        "Columns": pixels.shape[2],
        "SamplesPerPixel": 1 if pixels.ndim == 3 else pixels.shape[3],
        "PhotometricInterpretation": photometric,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PlanarConfiguration": 0 if pixels.ndim == 4 else None,
        "FrameTime": 20.0,
        "FrameIncrementPointer": 0x00181063,
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def save(dataset: FileDataset, path: pathlib.Path, syntax: str | None = None) -> pathlib.Path:
    """Writes a data set, uncompressed ones in any of the native transfer syntaxes."""
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def compress(dataset: FileDataset, syntax: str, pixels: np.ndarray, **options) -> FileDataset:
    """Replaces the pixels by JPEG, JPEG 2000 or RLE ones."""
    if syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom")
        return dataset
    encoded = [encode(frame, "JPEG2000" if syntax == JPEG2000Lossless else "JPEG", options) for frame in pixels]
    return encapsulated(dataset, syntax, encoded)


def encapsulated(dataset: FileDataset, syntax: str, encoded: list[bytes]) -> FileDataset:
    """Replaces the pixels by given compressed ones."""
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.PixelData = encapsulate(encoded)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def encode(frame: np.ndarray, form: str, options: dict) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, form, **({"quality": 95} if form == "JPEG" else {}), **options)
    return file.getvalue()


def write_clip(path: pathlib.Path, pixels: np.ndarray | None = None, photometric: str = "MONOCHROME2", **elements):
    """Writes an uncompressed clip, explicit little endian; returns its path."""
    return save(make_dataset(make_grey() if pixels is None else pixels, photometric, **elements), path)


def write_jpeg(path: pathlib.Path, pixels: np.ndarray, photometric: str) -> pathlib.Path:
    """Writes a JPEG Baseline clip; Pillow's JPEGs of RGB frames hold YBR with halved colour resolution."""
    return save(compress(make_dataset(pixels, photometric), JPEGBaseline8Bit, pixels), path)
