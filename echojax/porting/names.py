"""PyTorch names <-> our names, as tables, and the conversion of whole networks between them.

A `Table` lists a network's PyTorch modules in PyTorch's order, each beside its path here and the tensors it holds.
Kernels are turned from (out, in, *taps) to (*taps, in, out), linear layers alike; everything else keeps its shape.
Only NumPy is needed: reading and writing PyTorch's files happens elsewhere.

    table = TABLES["r2plus1d_18"]
    params, stats, ignored = from_torch(state_dict, table, params, stats)
    state_dict = to_torch(params, stats, table)
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from echojax.errors import UserError

# DataParallel puts this in front of every name.
PARALLEL_PREFIX = "module."
BATCH_COUNT = "num_batches_tracked"


class Leaf(NamedTuple):
    """One tensor of a module: its last name in PyTorch and here, and whether it is a running statistic."""

    torch: str
    ours: str
    is_stat: bool = False


WEIGHTED = (Leaf("weight", "kernel"), Leaf("bias", "bias"))
NORM = (
    Leaf("weight", "scale"),
    Leaf("bias", "bias"),
    Leaf("running_mean", "mean", is_stat=True),
    Leaf("running_var", "var", is_stat=True),
)


class Row(NamedTuple):
    """One module: its PyTorch name, its path here and its tensors. `{layer}` and `{block}` stand for numbers."""

    torch: str
    ours: str
    leaves: tuple[Leaf, ...]

    def at(self, layer: int, block: int) -> "Row":
        """This row for one block of one layer."""
        return Row(self.torch.format(layer=layer, block=block), self.ours.format(layer=layer, block=block), self.leaves)


@dataclasses.dataclass(frozen=True)
class Table:
    """A residual network: modules before its blocks, those of each block, those after, in PyTorch's order.

    `ignored` maps the beginnings of names that a checkpoint may hold and this network has no place for to the reason.
    """

    network: str
    before: tuple[Row, ...]
    block: tuple[Row, ...]
    after: tuple[Row, ...]
    ignored: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def rows(self, names: Mapping[str, Any]) -> Iterator[Row]:
        """The rows of the modules that occur in `names` (ours), layers and blocks counted out, in PyTorch's order."""
        for row in itertools.chain(self.before, self._blocks(names), self.after):
            if any(f"{row.ours}.{leaf.ours}" in names for leaf in row.leaves):
                yield row

    def _blocks(self, names: Mapping[str, Any]) -> Iterator[Row]:
        modules = {name.rpartition(".")[0] for name in names}
        for layer in range(1, 5):
            for block in itertools.count():
                rows = [row.at(layer, block) for row in self.block]
                if not any(row.ours in modules for row in rows):
                    break
                yield from rows


def _conv_norm(torch_conv: str, torch_norm: str, ours: str) -> tuple[Row, Row]:
    return Row(torch_conv, f"{ours}.conv", WEIGHTED), Row(torch_norm, f"{ours}.bn", NORM)


def _bottleneck(block: str) -> tuple[Row, ...]:
    convs = [Row(f"{block}.conv{i}", f"{block}.conv{i}", WEIGHTED) for i in (1, 2, 3)]
    norms = [Row(f"{block}.bn{i}", f"{block}.bn{i}", NORM) for i in (1, 2, 3)]
    shortcut = _conv_norm(f"{block}.downsample.0", f"{block}.downsample.1", f"{block}.downsample")
    return *itertools.chain(*zip(convs, norms, strict=True)), *shortcut


_BLOCK = "layer{layer}.{block}"
_SHORTCUT = _conv_norm(f"{_BLOCK}.downsample.0", f"{_BLOCK}.downsample.1", f"{_BLOCK}.downsample")
_FC = (Row("fc", "fc", WEIGHTED),)

DEEPLAB = Table(
    network="deeplabv3_resnet50",
    before=(Row("backbone.conv1", "backbone.conv1", WEIGHTED), Row("backbone.bn1", "backbone.bn1", NORM)),
    block=_bottleneck(f"backbone.{_BLOCK}"),
    after=(
        *_conv_norm("classifier.0.convs.0.0", "classifier.0.convs.0.1", "aspp.branches.0"),
        *_conv_norm("classifier.0.convs.1.0", "classifier.0.convs.1.1", "aspp.branches.1"),
        *_conv_norm("classifier.0.convs.2.0", "classifier.0.convs.2.1", "aspp.branches.2"),
        *_conv_norm("classifier.0.convs.3.0", "classifier.0.convs.3.1", "aspp.branches.3"),
        # Module 0 of this branch is the pooling.
        *_conv_norm("classifier.0.convs.4.1", "classifier.0.convs.4.2", "aspp.pooled"),
        *_conv_norm("classifier.0.project.0", "classifier.0.project.1", "aspp.project"),
        Row("classifier.1", "conv", WEIGHTED),
        Row("classifier.2", "bn", NORM),
        Row("classifier.4", "out", WEIGHTED),
    ),
    ignored={"aux_classifier.": "the auxiliary head of COCO weights; CSS trains without one"},
)

R2PLUS1D = Table(
    network="r2plus1d_18",
    before=(*_conv_norm("stem.0", "stem.1", "stem.spatial"), *_conv_norm("stem.3", "stem.4", "stem.temporal")),
    block=(
        *_conv_norm(f"{_BLOCK}.conv1.0.0", f"{_BLOCK}.conv1.0.1", f"{_BLOCK}.conv1.spatial"),
        *_conv_norm(f"{_BLOCK}.conv1.0.3", f"{_BLOCK}.conv1.1", f"{_BLOCK}.conv1.temporal"),
        *_conv_norm(f"{_BLOCK}.conv2.0.0", f"{_BLOCK}.conv2.0.1", f"{_BLOCK}.conv2.spatial"),
        *_conv_norm(f"{_BLOCK}.conv2.0.3", f"{_BLOCK}.conv2.1", f"{_BLOCK}.conv2.temporal"),
        *_SHORTCUT,
    ),
    after=_FC,
)

MC3 = Table(
    network="mc3_18",
    before=_conv_norm("stem.0", "stem.1", "stem"),
    block=(
        *_conv_norm(f"{_BLOCK}.conv1.0", f"{_BLOCK}.conv1.1", f"{_BLOCK}.conv1"),
        *_conv_norm(f"{_BLOCK}.conv2.0", f"{_BLOCK}.conv2.1", f"{_BLOCK}.conv2"),
        *_SHORTCUT,
    ),
    after=_FC,
)

TABLES = {table.network: table for table in (DEEPLAB, R2PLUS1D, MC3, dataclasses.replace(MC3, network="r3d_18"))}


class Ported(NamedTuple):
    """A network from PyTorch: parameters and running statistics under our names; what was left out and why."""

    params: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    ignored: dict[str, str]


def from_torch(
    state_dict: Mapping[str, np.ndarray],
    table: Table,
    params: Mapping[str, Any],
    stats: Mapping[str, Any],
    source: str = "the state dict",
) -> Ported:
    """Converts a PyTorch state dict to the network whose names and shapes `params` and `stats` give.

    `params` and `stats` may hold anything with a shape (arrays or `jax.ShapeDtypeStruct`). Every tensor on either
    side is accounted for: otherwise a UserError lists all that is missing, left over or of another shape. `source` is
    the file that it names.
    """
    wanted = {**params, **stats}
    found = {name.removeprefix(PARALLEL_PREFIX): np.asarray(tensor) for name, tensor in state_dict.items()}
    ported, used, problems = Ported({}, {}, {}), set(), []
    for torch_name, name, leaf in _tensors(table, wanted):
        used.add(torch_name)
        if torch_name not in found:
            problems.append(f"missing: {torch_name} {_torch_shape(wanted[name], leaf)}")
        elif found[torch_name].shape != _torch_shape(wanted[name], leaf):
            problems.append(f"{torch_name} is {found[torch_name].shape}, expected {_torch_shape(wanted[name], leaf)}")
        else:
            part = ported.stats if leaf.is_stat else ported.params
            tensor = found[torch_name].astype(np.float32)
            part[name] = _kernel_from_torch(tensor) if leaf.ours == "kernel" else tensor
    for torch_name in found.keys() - used:
        reason = _why_ignored(torch_name, table)
        if reason:
            ported.ignored[torch_name] = reason
        else:
            problems.append(f"not part of the network: {torch_name} {found[torch_name].shape}")
    if problems:
        listed = "; ".join(sorted(problems))
        raise UserError(f"{source} does not fit {table.network}: {len(problems)} differences; {listed}")
    return ported


def to_torch(
    params: Mapping[str, Any], stats: Mapping[str, Any], table: Table, num_batches: int = 0
) -> dict[str, np.ndarray]:
    """The PyTorch state dict of a network, in PyTorch's order and without `module.`.

    `num_batches` becomes every norm's `num_batches_tracked`, which nothing reads at a fixed momentum.
    """
    arrays, tensors, done = {**params, **stats}, {}, set()
    for torch_name, name, leaf in _tensors(table, arrays):
        array = np.asarray(arrays[name], np.float32)
        tensors[torch_name] = _kernel_to_torch(array) if leaf.ours == "kernel" else array
        done.add(name)
        if leaf == NORM[-1]:
            module = torch_name.removesuffix(leaf.torch)
            tensors[f"{module}{BATCH_COUNT}"] = np.array(num_batches, np.int64)
    if arrays.keys() - done:
        raise UserError(f"no PyTorch name in {table.network} for: {', '.join(sorted(arrays.keys() - done))}")
    return tensors


def _tensors(table: Table, names: Mapping[str, Any]) -> Iterator[tuple[str, str, Leaf]]:
    """PyTorch's name, our name and the leaf of every tensor of a network, in PyTorch's order."""
    for row in table.rows(names):
        for leaf in row.leaves:
            if f"{row.ours}.{leaf.ours}" in names:
                yield f"{row.torch}.{leaf.torch}", f"{row.ours}.{leaf.ours}", leaf


def _why_ignored(torch_name: str, table: Table) -> str | None:
    if torch_name.endswith(BATCH_COUNT):
        return "counts batches, which nothing reads at a fixed momentum"
    return next((reason for start, reason in table.ignored.items() if torch_name.startswith(start)), None)


def _torch_shape(array: Any, leaf: Leaf) -> tuple[int, ...]:
    if leaf.ours != "kernel":
        return tuple(array.shape)
    *taps, num_in, num_out = array.shape
    return num_out, num_in, *taps


def _kernel_from_torch(tensor: np.ndarray) -> np.ndarray:
    return np.transpose(tensor, (*range(2, tensor.ndim), 1, 0))


def _kernel_to_torch(kernel: np.ndarray) -> np.ndarray:
    last = kernel.ndim - 1
    return np.ascontiguousarray(np.transpose(kernel, (last, last - 1, *range(last - 1))))
