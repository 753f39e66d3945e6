"""The loop that trains every stage: dispatch a step, log the one before, validate, keep the best, survive anything."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import optax
from tqdm import tqdm

from echojax.data import Batches
from echojax.errors import UserError
from echojax.networks import Network
from echojax.preprocessing import Preprocessing
from echojax.train import processes
from echojax.train.checkpoint import Checkpoints, Metadata, load_metadata, load_state
from echojax.train.logs import Log, NoLog
from echojax.train.mesh import (
    check_divides,
    localise,
    make_training_mesh,
    place,
    put_batch,
    state_shardings,
)
from echojax.train.optimiser import make_optimiser, make_schedule
from echojax.train.state import TrainState, initial_state
from echojax.train.step import CompiledStep, LossFunction, compile_step, make_train_step

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Stage:
    """All that the loop knows of a stage.

    Attributes:
      name: as in the config.
      network: the network that is trained, with its initial weights.
      preprocessing: what that network expects of its input.
      batches: training data.
      loss: see `LossFunction`.
      validate: (params, stats) -> metrics on VAL.
      criterion: the metric of `validate` that chooses the best checkpoint; lower is better.
      constants: arrays that the loss reads and training leaves alone, such as a teacher's weights.
      sums_examples: the loss is a sum over examples rather than their mean; gradient accumulation adds up its parts.
      notes: lines that tell the user what was found and decided.
    """

    name: str
    network: Network
    preprocessing: Preprocessing
    batches: Batches
    loss: LossFunction
    validate: Callable[[PyTree, PyTree], dict[str, float]]
    criterion: str
    constants: PyTree = dataclasses.field(default_factory=dict)
    sums_examples: bool = False
    notes: tuple[str, ...] = ()


class NonFiniteLoss(UserError):
    """The loss of a step is not a number."""


@dataclasses.dataclass
class Timing:
    """Where the time of a training run went, in seconds."""

    compile: float = 0.0
    data_wait: float = 0.0
    steps: float = 0.0
    validation: float = 0.0
    checkpoint: float = 0.0
    num_steps: int = 0

    @contextlib.contextmanager
    def count(self, field: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        setattr(self, field, getattr(self, field) + time.perf_counter() - begin)

    def describe(self) -> str:
        if not self.num_steps:
            return "no step was left to do"
        step_ms = 1000 * self.steps / self.num_steps
        wait = 100 * self.data_wait / (self.data_wait + self.steps)
        return (
            f"{self.num_steps} steps of {step_ms:.0f} ms (data wait {wait:.1f} %), compile {self.compile:.1f} s, "
            f"validation {self.validation:.1f} s, checkpoints {self.checkpoint:.1f} s"
        )


def train(stage: Stage, config, workdir: Path, versions: dict) -> Timing:
    """Trains a stage to its last step, resuming from the newest checkpoint of `workdir`.

    Raises:
      NonFiniteLoss: at the first loss that is not finite, naming step and videos; no later checkpoint is written.
    """
    return _Run(stage, config, workdir, versions).run()


class _Run:
    """One training run; holds what the parts of the loop share."""

    def __init__(self, stage: Stage, config, workdir: Path, versions: dict):
        self.stage, self.config, self.versions = stage, config, versions
        self.mesh = make_training_mesh()
        check_divides(self.mesh, "train.batch_size", config.train.batch_size, config.train.accumulate)
        self.batches = stage.batches.of_host(jax.process_index(), jax.process_count(), self.mesh.size)
        self.steps_per_epoch = stage.batches.steps_per_epoch
        self.num_steps = config.train.num_epochs * self.steps_per_epoch
        self.optimiser = self._make_optimiser()
        if config.train.max_steps >= 0:  # stops a run early; the schedule stays that of the whole one
            self.num_steps = min(self.num_steps, config.train.max_steps)
        self.checkpoints = Checkpoints(workdir, config.train.keep_checkpoints)
        self.timing = Timing()
        self.state, self.best, self.best_step = self._resume()
        self.constants = place(stage.constants, state_shardings(self.mesh, stage.constants, shard_params=False))
        self.log = Log(workdir, int(self.state.step)) if processes.is_first() else NoLog()

    def run(self) -> Timing:
        first_step = int(self.state.step)
        if first_step >= self.num_steps or self._has_lost_patience(first_step):
            self.log.close()
            return self.timing
        train = self.config.train
        batches = self.batches.iterate(first_step, self.num_steps, train.num_threads, train.prefetch)
        batch_sizes = {name: stream.batch_size for name, stream in self.batches.streams.items()}
        compiled, pending = None, None
        progress = tqdm(
            total=self.num_steps,
            initial=first_step,
            desc=f"{self.stage.name}: training",
            unit="step",
            mininterval=0.5,
            disable=not processes.is_first(),
        )
        with contextlib.closing(self.log), progress:
            for step in range(first_step, self.num_steps):
                with self.timing.count("data_wait"):
                    batch = put_batch(self.mesh, next(batches), batch_sizes)
                if compiled is None:
                    compiled = self._compile(batch)
                with self.timing.count("steps"):
                    self.state, metrics = compiled.run(self.state, self.constants, batch)
                    # The metrics of the step before are fetched now that this one is under way: the device never waits.
                    self._log_training(pending, progress)
                    pending = (step, metrics)
                    if self._saves_after(step + 1):
                        self._log_training(pending, progress)
                        pending = None
                self.timing.num_steps += 1
                progress.update()
                if self._saves_after(step + 1):
                    self._pause(step + 1)
                if self._has_lost_patience(step + 1):
                    progress.write(f"{self.stage.name}: stopped after step {step + 1}, the best was {self.best_step}")
                    break
        return self.timing

    def _make_optimiser(self) -> optax.GradientTransformation:
        settings = self.config.optimiser
        rate = make_schedule(settings, self.num_steps, self.steps_per_epoch)
        return make_optimiser(rate, settings.momentum, settings.weight_decay, settings.name)

    def _resume(self) -> tuple[TrainState, float | None, int | None]:
        network = self.stage.network
        fresh = initial_state(network.params, network.stats, self.optimiser, self.config.seed)
        newest = self.checkpoints.newest()
        shard_params = self.config.mesh.shard_params
        if newest is None:
            return place(fresh, state_shardings(self.mesh, fresh, shard_params)), None, None
        metadata = load_metadata(newest)
        self._check_same_run(newest, metadata)
        return load_state(newest, fresh, self.mesh, shard_params), metadata.best, metadata.best_step

    def _check_same_run(self, path: Path, saved: Metadata) -> None:
        """Raises UserError when a run would go on as another stage or network, or with batches in another order."""
        expected = {"stage": self.stage.name, "network": self.stage.network.description, "seed": self.config.seed}
        found = {"stage": saved.stage, "network": saved.network, "seed": saved.iterator.get("seed")}
        for what, value in expected.items():
            if found[what] != value:
                raise UserError(
                    f"{path} was made with {what} {found[what]}, this run has {value}; give another --workdir, or "
                    "delete this one to begin anew"
                )

    def _compile(self, batch: PyTree) -> CompiledStep:
        train_step = make_train_step(
            self.stage.loss, self.optimiser, self.config.train.accumulate, self.stage.sums_examples, self.mesh
        )
        compiled = compile_step(train_step, self.mesh, self.state, self.constants, batch)
        self.timing.compile = compiled.compile_seconds
        return compiled

    @property
    def _validation_steps(self) -> int:
        return self.config.validation.every_epochs * self.steps_per_epoch

    def _validates_after(self, steps_done: int) -> bool:
        return steps_done == self.num_steps or steps_done % self._validation_steps == 0

    def _has_lost_patience(self, steps_done: int) -> bool:
        """Whether `train.patience` validations have passed since the best one."""
        patience = self.config.train.patience
        if patience <= 0 or self.best_step is None:
            return False
        return steps_done - self.best_step >= patience * self._validation_steps

    def _saves_after(self, steps_done: int) -> bool:
        train = self.config.train
        every_epochs = train.checkpoint_epochs * self.steps_per_epoch
        within_epoch = train.checkpoint_steps > 0 and steps_done % train.checkpoint_steps == 0
        return self._validates_after(steps_done) or steps_done % every_epochs == 0 or within_epoch

    def _pause(self, steps_done: int) -> None:
        """Validates if it is time to, keeps the best, saves."""
        improved = False
        if self._validates_after(steps_done):
            with self.timing.count("validation"):
                metrics = self.stage.validate(*localise((self.state.params, self.state.stats)))
            self.log.write(steps_done, "validation", metrics)
            value = metrics[self.stage.criterion]
            # A value that is not a number never counts as better.
            improved = math.isfinite(value) and (self.best is None or value < self.best)
            if improved:
                self.best, self.best_step = value, steps_done
        with self.timing.count("checkpoint"):
            # The best value is updated before anything is saved: the original saves it stale, and a resumed run may
            # then replace its best checkpoint by a worse one.
            metadata = self._metadata(steps_done)
            if improved:
                self.checkpoints.save_best(self.state, metadata)
            self.checkpoints.save(self.state, metadata)

    def _log_training(self, pending: tuple[int, dict] | None, progress: tqdm) -> None:
        if pending is None:
            return
        step, metrics = pending
        metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not math.isfinite(metrics["loss"]):
            names = "; ".join(
                f"{stream}: {', '.join(names)}" for stream, names in self.stage.batches.names(step).items()
            )
            raise NonFiniteLoss(
                f"the loss of step {step + 1} is {metrics['loss']}. Videos of that step: {names}. Look at them, "
                f"or lower optimiser.learning_rate ({self.config.optimiser.learning_rate})"
            )
        if (step + 1) % self.config.train.log_steps == 0 or step + 1 == self.num_steps:
            self.log.write(step + 1, "train", metrics)
            progress.set_postfix(loss=f"{metrics['loss']:.4g}", refresh=False)

    def _metadata(self, steps_done: int) -> Metadata:
        return Metadata(
            stage=self.stage.name,
            network=self.stage.network.description,
            preprocessing=self.stage.preprocessing,
            step=steps_done,
            best=self.best,
            iterator={"seed": self.config.seed, "next_step": steps_done},
            config=json.loads(self.config.to_json_best_effort()),
            versions=self.versions,
            best_step=self.best_step,
        )
