"""The endless, resumable row of batches."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping

import grain
import numpy as np

from echojax.data.examples import Example, ExampleSource, stack
from echojax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Stream:
    """A source of examples and how many of them one step takes, over all hosts."""

    source: ExampleSource
    batch_size: int


class Batches:
    """Batches of one or several streams, indexed by step.

    Attributes:
      steps_per_epoch: full batches that the first stream gives; a last, smaller one is dropped.
    """

    def __init__(self, streams: Mapping[str, Stream], seed: int, host: int = 0, num_hosts: int = 1):
        self.streams = dict(streams)
        self.seed = seed
        self.host, self.num_hosts, self.num_devices = host, num_hosts, num_hosts
        for name, stream in self.streams.items():
            if not len(stream.source):
                raise UserError(f"no {name} video is left to train on; see the counts above for the reasons")
        first = next(iter(self.streams.values()))
        if len(first.source) < first.batch_size:
            raise UserError(
                f"train.batch_size is {first.batch_size}, but only {len(first.source)} labelled videos can be used; "
                "lower it or add videos"
            )
        self.steps_per_epoch = len(first.source) // first.batch_size

    def with_sources(self, change: Callable[[ExampleSource], ExampleSource]) -> "Batches":
        """The same batches of changed sources, which must be as long."""
        batches = copy.copy(self)
        streams = self.streams.items()
        batches.streams = {name: dataclasses.replace(stream, source=change(stream.source)) for name, stream in streams}
        return batches

    def of_host(self, host: int, num_hosts: int, num_devices: int) -> "Batches":
        """The same batches as one of several hosts reads them.

        Of a stream that all devices divide it reads its part. A smaller one, such as the one unlabelled clip of CSS, is
        on every device and therefore read whole by every host.
        """
        of_host = copy.copy(self)
        of_host.host, of_host.num_hosts, of_host.num_devices = host, num_hosts, num_devices
        return of_host

    def names(self, step: int) -> dict[str, list[str]]:
        """Names of the videos of a step's global batch, per stream; for messages."""
        return {
            name: [stream.source.name(int(item)) for item in self._items(number, stream, step)[0]]
            for number, (name, stream) in enumerate(self.streams.items())
        }

    def batch(self, step: int) -> dict[str, dict[str, np.ndarray]]:
        """This host's part of a step's batch: {stream: {field: array with a leading batch axis}}."""
        return {
            name: self._stream_batch(number, stream, step) for number, (name, stream) in enumerate(self.streams.items())
        }

    def _stream_batch(self, number: int, stream: Stream, step: int) -> Example:
        items, places = self._items(number, stream, step)
        if stream.batch_size % self.num_devices == 0:
            local = stream.batch_size // self.num_hosts
            part = slice(self.host * local, (self.host + 1) * local)
            items, places = items[part], places[part]
        epoch = step // self.steps_per_epoch
        examples = (
            stream.source.example(int(item), np.random.default_rng([self.seed, number, epoch, int(place)]))
            for item, place in zip(items, places, strict=True)
        )
        return stack(examples, len(items))

    def _items(self, number: int, stream: Stream, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The items of a step and their places in the epoch; a stream shorter than an epoch is shuffled anew."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        places = step_of_epoch * stream.batch_size + np.arange(stream.batch_size)
        rounds = places // len(stream.source)
        orders = {
            round_: np.random.default_rng([self.seed, number, epoch, round_, 1]).permutation(len(stream.source))
            for round_ in set(rounds.tolist())
        }
        items = [orders[round_][place % len(stream.source)] for round_, place in zip(rounds, places, strict=True)]
        return np.array(items), places

    def iterate(self, first_step: int, num_steps: int, num_threads: int, prefetch: int) -> Iterator[dict]:
        """Batches of steps first_step to num_steps - 1, read ahead by `num_threads` threads in their fixed order."""
        steps = grain.MapDataset.range(first_step, num_steps).map(self.batch)
        return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)))
