"""The memory table: what is measured beside what the compiled program says."""

import subprocess
import sys

import pytest

from benchmarks import memory

# In a process of its own: another test's threads and garbage give memory back while this one takes some.
GROWTH = """
import numpy as np
from benchmarks.memory import growth_mb
np.ones(30_000_000)  # 240 MB, and free again
kept = []
print(growth_mb(lambda: kept.append(np.ones(10_000_000))), growth_mb(lambda: None))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of its processes")
def test_growth_is_that_of_the_work_alone():
    process = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    of_80_mb, of_nothing = map(float, process.stdout.split())
    assert 75 < of_80_mb < 130
    assert of_nothing < 20


def test_the_table_says_what_one_more_example_takes():
    rows = [
        dict(stage="seg", batch_size=2, state_mb=300.0, batch_mb=1.0, temporary_mb=99.0, measured_mb=110.0),
        dict(stage="seg", batch_size=4, state_mb=300.0, batch_mb=2.0, temporary_mb=198.0),
        dict(stage="kd", batch_size=4, state_mb=400.0, batch_mb=2.0, temporary_mb=1998.0),
    ]
    table = memory.describe({"device": "cpu", "dtype": "float32", "jax": "1", "rows": rows})
    *_, first, second, third = table.splitlines()
    assert first == "| seg | 2 | 300 | 1 | 99 | 110 | 400 |  |"
    assert second == "| seg | 4 | 300 | 2 | 198 |  | 500 | 50 |"
    assert third == "| kd | 4 | 400 | 2 | 1,998 |  | 2,400 |  |"
