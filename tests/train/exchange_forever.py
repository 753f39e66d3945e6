"""A process that exchanges numbers with the others until it is stopped; prints each exchange.

python exchange_forever.py INDEX/COUNT@HOST:PORT [round in which it meets an input that it cannot use]
"""

import itertools
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from echojax.errors import UserError
from echojax.train import processes


def main(where: str, fails_at: int = -1) -> None:
    """Exchanges the items of each round, a different number of which falls to each process."""
    with processes.joined(where):
        for round_ in itertools.count():
            if round_ == fails_at:
                raise UserError("clip.avi: is empty, expected a video")
            items = [np.arange(size) for size in range(round_ % 3 + 2)]
            gathered = processes.gather([{"item": item} for item in processes.share(items)])
            assert all(np.array_equal(found["item"], item) for found, item in zip(gathered, items, strict=True))
            print(f"round {round_}", file=sys.stderr, flush=True)  # stdout is the first process's alone
            print(f"first: round {round_}", flush=True)
            time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
