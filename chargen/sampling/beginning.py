"""What is read before a text that is given no beginning."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

LEAST, MOST = 64, 512  # characters that are written unseen before such a text


def led_in(rows: Iterator[np.ndarray], opening: int) -> np.ndarray:
    """What N texts go on from, ``(N, T)`` ids, of lead-ins that are written for them.

    ``rows`` are the next ids of all, ``(N,)``, `MOST` times; no more are asked for than it takes
    until each lead-in has had an ``opening`` from its id `LEAST` on. What follows its last one is
    left out; where none came, the last id becomes one. They keep as much of their ends as they all
    have: T is `LEAST` to `MOST`.

    Where the state is carried through training next to no window begins at a state of zeros, and
    what is written there is odd. After a lead-in a text begins at a state that was trained.
    """
    written, ended = [], np.False_
    for row in rows:
        written.append(row)
        if len(written) >= LEAST:
            ended = ended | (row == opening)
        if ended.all():
            break
    lead_ins = np.stack(written, axis=1)
    lead_ins[~ended, -1] = opening
    lengths = len(written) - (lead_ins[:, ::-1] == opening).argmax(axis=1)
    T = lengths.min()
    return np.stack([ids[end - T : end] for ids, end in zip(lead_ins, lengths, strict=True)])
