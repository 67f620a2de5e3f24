"""How this process uses the machine: what the libraries beneath would not choose by themselves."""

from __future__ import annotations

import ctypes
import os

# How long a thread of torch's spins before it sleeps. The library's own default is so long that
# two programs on the same cores stop each other (measured: 12 times slower); this is as fast alone.
SPINS = "3000"

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as <malloc.h> numbers them
LARGEST = 2**31 - 1  # that `mallopt` takes


def spin_briefly() -> None:
    """Tell the thread library, which reads this when torch is loaded."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def speak_alone() -> None:
    """Tell torch's C++ to keep its words, with stack frames, to itself: a mistake is one line."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")


def keep_memory() -> None:
    """Keep what is freed rather than giving it back, to ask for it again at the next step.

    The system gives memory out as zeros, a page at a time: of a training step over 512 timesteps
    that took half of the time (docs/performance.md). Where the C library is not glibc, nothing
    changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, LARGEST)
        mallopt(M_MMAP_THRESHOLD, LARGEST)
