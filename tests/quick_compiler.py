"""XLA as a quick compiler of slow programs: a quarter of the time to compile, two to three times that of a step.

For tests of whole runs with tiny networks, most of whose time would be compiling. What compares numbers with those of
others is compiled as users compile it.
"""

import functools
from collections.abc import Callable

import jax

_OPTIONS = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


@functools.cache
def options() -> dict[str, int | bool]:
    """Options for CPUs, those that the installed jaxlib knows: an unknown one in XLA_FLAGS would abort a process."""

    def is_known(name: str) -> bool:
        try:
            jax.jit(lambda x: x, compiler_options={name: _OPTIONS[name]}).lower(0.0).compile()
        except jax.errors.JaxRuntimeError as error:
            assert "No such compile option" in str(error), error
            return False
        return True

    return {name: value for name, value in _OPTIONS.items() if jax.default_backend() == "cpu" and is_known(name)}


def jit(function: Callable, **settings) -> Callable:
    """`jax.jit` with them."""
    return jax.jit(function, compiler_options=options(), **settings)


def flags() -> str:
    """The same for the variable XLA_FLAGS of a process."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options().items())
