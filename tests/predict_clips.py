"""Clips with known masks, a segmenter that reads them off, and files of several kinds made of them."""

import functools
import pathlib

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from data_prep.phantom import Phantom, render, sample_parameters
from echojax.predict import Calibration, Segmentation
from echojax.predict.interval import LEVELS, Correction
from echojax.reading import Clip

SIZE = 112
FPS = 40.0
SPACING_CM = 0.12
# The ventricle is bright in these clips, everything else much darker: a threshold is a perfect network.
INSIDE_LEVEL, THRESHOLD = 250, 170
# What a DICOM says of a person; none of it may get out.
IDENTITY = {
    "PatientName": "Quendorf^Ottilie",
    "PatientID": "MRN4815162342",
    "PatientBirthDate": "19370211",
    "StudyDate": "20190403",
    "StudyTime": "101112",
    "AccessionNumber": "ACC77031",
    "InstitutionName": "Sankt Wendelin",
    "ReferringPhysicianName": "Krambambuli^Theodosius",
    "StudyDescription": "Echo Quendorf",
}


@functools.cache
def make_phantom(index: int = 0, num_frames: int = 72) -> Phantom:
    return render(sample_parameters(11, index, num_frames, variety=0.4))


@functools.cache
def make_bright_frames(index: int = 0, num_frames: int = 72) -> np.ndarray:
    """uint8 (t, 112, 112): a phantom, darkened, with its true ventricle painted in."""
    phantom = make_phantom(index, num_frames)
    return np.where(phantom.masks, np.uint8(INSIDE_LEVEL), phantom.frames // 3)


def make_clip(frames: np.ndarray, fps: float = FPS, spacing_cm: float | None = None, name: str = "clip") -> Clip:
    """A clip as `read_clip` gives it."""
    frames = frames if frames.ndim == 4 else frames[..., None]
    times = np.arange(len(frames)) / fps
    spacing = None if spacing_cm is None else (spacing_cm, spacing_cm)
    source = None if spacing is None else "PixelSpacing"
    return Clip(frames, times, fps, "file", spacing, source, None, name, "test")


UNCORRECTED = Correction(0.0, 1.0)


def make_calibration(quantile=2.0, num_views=3, correction=UNCORRECTED, of="hash", on="40 phantoms") -> Calibration:
    """One whose intervals of every level reach `quantile` scales to either side."""
    return Calibration(on, 40, correction, {f"{level:g}": quantile for level in LEVELS}, num_views, of)


def bright_segmentation(**changes) -> Segmentation:
    """Finds the painted ventricle of `make_bright_frames`."""

    def segment(frames: np.ndarray) -> np.ndarray:
        return (frames[..., 0].astype(np.float32) - THRESHOLD) / 4

    description = {"family": "threshold", "num_parameters": 1, "weights_sha256": "0123456789abcdef", "packaged": False}
    return Segmentation(segment, SIZE, description)._replace(**changes)


def write_dicom(path: pathlib.Path, frames: np.ndarray, fps: float = FPS) -> None:
    """An ultrasound clip of grey levels with regions in centimetres, and with the name of a person."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PhotometricInterpretation = "US", "MONOCHROME2"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.FrameTime = f"{1000 / fps:.3f}"
    for keyword, value in IDENTITY.items():
        setattr(dataset, keyword, value)
    dataset.SequenceOfUltrasoundRegions = [_region(*frames.shape[1:])]
    dataset.PixelData = frames.tobytes()
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def _region(height: int, width: int) -> Dataset:
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = width - 1, height - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = SPACING_CM
    return region
