"""What a file is, by its content: an extension may be wrong or missing, the first bytes are not."""

import dataclasses
import os
import pathlib
import stat
import struct

from echojax.reading.clip import ClipError

HEAD_BYTES = 4096


@dataclasses.dataclass(frozen=True)
class Kind:
    """A format that can hold a clip: its name, and how it is read ("video", "dicom", "nifti" or "npy")."""

    name: str
    reader: str


AVI = Kind("AVI", "video")
MP4 = Kind("MP4", "video")
QUICKTIME = Kind("QuickTime", "video")
GIF = Kind("GIF", "video")
MATROSKA = Kind("Matroska", "video")
ASF = Kind("WMV", "video")
MPEG = Kind("MPEG", "video")
DICOM = Kind("DICOM", "dicom")
NIFTI = Kind("NIfTI", "nifti")
NPY = Kind("NumPy", "npy")

_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_BEGINNINGS = (
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"\x1a\x45\xdf\xa3", MATROSKA),
    (b"0&\xb2u\x8ef\xcf\x11", ASF),
    (b"\x00\x00\x01\xba", MPEG),
    (b"\x00\x00\x01\xb3", MPEG),
    (b"\x93NUMPY", NPY),
)
# Files that people take for clips, and what to do with them.
_STRANGERS = (
    (b"PK\x03\x04", "a ZIP archive (or .npz); unpack it, and save an array with numpy.save"),
    (b"\x89PNG", "a single PNG picture; a moving heart needs a clip"),
    (b"\xff\xd8\xff", "a single JPEG picture; a moving heart needs a clip"),
    (b"BM", "a single BMP picture; a moving heart needs a clip"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file; save its frames with numpy.save"),
    (b"MATLAB 5.0", "a MATLAB file; save its frames with numpy.save"),
    (b"\x80\x04\x95", "a Python pickle, which is never opened because it can run code; save with numpy.save"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"ObjectType", "a MetaImage header (.mhd); convert it to NIfTI"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with git lfs pull"),
)
_HTML = (b"<!doctype html", b"<html", b"<?xml")
_VALUE_REPRESENTATIONS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT".split()
KINDS_IN_WORDS = "AVI, MP4, MOV, GIF, DICOM, NIfTI or .npy"


def recognise(path: str | os.PathLike) -> Kind:
    """Tells the kind of a file from its first bytes.

    Raises:
      ClipError: `missing`, `not_a_file`, `empty`, `unreadable` or `unknown`, with what the file seems to be.
    """
    path = pathlib.Path(path)
    head = _read_head(path)
    kind = _kind_of(path, head)
    if kind is None:
        raise ClipError(path, "unknown", f"is {_describe(head)}; expected {KINDS_IN_WORDS}")
    return kind


def _read_head(path: pathlib.Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ClipError(path, "not_a_file", "is a folder, expected a file")
        # A pipe or device would block or never end.
        if not stat.S_ISREG(status.st_mode):
            raise ClipError(path, "not_a_file", "is a pipe, socket or device, expected a file")
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise ClipError(path, "missing", "no such file, or a link that leads nowhere") from error
    except PermissionError as error:
        raise ClipError(path, "unreadable", "may not be read by you: change its permissions") from error
    except OSError as error:
        raise ClipError(path, "unreadable", f"cannot be opened ({error.strerror})") from error
    if not head:
        raise ClipError(path, "empty", "the file has 0 bytes; fetch it again")
    return head


def _kind_of(path: pathlib.Path, head: bytes) -> Kind | None:
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return AVI
    if head[4:8] == b"ftyp":
        return QUICKTIME if head[8:12] == b"qt  " else MP4
    if head[4:8] in _QUICKTIME_ATOMS:
        return QUICKTIME
    if head[128:132] == b"DICM" or _looks_like_bare_dicom(head):
        return DICOM
    if head[:2] == b"\x1f\x8b" or _looks_like_nifti(head):
        return NIFTI
    return None


def _looks_like_nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def _looks_like_bare_dicom(head: bytes) -> bool:
    """Tells a data set without the 128 bytes and "DICM" in front, as older archives store them.

    It begins with an element of group 2 or 8 that either names its value representation or has a sensible length.
    """
    if len(head) < 8 or head[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08"):
        return False
    if head[4:6] in _VALUE_REPRESENTATIONS:
        return True
    element, length = struct.unpack("<HI", head[2:8])
    return head[1] == 0 and element <= 0x0100 and length <= 256


def _describe(head: bytes) -> str:
    for beginning, text in _STRANGERS:
        if head.startswith(beginning):
            return text
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_HTML):
        return "a web page (HTML or XML), as a download that needed a login leaves behind; fetch it again"
    if not head.strip(b"\0"):
        return "nothing but zero bytes, as an interrupted download leaves behind; fetch it again"
    if b"\0" not in head:
        return "text, not a video"
    return "of a kind that is not known here"
