"""Data that may not be part of the repository, for those who have it.

Set ECHOJAX_SHARED to a folder that holds `real_echo/` (EchoNet-Dynamic layout) and `goldens/`; without it, a folder
`shared` beside the checkout is looked for. Tests that need what is not there skip and say so.
"""

import os
import pathlib

import pytest

ROOT = pathlib.Path(os.environ.get("ECHOJAX_SHARED", pathlib.Path(__file__).parents[2] / "shared"))


def require_shared(name: str) -> pathlib.Path:
    """Returns the path of a piece of shared data, or skips the calling test."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"needs {name}/ in $ECHOJAX_SHARED or beside the checkout; it may not be distributed")
    return path
