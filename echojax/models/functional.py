"""Networks as pure functions of plain dictionaries, which is how everything here trains, saves and ports them.

    definition, params, stats = split(DeepLabV3(rng=np.random.default_rng(0)))
    outputs, stats = apply(definition, params, stats, images, train=True, groups=(20, 20, 40), key=key)

`params` and `stats` are flat: `{"backbone.layer1.0.conv1.kernel": array, ...}`. Names are the attribute paths of the
network, joined by dots, so that checkpoints, logs and the tables of `echojax.porting` speak of the same things.
"""

from collections.abc import Callable

from flax import nnx
from jaxtyping import Array

from echojax.models.layers import Groups

Arrays = dict[str, Array]
Definition = nnx.GraphDef


def split(model: nnx.Module) -> tuple[Definition, Arrays, Arrays]:
    """Returns a network's structure (hashable: may be a static argument), parameters and running statistics."""
    definition, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return definition, _flatten(params), _flatten(stats)


def merge(definition: Definition, params: Arrays, stats: Arrays) -> nnx.Module:
    """Returns a network with these parameters and statistics, sharing no state with any other."""
    # copy: batch norm inside of a gradient would otherwise write into variables of an outer trace.
    return nnx.merge(definition, _unflatten(params, nnx.Param), _unflatten(stats, nnx.BatchStat), copy=True)


def apply(
    definition: Definition,
    params: Arrays,
    stats: Arrays,
    x: Array,
    *,
    train: bool,
    groups: Groups | None = None,
    key: Array | None = None,
) -> tuple[dict[str, Array], Arrays]:
    """Runs the network; returns its outputs and the running statistics afterwards (unchanged when not in train mode).

    Args:
      definition, params, stats: as `split` returns them.
      x: normalised float32 images (b, h, w, c) or clips (b, t, h, w, c).
      train: whether batch norm uses and records batch statistics, and dropout is on.
      groups: sizes of consecutive examples that are normalised apart, as if passed one after the other. They add up
        to b; None is one group (see `BatchNorm`).
      key: draws dropout; needed in train mode by networks that have it.
    """
    model = merge(definition, params, stats)
    outputs = model(x, train=train, groups=groups, key=key)
    return outputs, _flatten(nnx.state(model, nnx.BatchStat))


def abstract(build: Callable[[], nnx.Module]) -> tuple[Definition, Arrays, Arrays]:
    """`split(build())` with `jax.ShapeDtypeStruct` in place of arrays, for restoring and for counting."""
    definition, params, stats = nnx.split(nnx.eval_shape(build), nnx.Param, nnx.BatchStat)
    return definition, _flatten(params), _flatten(stats)


def _flatten(state: nnx.State) -> Arrays:
    return {".".join(map(str, path)): variable.get_value() for path, variable in nnx.to_flat_state(state)}


def _unflatten(arrays: Arrays, kind: type[nnx.Variable]) -> nnx.State:
    # Blocks are numbered in lists, whose positions are integers.
    paths = (tuple(int(part) if part.isdigit() else part for part in name.split(".")) for name in arrays)
    return nnx.from_flat_state({path: kind(array) for path, array in zip(paths, arrays.values(), strict=True)})
