"""Process-wide settings of the libraries underneath: threads, logging and memory."""

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from chargen.errors import ChargenError

# Spin count of torch's threads before they sleep. With the library's default, two programs on the
# same cores slow each other down (measured: 12 times); this value is as fast for one program.
SPIN_COUNT = "3000"

LEAST_MEMORY = 9e8  # bytes of address space that torch takes when it is loaded
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
LARGEST_THRESHOLD = 2**31 - 1  # that `mallopt` accepts


def configure_torch() -> None:
    """Set the spin count of torch's threads, and keep C++ messages off standard error."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")


def set_up_memory() -> None:
    """Refuse a memory limit under which torch aborts, and on glibc keep freed memory."""
    # The kernel zeroes every page that it hands out again, half of a step over 512 timesteps.
    if os.name != "posix":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_MEMORY and "torch" not in sys.modules:
        raise ChargenError(
            f"not enough memory: the limit of {limit / 1e6:,.0f} MB is too low for PyTorch; raise "
            f"it to {2 * LEAST_MEMORY / 1e6:,.0f} MB or more (ulimit -v)"
        )
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_TRIM_THRESHOLD, LARGEST_THRESHOLD)
        mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)


@contextlib.contextmanager
def handled(handler: Any, *numbers: int) -> Iterator[None]:
    """Handle signals in a ``with`` block, and then as before."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)


@contextlib.contextmanager
def hangup_ignored() -> Iterator[None]:
    """Let a program continue when its terminal is closed, as under nohup; Windows has no SIGHUP."""
    with handled(signal.SIG_IGN, *(one for one in signal.Signals if one.name == "SIGHUP")):
        yield


def run_in_group(work: Callable[[], int]) -> int:
    """Return the exit code of ``work``; a process of a group exits with it instead."""
    # In a broken group, torch's threads can abort Python's finalization and replace the exit code.
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
