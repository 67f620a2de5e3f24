"""Where a text is cut into the part that is trained on and the part that is held out."""

from __future__ import annotations

import numpy as np

from chargen.settings import HELD_OUT, MOST_HELD_OUT

FEWEST_TRAINED = 2  # characters: an input and its target


def training_chars(chars: int, validation: float | None, starts: np.ndarray) -> int:
    """How many of ``chars`` characters come before the held-out last part.

    That is a share ``validation`` of all, by default a tenth and `MOST_HELD_OUT` at most. Where a
    document (``starts`` ``(D,)`` has their first characters) begins near enough, it is cut there,
    so that none is cut in two: the held-out part grows or shrinks by half at most.
    """
    share = HELD_OUT if validation is None else validation
    wanted = int(chars * (1 - share))
    if validation is None:
        wanted = max(wanted, chars - MOST_HELD_OUT)
    wanted = min(max(wanted, FEWEST_TRAINED), chars - 1)
    after = int(np.searchsorted(starts, wanted))
    near = (int(starts[place]) for place in (after - 1, after) if 0 <= place < len(starts))
    room = (chars - wanted) / 2
    fitting = [at for at in near if abs(at - wanted) <= room and FEWEST_TRAINED <= at < chars]
    return min(fitting, key=lambda at: abs(at - wanted), default=wanted)
