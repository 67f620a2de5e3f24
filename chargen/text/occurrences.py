"""Occurrences of the substrings of some texts in a long one, found by their hashes."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from chargen.text.memory_map import release
from chargen.text.statistics import FACTOR, INVERSE, ONE, hashes

BLOCK = 2**22  # characters of the long text in memory at once
SLOTS = 8  # of the hash table per substring
HIGH = np.uint64(32)  # bits of a product that depend on all bits of its factors
compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


def occurrences(parts: Sequence[np.ndarray], text: np.ndarray, chars: int) -> list[np.ndarray]:
    """Find the substrings of ``chars`` ids of some ``parts`` in ``text``, ids ``(L,)``.

    All processors read the text in parallel. Returns for each part where its substrings begin in
    the text by its `hashes`, -1 for nowhere, ``(M - chars + 1,)`` int64 for a part of M ids.
    """
    keys = [hashes(part, chars) for part in parts]
    joined = np.concatenate(keys)
    table = np.zeros(1 << (SLOTS * len(joined)).bit_length(), dtype=np.uint64)
    slots = insert(joined, table)

    def read(first: int, end: int) -> np.ndarray:
        places = np.full(len(table), -1)
        for start in range(first, end, BLOCK):
            scan(text[start : min(start + BLOCK, end) + chars - 1], start, chars, table, places)
            release(text)
            if places[slots].min(initial=0) >= 0:
                break
        return places[slots]

    count = max(1, min(os.cpu_count() or 1, -(-len(text) // BLOCK)))
    bounds = [part * len(text) // count for part in range(count + 1)]
    with ThreadPoolExecutor(count) as pool:
        places = np.max([*pool.map(read, bounds[:-1], bounds[1:])], axis=0)
    return np.split(places, np.cumsum([len(own) for own in keys])[:-1])


@compiled
def slot_of(table: Any, key: Any) -> Any:
    """Return the slot of ``key`` in the hash table, or the free slot where it belongs."""
    slot = np.int64((key * FACTOR) >> HIGH) & (len(table) - 1)
    while table[slot] != 0 and table[slot] != key:
        slot = (slot + 1) & (len(table) - 1)
    return slot


@compiled
def insert(keys: Any, table: Any) -> Any:
    """Insert ``keys`` into the hash table and return their slots."""
    slots = np.empty(len(keys), dtype=np.int64)
    for i in range(len(keys)):
        slots[i] = slot_of(table, keys[i])
        table[slots[i]] = keys[i]
    return slots


@compiled
def scan(ids: Any, start: int, chars: int, table: Any, places: Any) -> None:
    """Update the places of substrings by those in ``ids``, the text from ``start`` on."""
    key, power = np.uint64(0), INVERSE
    for i in range(min(chars, len(ids))):
        power = power * FACTOR
        key += (np.uint64(ids[i]) + ONE) * power
    for i in range(len(ids) - chars + 1):
        slot = slot_of(table, key)
        if table[slot] != 0:
            places[slot] = start + i
        if i + chars < len(ids):
            last = (np.uint64(ids[i + chars]) + ONE) * power
            key = (key - np.uint64(ids[i]) - ONE) * INVERSE + last
