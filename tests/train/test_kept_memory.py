"""Memory that a training process has used stays with it."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import jax, jax.numpy as jnp
from echojax.train.memory import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

@jax.jit
def program(x):  # an intermediate of 67 MB, which is more than the C library keeps by itself
    return x @ x.T @ x

x = jnp.ones((4096, 8))

def new_pages():
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    program(x).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin

# In a run's first steps the last one's block may not be free yet when the next is asked for.
print(min([new_pages() for _ in range(20)][-5:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="told to the GNU C library")
def test_a_program_finds_the_memory_of_its_last_run():
    pages = {
        how: int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, check=True).stdout)
        for how in ("kept", "given back")
    }
    assert pages["kept"] < 100 and pages["given back"] > 10_000, pages
