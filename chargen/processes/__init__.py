"""Processes that train together; what ends them, which the command line can know without torch."""

from chargen.errors import ChargenError

BROKEN = 75  # after `GroupBrokenError`: trying again may help
TOLD = 76  # after `PeerFailedError`: another process ended with what counts


class GroupBrokenError(ChargenError):
    """Another process of the group was lost: killed, cut off, or silent for too long."""

    exit_code = BROKEN


class PeerFailedError(ChargenError):
    """Another process of the group failed and says why itself; this one ends quietly."""

    exit_code = TOLD

    def __init__(self) -> None:
        super().__init__("another process of the group failed; it says why")
