"""Files of any kind to clips: frames, their times, the size of a pixel, and what is doubtful about them.

    found = find_clips(["study/", "clip.avi"])       # walks folders; each file is recognised by its content
    clip = read_clip(found.sources[0])               # uint8 (t, h, w, c), seconds, centimetres, flags
    sector = echojax.sector.find_sector(clip.frames, clip.region)

Nothing of a DICOM's identity (names, dates, identifiers, its path) is in a clip or in the text of an error.
"""

from echojax.reading.clip import MAX_BYTES, Clip, ClipError, Flag, Region
from echojax.reading.find import Found, Skipped, Source, find_clips
from echojax.reading.kinds import Kind, recognise
from echojax.reading.read import read_clip

__all__ = [
    "MAX_BYTES",
    "Clip",
    "ClipError",
    "Flag",
    "Found",
    "Kind",
    "Region",
    "Skipped",
    "Source",
    "find_clips",
    "read_clip",
    "recognise",
]
