"""Files that give no clip: each is refused with its reason in one line, none takes much time or memory."""

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import tiny_dicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit
from test_video import cut_inside
from tiny_dicom import encapsulated, make_dataset, make_grey, save, write_clip
from tiny_echonet import make_avi
from tiny_nifti import make_nifti

from echojax.errors import UserError
from echojax.reading import ClipError, kinds, read_clip

GREY = make_grey()


def npy(values) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def npy_header(header: str, rest: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + rest


def npy_of(shape, descr="|u1") -> bytes:
    return npy_header(repr({"descr": descr, "fortran_order": False, "shape": shape}) + "\n", b"\0" * 64)


def one_frame_avi(tmp_path) -> bytes:
    from echojax import video

    video.write_video(tmp_path / "one.avi", np.zeros((1, 64, 64, 3), np.uint8) + 50, 30)
    return (tmp_path / "one.avi").read_bytes()


def mp4(tmp_path) -> bytes:
    from echojax import video

    video.write_video(tmp_path / "whole.mp4", np.repeat(make_grey(12)[..., None], 3, -1), 30, codec="mp4v")
    return (tmp_path / "whole.mp4").read_bytes()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, frames=GREY)
    return file.getvalue()


def zip_archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clip.avi", make_avi(0))
    return file.getvalue()


def dicom(tmp_path, pixels=GREY, **elements) -> bytes:
    return write_clip(tmp_path / "whole.dcm", pixels, **elements).read_bytes()


def deflate_bomb(tmp_path) -> bytes:
    whole = save(make_dataset(GREY), tmp_path / "deflated", DeflatedExplicitVRLittleEndian).read_bytes()
    start = 144 + struct.unpack("<I", whole[140:144])[0]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"".join(deflater.compress(bytes(2**20)) for _ in range(64)) + deflater.flush()
    return whole[:start] + zeros


def broken_jpeg(tmp_path) -> bytes:
    dataset = encapsulated(make_dataset(GREY), JPEGBaseline8Bit, [b"\xff\xd8\xff\xe0 no picture at all"] * 5)
    return save(dataset, tmp_path / "jpeg").read_bytes()


def unknown_syntax(tmp_path) -> bytes:
    dataset = make_dataset(GREY)
    return save(encapsulated(dataset, "1.2.3.4.5", [b"\0" * 16] * 5), tmp_path / "unknown").read_bytes()


BOMB = gzip.compress(make_nifti(np.zeros((2, 2, 2), np.uint8), dim=(3, 30000, 30000, 30000)) + bytes(10**7))
# Name: (content, or what makes it in a folder; reason; words of the text)
FILES = {
    "empty": (b"", "empty", "0 bytes"),
    "html": (b"<!DOCTYPE html><html>Please log in</html>", "unknown", "web page"),
    "xml": (b"\xef\xbb\xbf<?xml version='1.0'?>", "unknown", "web page"),
    "text": (b"not a video at all", "unknown", "text, not a video"),
    "zeros": (bytes(10_000), "unknown", "nothing but zero bytes"),
    "random": (np.random.default_rng(0).bytes(10_000), "unknown", "not known here"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "unknown", "single PNG"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), "unknown", "single JPEG"),
    "pdf": (b"%PDF-1.7", "unknown", "PDF"),
    "zip": (zip_archive(), "unknown", "ZIP archive"),
    "npz": (npz(), "unknown", "numpy.save"),
    "pickle": (b"\x80\x04\x95" + bytes(20), "unknown", "can run code"),
    "git_lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "unknown", "git lfs pull"),
    "mhd": (b"ObjectType = Image\nNDims = 3", "unknown", "MetaImage"),
    "gzip_of_text": (gzip.compress(b"hello" * 200), "unknown", "no NIfTI header"),
    "avi_header_only": (make_avi(0)[:3000], "unreadable", "not a video that FFmpeg can open"),
    "avi_cut": (cut_inside(make_avi(0), 6), "truncated", "ends early"),
    "avi_one_frame": (one_frame_avi, "one_frame", "single picture"),
    "gif_huge": (b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(99), "too_large|unreadable", "65535|decoded"),
    "avi_first_bytes": (make_avi(0)[:12], "unreadable", "FFmpeg"),
    "mp4_cut": (lambda folder: mp4(folder)[:-600], "unreadable", "not a video that FFmpeg can open"),
    "gif_cut": (b"GIF89a" + bytes(30), "unreadable", "FFmpeg|none can be decoded"),
    "npy_objects": (npy(np.array([[["a"]]], object)), "wrong_type", "never unpickled"),
    "npy_nan": (npy(np.where(GREY > 50, np.nan, GREY)), "not_finite", "NaN"),
    "npy_infinite": (npy(np.where(GREY > 50, np.inf, GREY)), "not_finite", "infinite"),
    "npy_negative_size": (npy_of((-5, 64, 64)), "damaged|too_small", "header is damaged"),
    "npy_no_frames": (npy_of((0, 64, 64)), "too_small", "0 frames"),
    "npy_absurd_size": (npy_of((10**6, 10**6, 10**6)), "too_large", "1000000 frames .* GiB"),
    "npy_overflow": (npy_of((2**40, 2**40, 2**40)), "too_large", "GiB"),
    "npy_cut": (npy(GREY)[:5000], "truncated", "of 15360 bytes"),
    "npy_code_in_header": (npy_header("__import__('os').system('false')\n"), "damaged", "header is damaged"),
    "npy_long_header": (npy_header("{" + " " * 60000 + "}\n"), "damaged", "header is damaged"),
    "npy_magic_only": (b"\x93NUMPY", "damaged", "header is damaged"),
    "npy_deep_header": (npy_header("[" * 9000 + "]" * 9000), "damaged", "header is damaged"),
    "npy_text": (npy(np.full((3, 40, 40), "abc")), "wrong_type", "<U3"),
    "npy_complex": (npy(GREY.astype(complex)), "wrong_type", "complex"),
    "npy_mask": (npy(GREY > 50), "wrong_type", "mask"),
    "npy_one_picture": (npy(GREY[0]), "wrong_shape", r"\(48, 64\)"),
    "npy_colours_first": (npy(np.zeros((3, 5, 64, 64), np.uint8)), "wrong_shape", "moveaxis"),
    "npy_one_frame": (npy(GREY[:1]), "one_frame", "single picture"),
    "npy_tiny": (npy(GREY[:, :20, :20]), "too_small", "at least 32"),
    "npy_black": (npy(np.zeros_like(GREY)), "blank", "0 to 0"),
    "npy_labels": (npy(GREY // 100), "blank", "labels"),
    "nifti_bomb": (BOMB, "too_large", "30000 frames of 30000x30000"),
    "nifti_far_offset": (make_nifti(GREY, vox_offset=10**9), "damaged", "byte 1000000000"),
    "nifti_negative_offset": (make_nifti(GREY, vox_offset=-1), "damaged", "where its pixels begin"),
    "nifti_cut": (make_nifti(GREY)[:5000], "truncated", "of 15360 bytes"),
    "nifti_gz_cut": (gzip.compress(make_nifti(GREY))[:900], "truncated", "ends early"),
    "nifti_gz_damaged": (gzip.compress(make_nifti(GREY))[:400] + bytes(4000), "damaged|truncated", "gzip"),
    "nifti_negative": (make_nifti(GREY, dim=(3, -64, 48, 5)), "too_small", "damaged"),
    "nifti_axes": (make_nifti(GREY, dim=(99, 64, 48, 5)), "damaged", "99 axes"),
    "nifti_volumes": (make_nifti(np.zeros((4, 5, 48, 64), np.uint8)), "wrong_shape", "volumes"),
    "nifti_vectors": (make_nifti(np.zeros((2, 1, 5, 48, 64), np.uint8)), "wrong_shape", "values per pixel"),
    "nifti_pair": (make_nifti(GREY, magic=b"ni1\0"), "unknown", "store both in one"),
    "nifti_type": (make_nifti(GREY, datatype=32), "wrong_type", "data type 32"),
    "nifti_labels": (make_nifti(GREY // 100), "blank", "labels"),
    "dicom_header_cut": (lambda folder: dicom(folder)[:400], "damaged|no_picture", "ends early"),
    "dicom_magic_only": (bytes(128) + b"DICM", "damaged", "header"),
    "dicom_pixels_cut": (lambda folder: dicom(folder)[:-5000], "truncated|damaged", "end early|ends early"),
    "dicom_one_frame": (lambda folder: dicom(folder, GREY[:1]), "one_frame", "single picture"),
    "dicom_without_pixels": (
        lambda folder: dicom(folder)[: -GREY.size - 12], "truncated", "before its pixels"),
    "dicom_huge": (
        lambda folder: dicom(folder, NumberOfFrames=10**6, Rows=60000), "too_large", "1000000 frames of 64x60000"),
    "dicom_no_rows": (lambda folder: dicom(folder, Rows=None), "damaged", "how large"),
    "dicom_zero_rows": (lambda folder: dicom(folder, Rows=0), "too_small", "64x0"),
    "dicom_frames_in_words": (
        lambda folder: dicom(folder, NumberOfFrames=5555).replace(b"5555", b"many"), "damaged", "how large"),
    "dicom_ct": (lambda folder: dicom(folder, Modality="CT"), "not_ultrasound", "says CT"),
    "dicom_four_channels": (lambda folder: dicom(folder, SamplesPerPixel=4), "wrong_shape", "4 values per pixel"),
    "dicom_more_frames_than_pixels": (lambda folder: dicom(folder, NumberOfFrames=50), "truncated", "50 pictures"),
    "dicom_broken_jpeg": (broken_jpeg, "truncated", "damaged"),
    "dicom_unknown_syntax": (unknown_syntax, "no_decoder", "transfer syntax unknown"),
    "dicom_palette_without_table": (
        lambda folder: dicom(folder, PhotometricInterpretation="PALETTE COLOR"), "truncated", "damaged"),
    "dicom_deflate_bomb": (deflate_bomb, "too_large", "inflates to more than"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_hostile_files(tmp_path, name, record_property):
    content, reason, text = FILES[name]
    path = tmp_path / "clip.avi"
    path.write_bytes(content(tmp_path) if callable(content) else content)
    tracemalloc.start()
    with pytest.raises(ClipError, match=text) as caught:
        read_clip(path, max_bytes=2**25)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason in reason.split("|")
    assert isinstance(caught.value, UserError)
    message = str(caught.value)
    assert message == f"{path}: {caught.value.text}" and "\n" not in message and len(caught.value.text) < 250
    assert not any(secret in caught.value.text for secret in (tiny_dicom.NAME, tiny_dicom.IDENTIFIER, str(tmp_path)))
    assert peak < 2**27
    record_property("hostile_clip", (name, caught.value.text))


def test_there_are_more_than_forty():
    assert len(FILES) > 60


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "folder.avi").mkdir()
    (tmp_path / "loop.avi").symlink_to(tmp_path / "loop.avi")
    (tmp_path / "gone.avi").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.avi")
    expected = {
        "folder.avi": ("not_a_file", "is a folder"),
        "loop.avi": ("unreadable", "cannot be opened"),
        "gone.avi": ("missing", "link that leads nowhere"),
        "pipe.avi": ("not_a_file", "is a pipe"),
        "nothing.avi": ("missing", "no such file"),
        "x" * 5000: ("unreadable", "cannot be opened"),
    }
    for name, (reason, text) in expected.items():
        with pytest.raises(ClipError, match=text) as caught:
            read_clip(tmp_path / name)
        assert caught.value.reason == reason


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "clip.avi").write_bytes(make_avi(0))
    monkeypatch.setattr(kinds, "open", refuse, raising=False)
    with pytest.raises(ClipError, match="change its permissions") as caught:
        read_clip(tmp_path / "clip.avi")
    assert caught.value.reason == "unreadable"


def test_a_clip_is_refused_by_its_size_before_it_is_decoded(tmp_path):
    (tmp_path / "clip.avi").write_bytes(make_avi(0))
    # 10 frames of 32x32 in three colours.
    assert len(read_clip(tmp_path / "clip.avi", max_bytes=30720).frames) == 10
    with pytest.raises(ClipError, match="declares 10 frames of 32x32 pixels, of which 9 fit into the memory allowed"):
        read_clip(tmp_path / "clip.avi", max_bytes=30719)
    with pytest.raises(ClipError, match="the file has"):
        read_clip(tmp_path / "clip.avi", max_bytes=1000)
    (tmp_path / "clip.nii.gz").write_bytes(gzip.compress(make_nifti(GREY)))
    with pytest.raises(ClipError, match="declares 5 frames of 64x48 pixels with 1 channels"):
        read_clip(tmp_path / "clip.nii.gz", max_bytes=15359)
