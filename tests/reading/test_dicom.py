import io
import warnings

import numpy as np
import pydicom
import pydicom.data
import pytest
import tiny_dicom
from PIL import Image
from pydicom.pixels import get_decoder
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from tiny_dicom import compress, encapsulated, make_dataset, make_grey, make_region, make_rgb, save, write_clip

from echojax import video
from echojax.reading import ClipError, Region, read_clip

GREY, RGB = make_grey(), make_rgb()
NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def flags_of(clip) -> set[str]:
    return {flag.kind for flag in clip.flags}


def to_ybr(rgb):
    """Full-range YBR by the matrix of PS3.3 C.7.6.3.1.2."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.clip(np.rint(rgb @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_native_transfer_syntaxes(tmp_path, syntax, dtype):
    dataset = make_dataset(GREY.astype(dtype))
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = GREY.astype(f">{dtype}").tobytes()
    clip = read_clip(save(dataset, tmp_path / "clip", syntax))
    np.testing.assert_array_equal(clip.frames, GREY[..., None])
    assert (clip.kind, clip.fps, clip.fps_source) == ("DICOM", 50.0, "FrameTime")
    np.testing.assert_allclose(clip.frame_times_s, np.arange(5) / 50)


def test_without_preamble_and_meta_information(tmp_path):
    dataset = make_dataset(GREY)
    for implicit in (True, False):
        stream = io.BytesIO()
        pydicom.dcmwrite(stream, dataset_without_meta(dataset), implicit_vr=implicit, little_endian=True)
        path = tmp_path / f"IM{implicit}"
        path.write_bytes(stream.getvalue())
        np.testing.assert_array_equal(read_clip(path).frames, GREY[..., None])


def dataset_without_meta(dataset):
    bare = pydicom.Dataset()
    bare.update(dataset)
    return bare


def test_colours_uncompressed(tmp_path):
    for planar, pixels in ((0, RGB), (1, RGB.transpose(0, 3, 1, 2))):
        dataset = make_dataset(RGB, "RGB", PlanarConfiguration=planar, PixelData=pixels.tobytes())
        np.testing.assert_array_equal(read_clip(save(dataset, tmp_path / f"{planar}")).frames, RGB)
    ybr = write_clip(tmp_path / "ybr", to_ybr(RGB), "YBR_FULL")
    assert np.abs(read_clip(ybr).frames.astype(int) - RGB).max() <= 3


def test_halved_colours(tmp_path):
    ybr = to_ybr(RGB)
    # Two luminances, then the colour differences of the first: PS3.3 C.7.6.3.1.2.
    pairs = ybr.reshape(-1, 2, 3)
    halved = np.stack([pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], axis=-1)
    dataset = make_dataset(ybr, "YBR_FULL_422", PixelData=halved.tobytes())
    found = read_clip(save(dataset, tmp_path / "a")).frames.astype(int)
    assert np.abs(found - RGB)[:, :, 0:8].max() <= 3
    assert np.abs(found - RGB).mean() < 2


def test_whole_colours_said_to_be_halved(tmp_path):
    clip = read_clip(write_clip(tmp_path / "a", to_ybr(RGB), "YBR_FULL_422"))
    assert np.abs(clip.frames.astype(int) - RGB).max() <= 3


@pytest.mark.parametrize("bits", [8, 16])
def test_palette(tmp_path, bits):
    red = np.linspace(0, 255, 256).astype(np.uint8)
    tables = {"Red": red, "Green": 255 - red, "Blue": red // 2}
    elements = {}
    for colour, table in tables.items():
        entries = table.astype(np.uint16) * (257 if bits == 16 else 1)
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        elements[f"{colour}PaletteColorLookupTableData"] = entries.astype(f"<u{bits // 8}").tobytes()
    clip = read_clip(write_clip(tmp_path / "a", GREY, "PALETTE COLOR", **elements))
    np.testing.assert_array_equal(clip.frames, np.stack([tables[c][GREY] for c in ("Red", "Green", "Blue")], -1))


def test_monochrome1_is_turned_over(tmp_path):
    np.testing.assert_array_equal(read_clip(write_clip(tmp_path / "a", 255 - GREY, "MONOCHROME1")).frames[..., 0], GREY)


def test_window(tmp_path):
    wide = GREY.astype(np.uint16) * 16
    # Linear (PS3.3 C.11.2.1.2): from 1024 - 0.5 - 511.5 up, 1023 wide.
    clip = read_clip(write_clip(tmp_path / "a", wide, BitsStored=12, HighBit=11, WindowCenter=1024, WindowWidth=1024))
    expected = np.clip((wide - 512.0) / 1023, 0, 1) * 255
    assert np.abs(clip.frames[..., 0] - expected).max() <= 1
    assert "levels_stretched" not in flags_of(clip)


def test_signed_values_with_rescale(tmp_path):
    signed = (GREY.astype(np.int16) - 128) * 8
    clip = read_clip(write_clip(tmp_path / "a", signed, RescaleSlope=0.5, RescaleIntercept=-10, WindowWidth=0.0))
    low, high = int(signed.min()), int(signed.max())
    np.testing.assert_allclose(clip.frames[..., 0], (signed - low) / (high - low) * 255, atol=0.51)
    assert "levels_stretched" in flags_of(clip)


def test_rle_and_jpeg2000_are_exact(tmp_path):
    for syntax in (RLELossless, JPEG2000Lossless):
        for pixels, photometric in ((GREY, "MONOCHROME2"), (RGB, "RGB")):
            name = "YBR_RCT" if syntax == JPEG2000Lossless and pixels.ndim == 4 else photometric
            dataset = compress(make_dataset(pixels, photometric), syntax, pixels)
            dataset.PhotometricInterpretation = name
            clip = read_clip(save(dataset, tmp_path / "a"))
            np.testing.assert_array_equal(clip.frames, pixels.reshape(*GREY.shape, -1))


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL"])
def test_jpeg(tmp_path, photometric):
    clip = read_clip(tiny_dicom.write_jpeg(tmp_path / "a", RGB, photometric))
    decoded = [np.asarray(Image.open(io.BytesIO(tiny_dicom.encode(frame, "JPEG", {})))) for frame in RGB]
    assert np.abs(clip.frames.astype(int) - np.stack(decoded)).max() <= 3
    assert flags_of(clip) == {"spacing_unknown"}
    grey = read_clip(tiny_dicom.write_jpeg(tmp_path / "b", GREY, "MONOCHROME2"))
    assert np.abs(grey.frames[..., 0].astype(int) - GREY).max() <= 12


def test_a_video_stream_in_a_dicom(tmp_path):
    frames = np.repeat(make_grey(12)[..., None], 3, axis=-1)
    video.write_video(tmp_path / "a.mpg", frames, 25, codec="PIM1")
    dataset = make_dataset(frames, "YBR_PARTIAL_420", FrameTime=None, FrameIncrementPointer=None)
    encapsulated(dataset, MPEG2MPML, [(tmp_path / "a.mpg").read_bytes()])
    clip = read_clip(save(dataset, tmp_path / "b"))
    assert clip.frames.shape == frames.shape
    assert np.abs(clip.frames.astype(int) - frames).mean() < 4
    assert (clip.fps, clip.fps_source) == (25.0, "file")
    assert str(tmp_path) not in repr(clip.flags)


@pytest.mark.parametrize("said, stored", [("RGB", "YBR_FULL"), ("YBR_FULL", "RGB")])
def test_a_wrong_colour_space_is_corrected(tmp_path, said, stored):
    grey = np.repeat(GREY[..., None], 3, axis=-1)
    clip = read_clip(write_clip(tmp_path / "a", grey if stored == "RGB" else to_ybr(grey), said))
    assert np.abs(clip.frames.astype(int) - grey).max() <= 2
    assert "colours_mislabelled" in flags_of(clip)


def test_a_missing_decoder_is_named(tmp_path):
    if get_decoder(JPEGLSLossless).is_available:
        pytest.skip("a JPEG-LS decoder is installed")
    dataset = encapsulated(make_dataset(GREY), JPEGLSLossless, [b"\xff\xd8\xff\xd9"] * 5)
    with pytest.raises(ClipError, match=r"JPEG-LS Lossless.*pip install echojax\[dicom\]") as caught:
        read_clip(save(dataset, tmp_path / "a"))
    assert caught.value.reason == "no_decoder"


VECTOR = [0, 20, 20, 40, 20]
TIMES = {
    "vector": (
        {"FrameTime": None, "FrameTimeVector": VECTOR, "FrameIncrementPointer": 0x00181065},
        ("FrameTimeVector", 50.0, [0, 0.02, 0.04, 0.08, 0.1], {"frame_times_vary"}),
    ),
    "vector_pointed_to": (
        {"FrameTime": 33.0, "FrameTimeVector": VECTOR, "FrameIncrementPointer": 0x00181065},
        ("FrameTimeVector", 50.0, [0, 0.02, 0.04, 0.08, 0.1], {"frame_times_vary"}),
    ),
    "vector_not_pointed_to": (
        {"FrameTime": 10.0, "FrameTimeVector": VECTOR},
        ("FrameTime", 100.0, [0, 0.01, 0.02, 0.03, 0.04], set()),
    ),
    "vector_without_its_first": (
        {"FrameTime": None, "FrameTimeVector": [25] * 4, "FrameIncrementPointer": None},
        ("FrameTimeVector", 40.0, [0, 0.025, 0.05, 0.075, 0.1], set()),
    ),
    "vector_of_other_length": (
        {"FrameTime": 20.0, "FrameTimeVector": [0, 20], "FrameIncrementPointer": 0x00181065},
        ("FrameTime", 50.0, [0, 0.02, 0.04, 0.06, 0.08], {"frame_times_unusable"}),
    ),
    "vector_going_back": (
        {"FrameTime": None, "FrameTimeVector": [0, 20, -20, 20, 20], "FrameIncrementPointer": 0x00181065},
        ("assumed", 30.0, np.arange(5) / 30, {"frame_times_unusable", "fps_assumed"}),
    ),
    "cine_rate": (
        {"FrameTime": None, "FrameIncrementPointer": None, "CineRate": 25},
        ("CineRate", 25.0, np.arange(5) / 25, set()),
    ),
    "display_rate": (
        {"FrameTime": 0.0, "RecommendedDisplayFrameRate": 60},
        ("RecommendedDisplayFrameRate", 60.0, np.arange(5) / 60, set()),
    ),
    "absurd": ({"FrameTime": 1e-6}, ("assumed", 30.0, np.arange(5) / 30, {"fps_assumed"})),
    "negative": ({"FrameTime": -20.0}, ("assumed", 30.0, np.arange(5) / 30, {"fps_assumed"})),
    "none": (
        {"FrameTime": None, "FrameIncrementPointer": None},
        ("assumed", 30.0, np.arange(5) / 30, {"fps_assumed"}),
    ),
}


@pytest.mark.parametrize("elements, expected", TIMES.values(), ids=TIMES)
def test_frame_times(tmp_path, elements, expected):
    source, fps, times, flags = expected
    clip = read_clip(write_clip(tmp_path / "a", **elements))
    assert (clip.fps_source, clip.fps) == (source, fps)
    np.testing.assert_allclose(clip.frame_times_s, times)
    assert flags_of(clip) - {"spacing_unknown"} == flags


SMALL = {"RegionLocationMaxX1": 20, "RegionLocationMaxY1": 30}
ECG = {"RegionSpatialFormat": 4, "RegionDataType": 10, "PhysicalUnitsXDirection": 4, "PhysicalUnitsYDirection": 0}
WHOLE = Region(0, 0, 48, 64)
REGIONS = {
    "one": ([{}], (0.2, 0.2), WHOLE, set()),
    "unequal": ([{"PhysicalDeltaX": 0.15}], (0.2, 0.15), WHOLE, set()),
    "with_ecg": ([ECG, {}], (0.2, 0.2), WHOLE, set()),
    "largest_of_two": ([SMALL | {"PhysicalDeltaY": 0.1}, {}], (0.2, 0.2), WHOLE, {"several_regions"}),
    "colour_beside": ([{}, SMALL | {"RegionDataType": 2}], (0.2, 0.2), WHOLE, {"colour_doppler"}),
    "colour_only": ([{"RegionDataType": 2}], (0.2, 0.2), WHOLE, {"colour_doppler"}),
    "one_row_too_many": ([{"RegionLocationMaxX1": WHOLE.right, "RegionLocationMaxY1": 48}], (0.2, 0.2), WHOLE, set()),
    "shrunk_picture": ([{"RegionLocationMaxX1": 127, "RegionLocationMaxY1": 95}], None, None, {"spacing_implausible"}),
    "not_centimetres": ([{"PhysicalUnitsXDirection": 4}], None, None, {"spacing_implausible"}),
    "negative": ([{"PhysicalDeltaY": -0.2}], None, None, {"spacing_implausible"}),
    "zero": ([{"PhysicalDeltaY": 0.0}], None, None, {"spacing_implausible"}),
    "not_a_number": ([{"PhysicalDeltaY": float("nan")}], None, None, {"spacing_implausible"}),
    "millimetres": ([{"PhysicalDeltaX": 2.0, "PhysicalDeltaY": 2.0}], None, None, {"spacing_implausible"}),
    "oblong": ([{"PhysicalDeltaX": 0.02}], None, None, {"spacing_implausible"}),
    "inside_out": ([{"RegionLocationMaxX1": 0, "RegionLocationMinX0": 63}], None, None, {"spacing_unknown"}),
    "only_ecg": ([ECG], None, None, {"spacing_unknown"}),
    "none": ([], None, None, {"spacing_unknown"}),
}


@pytest.mark.parametrize("regions, spacing_cm, place, flags", REGIONS.values(), ids=REGIONS)
def test_regions(tmp_path, regions, spacing_cm, place, flags):
    elements = {"SequenceOfUltrasoundRegions": [make_region(**region) for region in regions]}
    clip = read_clip(write_clip(tmp_path / "a", **elements))
    assert (clip.spacing_cm, clip.region, flags_of(clip)) == (spacing_cm, place, flags)
    assert clip.spacing_source == ("SequenceOfUltrasoundRegions" if spacing_cm else None)


def test_pixel_spacing(tmp_path):
    clip = read_clip(write_clip(tmp_path / "a", PixelSpacing=[2.0, 1.5]))
    assert (clip.spacing_cm, clip.spacing_source) == ((0.2, 0.15), "PixelSpacing")
    clip = read_clip(write_clip(tmp_path / "b", PixelSpacing=[0.01, 0.01]))
    assert clip.spacing_cm is None and "spacing_implausible" in flags_of(clip)


def test_what_the_header_warns_of(tmp_path):
    clip = read_clip(write_clip(tmp_path / "a", BurnedInAnnotation="YES", Modality="OT"))
    assert {"burnt_in_text", "not_ultrasound"} <= flags_of(clip)


def test_nothing_of_the_person_is_in_a_clip(tmp_path):
    path = write_clip(tmp_path / f"{tiny_dicom.NAME}.dcm", FrameTime=-1.0, Modality="OT")
    clip = read_clip(path)
    assert clip.name.startswith("dicom-") and len(clip.name) == 18
    everything = repr(clip)
    for secret in (tiny_dicom.NAME, tiny_dicom.IDENTIFIER, tiny_dicom.DATE, tiny_dicom.INSTITUTION, "1.2.826", "tmp"):
        assert secret not in everything
    assert read_clip(path, keep_names=True).name == "Doe_Jane"


def test_names_follow_the_content(tmp_path):
    first, second = write_clip(tmp_path / "a"), write_clip(tmp_path / "b", 255 - GREY)
    assert read_clip(first).name == read_clip(first).name != read_clip(second).name


def test_real_echocardiogram_of_pydicom():
    clip = read_clip(pydicom.examples.get_path("ybr_color"))
    assert clip.frames.shape == (30, 240, 320, 3)
    assert (round(clip.fps, 2), clip.fps_source) == (30.0, "FrameTime")
    # Its regions are those of the 640x480 original: taken at their word, volumes would be eight times too small.
    assert clip.spacing_cm is None and flags_of(clip) == {"spacing_implausible"}
    tissue = clip.frames[:, 40:200, 120:200].astype(int)
    assert np.ptp(tissue, axis=-1).mean() < 4


def test_every_file_of_pydicom_gives_a_clip_or_a_reason():
    """Among them damaged headers, wrong lengths, reports, curves and all encodings."""
    paths = [path for path in pydicom.data.get_testdata_files() if "dicomdirtests" not in path]
    reasons = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in paths:
            try:
                reasons[path] = read_clip(path).kind
            except ClipError as error:
                assert "\n" not in str(error)
                reasons[path] = error.reason
    assert len(reasons) > 60
    assert {"DICOM", "one_frame", "no_picture", "damaged"} <= set(reasons.values())
