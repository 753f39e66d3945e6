"""PyTorch names <-> our names, as tables, and the conversion of whole networks between them.

A `Table` lists a network's PyTorch modules in PyTorch's order, each beside its path here and the tensors it holds.
Kernels are turned from (out, in, *taps) to (*taps, in, out), linear layers alike; everything else keeps its shape.
Only NumPy is needed: reading and writing PyTorch's files happens elsewhere, as does the recognition of a network.

    TABLE = Table(
        network="my_network",
        entries=(
            Row("", "", (Leaf("logit_scale", "logit_scale"),)),              # a parameter of the network itself
            Repeat("layer", (                                                # blocks.0, blocks.1, ... while there are
                Row("blocks.{layer}.conv", "blocks.{layer}.conv", WEIGHTED),
                Row("blocks.{layer}.norm", "blocks.{layer}.bn", NORM),
            )),
        ),
    )
    params, stats, ignored = from_torch(state_dict, TABLE, params, stats)
    state_dict = to_torch(params, stats, TABLE)
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from echojax.errors import UserError

BATCH_COUNT = "num_batches_tracked"


class Leaf(NamedTuple):
    """One tensor of a module: its last name in PyTorch and here.

    `is_stat` marks a running statistic, `is_kernel` a tensor (out, in, *taps) that we keep as (*taps, in, out).
    """

    torch: str
    ours: str
    is_stat: bool = False
    is_kernel: bool = False


WEIGHTED = (Leaf("weight", "kernel", is_kernel=True), Leaf("bias", "bias"))
"""A convolution (depthwise ones too) or a linear layer, with or without bias."""

NORM = (
    Leaf("weight", "scale"),
    Leaf("bias", "bias"),
    Leaf("running_mean", "mean", is_stat=True),
    Leaf("running_var", "var", is_stat=True),
)
"""Batch norm."""

LAYER_NORM = NORM[:2]


class Row(NamedTuple):
    """One module: its PyTorch name, its path here and its tensors. `{counter}` stands for a number of a `Repeat`."""

    torch: str
    ours: str
    leaves: tuple[Leaf, ...]

    def at(self, numbers: Mapping[str, int]) -> "Row":
        """This row with its counters filled in."""
        return Row(self.torch.format_map(numbers), self.ours.format_map(numbers), self.leaves)


class Repeat(NamedTuple):
    """Modules that occur once per number: `counter` runs from `start` for as long as any of them is there.

    `derived` gives further numbers, for instance where PyTorch counts layers and norms through.
    """

    counter: str
    entries: "tuple[Row | Repeat, ...]"
    start: int = 0
    derived: Mapping[str, Callable[[int], int]] = {}


@dataclasses.dataclass(frozen=True)
class Table:
    """A network: its modules in PyTorch's order.

    `ignored` maps the beginnings of names that a checkpoint may hold and this network has no place for to the reason.
    """

    network: str
    entries: tuple[Row | Repeat, ...]
    ignored: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def rows(self, names: Mapping[str, Any]) -> Iterator[Row]:
        """The rows of the modules that occur in `names` (ours), counters filled in, in PyTorch's order."""
        yield from _expand(self.entries, names, {})


def _expand(entries: tuple[Row | Repeat, ...], names: Mapping[str, Any], numbers: dict[str, int]) -> Iterator[Row]:
    for entry in entries:
        if isinstance(entry, Row):
            row = entry.at(numbers)
            if any(_join(row.ours, leaf.ours) in names for leaf in row.leaves):
                yield row
            continue
        for number in itertools.count(entry.start):
            derived = {name: function(number) for name, function in entry.derived.items()}
            rows = list(_expand(entry.entries, names, {**numbers, entry.counter: number, **derived}))
            if not rows:
                break
            yield from rows


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
    """Converts a PyTorch state dict to float32 arrays of the network whose names and shapes `params` and `stats` give.

    `params` and `stats` may hold anything with a shape (arrays or `jax.ShapeDtypeStruct`). Every tensor on either
    side is accounted for: otherwise a UserError lists all that is missing, left over, of another shape or not finite.
    `source` is the file that it names.
    """
    wanted = {**params, **stats}
    ported, used, problems = Ported({}, {}, {}), set(), []
    for torch_name, name, leaf in _tensors(table, wanted):
        used.add(torch_name)
        problem = _check_tensor(torch_name, state_dict.get(torch_name), _torch_shape(wanted[name], leaf))
        if problem:
            problems.append(problem)
            continue
        tensor = np.asarray(state_dict[torch_name]).astype(np.float32, copy=False)
        part = ported.stats if leaf.is_stat else ported.params
        part[name] = _kernel_from_torch(tensor) if leaf.is_kernel else tensor
    for torch_name in state_dict.keys() - used:
        reason = _why_ignored(torch_name, table)
        if reason:
            ported.ignored[torch_name] = reason
        else:
            problems.append(f"not part of the network: {torch_name} {np.shape(state_dict[torch_name])}")
    problems += [f"no PyTorch name for: {name}" for name in wanted.keys() - _all_ours(table, wanted)]
    if problems:
        listed = "; ".join(sorted(problems))
        differences = "1 difference" if len(problems) == 1 else f"{len(problems)} differences"
        raise UserError(f"{source} does not fit {table.network}: {differences}; {listed}")
    return ported


def to_torch(
    params: Mapping[str, Any], stats: Mapping[str, Any], table: Table, num_batches: int | Mapping[str, int] = 0
) -> dict[str, np.ndarray]:
    """The PyTorch state dict of a network in float32, in PyTorch's order and without prefixes.

    `num_batches` becomes every norm's `num_batches_tracked`, which nothing reads at a fixed momentum: one number, or
    one for each of those names that are to be there.
    """
    arrays, tensors = {**params, **stats}, {}
    nameless = arrays.keys() - _all_ours(table, arrays)
    if nameless:
        raise UserError(f"no PyTorch name in {table.network} for: {', '.join(sorted(nameless))}")
    for torch_name, name, leaf in _tensors(table, arrays):
        array = np.asarray(arrays[name], np.float32)
        tensors[torch_name] = _kernel_to_torch(array) if leaf.is_kernel else array
        if leaf == NORM[-1]:
            counter = torch_name.removesuffix(leaf.torch) + BATCH_COUNT
            count = num_batches.get(counter) if isinstance(num_batches, Mapping) else num_batches
            if count is not None:
                tensors[counter] = np.array(count, np.int64)
    return tensors


def _tensors(table: Table, names: Mapping[str, Any]) -> Iterator[tuple[str, str, Leaf]]:
    """PyTorch's name, our name and the leaf of every tensor of a network, in PyTorch's order."""
    for row in table.rows(names):
        for leaf in row.leaves:
            name = _join(row.ours, leaf.ours)
            if name in names:
                yield _join(row.torch, leaf.torch), name, leaf


def _all_ours(table: Table, names: Mapping[str, Any]) -> set[str]:
    return {name for _, name, _ in _tensors(table, names)}


def _join(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if module else leaf


def _check_tensor(torch_name: str, tensor: np.ndarray | None, expected: tuple[int, ...]) -> str | None:
    """What is wrong with a source tensor, in words."""
    if tensor is None:
        return f"missing: {torch_name} {expected}"
    if np.shape(tensor) != expected:
        return f"{torch_name} is {np.shape(tensor)}, expected {expected}"
    num_bad = int(np.size(tensor) - np.count_nonzero(np.isfinite(tensor)))
    return f"{torch_name} holds {num_bad} values that are not finite, of {np.size(tensor)}" if num_bad else None


def _why_ignored(torch_name: str, table: Table) -> str | None:
    if torch_name.endswith(BATCH_COUNT):
        return "counts batches, which nothing reads at a fixed momentum"
    return next((reason for start, reason in table.ignored.items() if torch_name.startswith(start)), None)


def _torch_shape(array: Any, leaf: Leaf) -> tuple[int, ...]:
    if not leaf.is_kernel:
        return tuple(array.shape)
    *taps, num_in, num_out = array.shape
    return num_out, num_in, *taps


def _kernel_from_torch(tensor: np.ndarray) -> np.ndarray:
    return np.transpose(tensor, (*range(2, tensor.ndim), 1, 0))


def _kernel_to_torch(kernel: np.ndarray) -> np.ndarray:
    last = kernel.ndim - 1
    return np.ascontiguousarray(np.transpose(kernel, (last, last - 1, *range(last - 1))))
