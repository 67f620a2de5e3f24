"""Training in several processes; the error and its exit code are importable without torch."""

from chargen.errors import ChargenError

PEER_LOST = 75  # EX_TEMPFAIL of sysexits.h: starting again may succeed


class PeerError(ChargenError):
    """Another process of the group failed, was killed or stopped responding."""

    exit_code = PEER_LOST
