"""echojax: heart function from ultrasound video, in JAX. Research use only, not a medical device.

    import echojax

    model = echojax.load("weights/ef")               # trained here, or ported from PyTorch; help(echojax.load)
    model.ejection_fraction(video)                   # uint8 (t, h, w, 3) -> percent, one per clip

Everything is imported when it is first used: `echojax.load`, and modules such as `echojax.lv` or `echojax.evaluate`.
"""

import importlib
import pkgutil

__version__ = "0.1.0"

# Function or class -> the module that has it.
_LAZY = {"load": "echojax.loading"}


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _submodules():
        return importlib.import_module(f"echojax.{name}")
    raise AttributeError(f"module 'echojax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_submodules()})


def _submodules() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(__path__)}
