"""What was ported, for people to check."""

import collections
from collections.abc import Iterator

import numpy as np

from echojax.models.functional import Arrays
from echojax.porting.port import PortedNetwork
from echojax.preprocessing import Preprocessing


def describe(ported: PortedNetwork) -> str:
    """Counts, types, the largest weight of each block, preprocessing, and the outputs on the fixed input."""
    lines = list(_lines(ported))
    width = max(len(title) for title, _ in lines)
    titles = ["", *(title for title, _ in lines)]
    return "\n".join(
        f"{'' if title == before else title:<{width}}  {text}"
        for before, (title, text) in zip(titles, lines, strict=False)
    )


def _lines(ported: PortedNetwork) -> Iterator[tuple[str, str]]:
    tensors, directory = ported.state_dict.tensors, ported.directory
    num_parameters = sum(array.size for array in ported.network.params.values())
    types = ", ".join(f"{number} {name}" for name, number in ported.state_dict.dtypes().most_common())
    yield "network", f"{ported.recognised.family.title}; {_describe_arguments(ported.recognised.description)}"
    yield "from", f"{ported.source.path}, {ported.source.kind.value}{_describe_place(ported)}"
    yield "tensors", f"{len(tensors)}, of which {len(tensors) - len(ported.ignored)} used; every leaf here is filled"
    for reason, number in collections.Counter(ported.ignored.values()).most_common():
        yield "ignored", f"{number}: {reason}"
    yield "parameters", f"{num_parameters:,} in float32; in the file: {types}"
    for text in _describe_blocks(ported.network.params):
        yield "largest weight", text
    yield "input", _describe_input(ported.preprocessing)
    for name, value in ported.trial.items():
        yield "on sin(0,1,2...)", _describe_output(name, value)
    yield "written to", f"{directory}"
    yield from (("next", command) for command in _next_commands(ported))


def _next_commands(ported: PortedNetwork) -> list[str]:
    """What the checkpoint is good for."""
    family, directory = ported.recognised.description["family"], ported.directory
    channels = ported.preprocessing.in_channels
    config = {"video_resnet": "ef" if channels == 3 else "teacher", "convlstm": "dfkd"}.get(family, "seg")
    command = f"python main.py --config=configs/{config}.py"
    train = [] if family == "echoclip" else [f"{command} --config.init_from={directory}"]
    if ported.recognised.is_start:
        return train
    distil = [f"python main.py --config=configs/kd.py --config.teacher_dir={directory}"] if channels == 4 else []
    evaluate = [] if family == "echoclip" else [f"{command} --mode=evaluate --workdir={directory}"]
    return [f'echojax.load("{directory}")', *evaluate, *train, *distil]


def _describe_arguments(description: dict) -> str:
    def text(value) -> str:
        return "-".join(map(str, value)) if isinstance(value, list) else str(value)

    return ", ".join(f"{key} {text(value)}" for key, value in description.items() if key not in ("family", "dtype"))


def _describe_place(ported: PortedNetwork) -> str:
    state_dict = ported.state_dict
    key = f", its {state_dict.key!r}" if state_dict.key else ""
    return key + (f", names without {state_dict.prefix!r}" if state_dict.prefix else "")


def _describe_blocks(params: Arrays) -> Iterator[str]:
    """The largest magnitude among the parameters of each block, and where it is."""
    blocks = collections.defaultdict(dict)
    for name, array in params.items():
        *module, _ = name.split(".")
        blocks[".".join(module[:2]) or name][name] = float(np.max(np.abs(array)))
    width = max(map(len, blocks))
    for block, largest in blocks.items():
        name = max(largest, key=largest.get)
        yield f"{block:<{width}} {largest[name]:10.4g}  {name}"


def _describe_input(preprocessing: Preprocessing) -> str:
    height, width = preprocessing.size
    channels = {1: "grey", 3: "RGB", 4: "RGB and mask"}[preprocessing.in_channels]
    length = f", {preprocessing.num_frames} frames of period {preprocessing.period}" if preprocessing.num_frames else ""
    mean, std = (" ".join(f"{level:.6g}" for level in levels) for levels in (preprocessing.mean, preprocessing.std))
    return f"{height}x{width} {channels}{length}; mean {mean}, std {std}: {preprocessing.source}"


def _describe_output(name: str, value: np.ndarray) -> str:
    if value.size == 1:
        return f"{name} {value.item():.6f}"
    return f"{name} {value.shape}: mean {value.mean():.6f}, from {value.min():.6f} to {value.max():.6f}"
