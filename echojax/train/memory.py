"""Memory that a process on a CPU has used stays with it: a training step need not ask the system for it again.

XLA asks for a program's intermediates at its start and frees them at its end, hundreds of megabytes at once, which the
C library maps and unmaps every time: a step of R(2+1)D-18 on one clip touches 180,000 new pages, each emptied by the
system first. It takes a tenth to a fifth longer for that (docs/performance.md).
"""

import ctypes
import platform

import jax

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER, _NONE = -1, 0


def keep_freed_memory() -> bool:
    """Lets this process keep freed memory for its next use, if it computes on a CPU with the GNU C library.

    Only the main thread's heap can hold blocks of any size, so programs have to run in it: they are no longer
    dispatched to a thread of JAX's own, which is settled when JAX first looks for devices. Call it before that, in the
    main thread; later it does no harm and little good. The process then stays as large as it ever was.

    Returns:
      whether memory is kept.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if jax.default_backend() != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, _NONE) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
