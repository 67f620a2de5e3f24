"""Process-wide settings of the libraries underneath: threads, logging and memory."""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from collections.abc import Callable

# Spin count of torch's threads before they sleep. With the library's default, two programs on the
# same cores slow each other down (measured: 12 times); this value is as fast for one program.
SPIN_COUNT = "3000"

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
LARGEST_THRESHOLD = 2**31 - 1  # that `mallopt` accepts


def configure_torch() -> None:
    """Set what torch's libraries read when they are loaded.

    These are the spin count, and that C++ messages and stack frames stay off standard error.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")


def keep_memory() -> None:
    """Keep freed memory in the process, on glibc.

    The kernel zeroes every page that it hands out again, which took half of a training step over
    512 timesteps (docs/explanation/performance.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, LARGEST_THRESHOLD)
        mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)


def run_in_group(work: Callable[[], int]) -> int:
    """Return the exit code that ``work`` returns; a process of a group exits with it instead.

    In a broken group, torch's threads can abort Python's finalization and replace the exit code.
    """
    code = 1
    try:
        code = work()
    except BaseException:
        if not _in_group():
            raise
        traceback.print_exc()
    if _in_group():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _in_group() -> bool:
    torch_distributed = sys.modules.get("torch.distributed")
    return torch_distributed is not None and torch_distributed.is_initialized()
