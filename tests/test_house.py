"""The house's walls: which module may import which (read from the source, so that lazy imports count too)."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Third-party library: the only places that may import it.
HOMES = {
    "torch": ("echojax/porting/",),
    "safetensors": ("echojax/porting/",),
    "tensorflow": (),
    "tensorflow_datasets": ("echojax/records/",),
    "grain": ("echojax/data/",),
    "orbax": ("echojax/train/checkpoint.py",),
    "cv2": ("echojax/video.py",),
    "etils": ("echojax/remote.py",),
    "pandas": ("data_prep/",),
    "apache_beam": ("data_prep/beam.py",),
    # Only where nothing of a header leaves but geometry and times, so that one place has to keep names out.
    "pydicom": ("echojax/reading/dicom",),
    "matplotlib": ("echojax/report/",),
}
# Part: what it may not import of ours.
FORBIDDEN = {
    "echojax/ops/": ("echojax.models", "echojax.data", "echojax.train", "echojax.stages"),
    "echojax/models/": ("echojax.data", "echojax.records", "echojax.train", "echojax.stages", "configs"),
    "echojax/losses.py": ("echojax.models", "echojax.data", "echojax.records", "echojax.train", "echojax.stages"),
    "echojax/clips.py": ("echojax.models", "echojax.data", "echojax.records", "echojax.train", "echojax.stages"),
    "echojax/lv/": ("echojax.models", "echojax.data", "echojax.records", "echojax.train", "echojax.stages"),
    "echojax/evaluate/": ("echojax.models", "echojax.data", "echojax.records", "echojax.train", "echojax.stages"),
    "echojax/data/": ("echojax.models", "echojax.train", "echojax.stages"),
    "echojax/records/": ("echojax.models", "echojax.train", "echojax.stages", "echojax.data"),
    "echojax/train/": ("echojax.stages", "configs"),
    "echojax/": ("configs", "tests"),
    "data_prep/": ("echojax.models", "echojax.train", "echojax.stages"),
}
# data_prep makes the phantoms that a pipeline asks for; nothing else of echojax may lean on it.
DATA_PREP_USERS = ("echojax/pipelines/",)

SOURCES = sorted(
    str(path.relative_to(ROOT)) for part in ("echojax", "data_prep") for path in (ROOT / part).rglob("*.py")
)


def imports_of(source: str) -> set[str]:
    tree = ast.parse((ROOT / source).read_text())
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("source", SOURCES)
def test_imports_stay_within_the_walls(source):
    modules = imports_of(source)
    for library, homes in HOMES.items():
        if not source.startswith(homes or ("-",)):
            assert not [m for m in modules if is_within(m, library)], f"{source} may not import {library}"
    for part, forbidden in FORBIDDEN.items():
        if source.startswith(part):
            crossing = [m for m in modules for package in forbidden if is_within(m, package)]
            assert not crossing, f"{source} may not import {crossing}"
    if source.startswith("echojax/") and not source.startswith(DATA_PREP_USERS):
        assert not [m for m in modules if is_within(m, "data_prep")], f"{source} may not import data_prep"


def test_the_rules_can_fail():
    assert is_within("torch.nn", "torch") and not is_within("torchvision", "torch")
    assert {"echojax.records", "echojax.records.VideoSet"} <= imports_of("echojax/data/cohorts.py")
