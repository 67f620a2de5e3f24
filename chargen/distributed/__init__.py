"""Processes that train together; what ends them, which the command line can know without torch."""

import os
import sys
import traceback
from collections.abc import Callable

from chargen.errors import ChargenError

BROKEN = 75  # after `GroupBrokenError`: trying again may help
TOLD = 76  # after `PeerFailedError`: another process ended with what counts

ends_at_once = False  # whether this process is, or was, one of several


class GroupBrokenError(ChargenError):
    """Another process of the group was lost: killed, cut off, or silent for too long."""

    exit_code = BROKEN


class PeerFailedError(ChargenError):
    """Another process of the group failed and says why itself; this one ends quietly."""

    exit_code = TOLD

    def __init__(self) -> None:
        super().__init__("another process of the group failed; it says why")


def run(work: Callable[[], int]) -> int:
    """What ``work`` returns, which is to be the exit code; a process that joined others ends here.

    torch's threads, which in a broken group may be at work for a minute, abort a process that
    Python clears up around them: its exit code would not be its own.
    """
    try:
        code = work()
    except BaseException:
        if not ends_at_once:
            raise
        traceback.print_exc()
        code = 1
    if ends_at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
