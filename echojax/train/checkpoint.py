"""Checkpoints: the one place that knows Orbax.

    runs/<stage>/checkpoints/<step>/    the newest few
    runs/<stage>/best/                  the best by the stage's criterion

Each holds the state (parameters, statistics, optimiser, key) and, as JSON, everything else that is needed to go on or
to be used elsewhere: step, best value, data iterator, network, preprocessing, config and versions. Orbax writes a
checkpoint under a temporary name and renames it, so that one is there whole or not at all. Of several processes each
writes what lies on its devices; any number of processes and devices can read it.
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint.experimental.v1 as ocp
from jax.sharding import Mesh

from echojax.errors import UserError
from echojax.preprocessing import Preprocessing
from echojax.remote import local_folder, publish
from echojax.train import processes
from echojax.train.mesh import make_mesh, replicated, state_shardings
from echojax.train.state import TrainState

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a checkpoint says of itself besides its arrays.

    Attributes:
      stage: the stage that made it, or "port".
      network: arguments of `echojax.models.build_network`.
      preprocessing: what the network expects of its input.
      step: optimiser steps done.
      best: the best value of the stage's criterion so far, this step included; None before the first validation.
      iterator: state of the data iterator.
      config: the run's config.
      versions: of echojax and of the libraries beneath it.
      best_step: optimiser steps done when the criterion had that value.
    """

    stage: str
    network: dict
    preprocessing: Preprocessing
    step: int
    best: float | None
    iterator: dict
    config: dict
    versions: dict
    best_step: int | None = None

    def to_json(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict) -> "Metadata":
        return cls(**{**values, "preprocessing": Preprocessing.from_json(values["preprocessing"])})


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, workdir: Path, keep: int):
        self.directory = Path(workdir).absolute() / "checkpoints"
        self.best_directory = Path(workdir).absolute() / "best"
        self.keep = keep

    def save(self, state: TrainState, metadata: Metadata) -> None:
        """Saves a step and deletes the oldest beyond `keep`."""
        path = self.directory / str(metadata.step)
        if path.exists():  # a resumed run comes by again with the same bits
            return
        _save(path, _parts(state), metadata)
        if processes.is_first():
            for old in _steps(self.directory)[: -self.keep]:
                shutil.rmtree(old)
        publish(self.directory.parent)

    def save_best(self, state: TrainState, metadata: Metadata) -> None:
        """Replaces the best checkpoint."""
        _replace(self.best_directory, _parts(state), metadata)

    def newest(self) -> Path | None:
        """The newest checkpoint, or None."""
        steps = _steps(self.directory)
        return steps[-1] if steps else None


def find_checkpoint(directory: str | Path, made_by: str) -> Path:
    """The checkpoint that a run, a `best` or a step directory holds: a run's best, else its newest step.

    Raises:
      UserError: naming `made_by`, the command that makes it, when there is none.
    """
    directory = local_folder(directory, leave_out=("masks",)).expanduser().absolute()
    if _is_checkpoint(directory):
        return directory
    candidates = [directory / "best", directory / "best.old", *reversed(_steps(directory / "checkpoints"))]
    for candidate in candidates:
        if _is_checkpoint(candidate):
            return candidate
    state = "holds no checkpoint" if directory.exists() else "does not exist"
    raise UserError(f"{directory} {state}; make one with: {made_by}")


def load_metadata(path: Path) -> Metadata:
    """Reads what a checkpoint says of itself."""
    values = ocp.metadata(path).custom_metadata
    if not values or "preprocessing" not in values:
        raise UserError(f"{path} is an Orbax checkpoint, but not one that echojax wrote: it carries no preprocessing")
    return Metadata.from_json(values)


def load_state(path: Path, like: TrainState, mesh: Mesh, shard_params: bool = False) -> TrainState:
    """Restores a state onto a mesh of any number of devices; `like` gives structure, shapes and dtypes."""
    parts = _parts(like)
    shardings = state_shardings(mesh, parts, shard_params)
    abstract = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), parts, shardings)
    restored = ocp.load_checkpointables(path, abstract)
    return TrainState(**restored["weights"], **restored["training"])


def load_weights(path: Path, params: PyTree, stats: PyTree) -> tuple[PyTree, PyTree]:
    """Reads parameters and statistics alone, in the structure and shapes given, onto each of this process's devices."""
    sharding = replicated(make_mesh())
    weights = _weights(params, stats)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), weights)
    restored = ocp.load_checkpointables(path, {"weights": abstract})["weights"]
    return restored["params"], restored["stats"]


def save_weights(workdir: Path, params: PyTree, stats: PyTree, metadata: Metadata) -> None:
    """Writes a network as a run's best checkpoint, to be used or started from; there is no training to go on with."""
    _replace(Path(workdir).absolute() / "best", {"weights": _weights(params, stats)}, metadata)


def _replace(path: Path, parts: dict[str, PyTree], metadata: Metadata) -> None:
    """Writes a checkpoint in the place of another; killed meanwhile, it leaves the old or the new one, whole."""
    new, old = path.with_name(f"{path.name}.new"), path.with_name(f"{path.name}.old")
    processes.first_does(lambda: shutil.rmtree(new, ignore_errors=True))
    _save(new, parts, metadata)

    def rename() -> None:
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        new.rename(path)
        shutil.rmtree(old, ignore_errors=True)

    processes.first_does(rename)


def _save(path: Path, parts: dict[str, PyTree], metadata: Metadata) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ocp.save_checkpointables(path, parts, custom_metadata=metadata.to_json())


def _parts(state: TrainState) -> dict[str, dict[str, PyTree]]:
    """What is needed to use a network and what only to go on training it, so that either can be read alone."""
    return {
        "weights": _weights(state.params, state.stats),
        "training": {"step": state.step, "optimiser": state.optimiser, "key": state.key},
    }


def _weights(params: PyTree, stats: PyTree) -> dict[str, PyTree]:
    return {"params": params, "stats": stats}


def _is_checkpoint(path: Path) -> bool:
    # `ocp.is_orbax_checkpoint` takes an empty folder, or one that holds an empty folder, for a checkpoint.
    return (path / "_CHECKPOINT_METADATA").is_file()


def _steps(directory: Path) -> list[Path]:
    """Checkpoints of a directory, oldest first; what a killed run left under a temporary name is no checkpoint."""
    if not directory.is_dir():
        return []
    return sorted((path for path in directory.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
