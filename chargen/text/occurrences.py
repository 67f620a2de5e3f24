"""Occurrences of the substrings of some texts in a long one, found by their hashes."""

from collections.abc import Sequence

import numpy as np

from chargen.text.memory_map import release
from chargen.text.statistics import hashes

BLOCK = 2**18  # characters of the long text in memory at once
HIGH = np.uint64(44)  # bits of a hash below the 20 bits that are compared first


def occurrences(parts: Sequence[np.ndarray], text: np.ndarray, chars: int) -> list[np.ndarray]:
    """Find the substrings of ``chars`` ids of some ``parts`` in ``text``, ids ``(L,)``.

    Returns for each part where its substrings begin in the text by its `hashes`, -1 for nowhere,
    ``(M - chars + 1,)`` int64 for a part of M ids.
    """
    keys = [hashes(part, chars) for part in parts]
    missing = known = np.unique(np.concatenate(keys))
    places = np.full(len(known), -1)
    for start in range(0, len(text), BLOCK):
        found = hashes(text[start : start + BLOCK + chars - 1], chars)
        likely = np.zeros(2**20, dtype=bool)
        likely[missing >> HIGH] = True
        begins = np.flatnonzero(likely[found >> HIGH])
        slots = np.searchsorted(known, found[begins]).clip(max=len(known) - 1)
        same = known[slots] == found[begins]
        places[slots[same]] = start + begins[same]
        release(text)
        missing = known[places < 0]
        if not len(missing):
            break
    return [places[np.searchsorted(known, own)] for own in keys]
