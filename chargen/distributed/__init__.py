"""Training in several processes: exit codes and errors, importable without torch."""

import os
import sys
import traceback
from collections.abc import Callable

from chargen.errors import ChargenError

PEER_LOST = 75  # EX_TEMPFAIL of sysexits.h: starting again may succeed


class PeerError(ChargenError):
    """Another process of the group failed, was killed or stopped responding."""

    exit_code = PEER_LOST


def run(work: Callable[[], int]) -> int:
    """Return the exit code that ``work`` returns; a process of a group exits with it instead.

    In a broken group, torch's threads can abort Python's finalization and replace the exit code.
    """
    try:
        code = work()
    except BaseException:
        if not _in_group():
            raise
        traceback.print_exc()
        code = 1
    if _in_group():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _in_group() -> bool:
    torch_distributed = sys.modules.get("torch.distributed")
    return torch_distributed is not None and torch_distributed.is_initialized()
