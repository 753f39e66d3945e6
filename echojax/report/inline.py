"""Pictures, videos and plots as text inside an HTML page, so that the page is one file."""

import base64
import io
import os
import pathlib
from typing import NamedTuple

import matplotlib.image
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from echojax.report import style

_MIME_TYPES = {".mp4": "video/mp4", ".webm": "video/webm", ".png": "image/png"}


class InlinePlot(NamedTuple):
    """A figure as SVG, and where its axes lie in it, as shares of its width and height from the upper left."""

    svg: str
    left: float
    right: float
    top: float
    bottom: float


def encode_picture(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    """A picture as the `data:` address of a PNG."""
    buffer = io.BytesIO()
    # Without Matplotlib's own line equal pictures are equal texts in all its versions.
    matplotlib.image.imsave(buffer, picture, format="png", metadata={"Software": None})
    return _encode(buffer.getvalue(), ".png")


def encode_file(path: str | os.PathLike) -> str:
    """A picture or video file as a `data:` address."""
    path = pathlib.Path(path)
    return _encode(path.read_bytes(), path.suffix)


def encode_plot(figure: Figure, first: float, last: float) -> InlinePlot:
    """A figure of one pair of axes as SVG; `left` and `right` are where `first` and `last` of the x axis lie."""
    buffer = io.StringIO()
    with style.applied():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    axes = figure.axes[0]
    to_share = axes.transData + figure.transFigure.inverted()
    left, right = (float(to_share.transform((x, axes.get_ylim()[0]))[0]) for x in (first, last))
    place = axes.get_position()
    svg = buffer.getvalue()
    return InlinePlot(svg[svg.index("<svg") :], left, right, 1 - place.y1, 1 - place.y0)


def _encode(content: bytes, suffix: str) -> str:
    return f"data:{_MIME_TYPES[suffix]};base64,{base64.b64encode(content).decode('ascii')}"
