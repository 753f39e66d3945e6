"""The papers' networks and steps in PyTorch, at any width, as its best users would write them.

Nothing outside of this package imports torch; `benchmarks` asks for `usable` forms of it first.
"""

import importlib.util
import os
import shutil
from collections.abc import Sequence


def is_installed() -> bool:
    """Whether there is a PyTorch to compare with: `pip install .[bench]`."""
    return importlib.util.find_spec("torch") is not None


def usable(forms: Sequence[str]) -> tuple[str, ...]:
    """Those of some forms (see `running.Form`) that can be had here: `torch.compile` needs a C++ compiler."""
    if not is_installed():
        return ()
    has_compiler = any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++")))
    return tuple(form for form in forms if has_compiler or not form.endswith("compiled"))
