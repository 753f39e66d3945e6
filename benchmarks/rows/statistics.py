"""The bootstrap against the loop that EchoNet-Dynamic and CSS run."""

import numpy as np

from benchmarks.measuring import Clock, Row, relative_deviation
from benchmarks.sizes import Sizes
from echojax.evaluate import bootstrap, mae


def bootstrap_row(sizes: Sizes, clock: Clock) -> Row:
    """The interval of the mean absolute error; both draw videos with replacement, each with a generator of its own."""
    rng = np.random.default_rng(0)
    ef = rng.uniform(20, 80, sizes.bootstrap_videos)
    predicted = ef + rng.normal(0, 6, len(ef))
    num_samples = sizes.bootstrap_samples

    def ours():
        return bootstrap(mae, predicted, ef, num_samples=num_samples, method="legacy90")

    def theirs():
        """One draw after the other, the metric called on each: sorted, the ends picked."""
        draws = np.random.default_rng(1)
        samples = []
        for _ in range(num_samples):
            rows = draws.choice(len(ef), len(ef))
            samples.append(np.abs(predicted[rows] - ef[rows]).mean())
        samples.sort()
        return samples[round(0.05 * num_samples)], samples[round(0.95 * num_samples)]

    # The ends are random: of 10,000 draws they repeat to a hundredth.
    deviation = relative_deviation([ours().low, ours().high], theirs())
    what = f"{num_samples} draws of {len(ef)} videos, MAE"
    forms = {"Python loop over NumPy": lambda: theirs}
    return clock.against("bootstrap", ours, forms, what, deviation, tolerance=0.02 if num_samples >= 10_000 else 0.2)
