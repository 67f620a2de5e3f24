"""Longest common substrings of two texts, by the suffix automaton of the short one.

Time is linear in both lengths, memory in the short one. Sources: Blumer et al. 1985, "The smallest
automaton recognizing the subwords of a text"; Chang & Lawler 1994, "Sublinear approximate string
matching and biological applications", for the matches that end at each character.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from chargen.text.memory_map import ArrayReader

BLOCK = 2**22  # characters of the long text in memory at once
BEYOND = 2**10  # characters read at once beyond the end of a part, while a match continues
SLOTS = 8  # of the hash table per character of the short text, which has under 3 transitions
HASH = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing
NONE = -1
compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


def matches(short: np.ndarray, long: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the longest match in ``long`` that ends at each character of ``short``.

    All processors read ``long`` ``(L,)`` in parallel. Ids are below ``size``; the id ``size`` is a
    border in ``short`` ``(M,)`` that no match crosses. Returns ``(M,)`` int64 each: the length of
    the match, and where an occurrence of it in ``long`` ends; 0 and 0 without a match.
    """
    M = len(short)
    # Keys and targets are adjacent in memory, since both are read together.
    table = np.full((1 << (SLOTS * max(M, 1) - 1).bit_length(), 2), NONE, dtype=np.int64)
    links, lengths = np.full((2, 2 * M + 1), NONE, dtype=np.int64)
    prefixes = np.empty(M, dtype=np.int64)
    states = build(short.astype(np.int64), size + 1, table, links, lengths, prefixes)
    automaton = (size + 1, table, links[:states], lengths[:states])

    def read(place: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the longest match of each state that begins in a part, and where it ends."""
        best, ends = np.zeros((2, states), dtype=np.int64)
        state, matched, reader = 0, 0, ArrayReader(long)
        while place < end or (place < len(long) and place - matched < end):
            # A match may continue beyond this part; the reader of the next part does not see it.
            block = long[place : min(place + BLOCK, end) if place < end else place + BEYOND]
            ids = block.astype(np.int64)
            state, matched = scan(ids, place, *automaton, state, matched, best, ends)
            place += len(block)
            reader.touched()
        return best, ends

    parts = max(1, min(os.cpu_count() or 1, -(-len(long) // BLOCK)))
    bounds = [part * len(long) // parts for part in range(parts + 1)]
    best, ends = np.zeros((2, states), dtype=np.int64)
    with ThreadPoolExecutor(parts) as pool:
        for some, theirs in pool.map(read, bounds[:-1], bounds[1:]):
            ends = np.where(some > best, theirs, ends)
            best = np.maximum(some, best)
    spread(np.argsort(automaton[3], kind="stable"), *automaton[2:], best, ends)
    return best[prefixes], ends[prefixes]


@compiled
def find(table: Any, key: int) -> Any:
    """Return the slot of ``key`` in the hash table, or the free slot where it belongs."""
    place = np.int64((np.uint64(key) * HASH) >> np.uint64(20)) & (len(table) - 1)
    while table[place, 0] != NONE and table[place, 0] != key:
        place = (place + 1) & (len(table) - 1)
    return place


@compiled
def build(text: Any, size: int, table: Any, links: Any, lengths: Any, prefixes: Any) -> int:
    """Build the suffix automaton of ``text`` and return the number of its states.

    A state represents substrings with the same end positions: ``lengths`` has the length of the
    longest, ``links`` the suffix links, ``prefixes`` the state of each prefix of ``text``. The key
    of a transition is ``state * size + id``.
    """
    M = len(text)
    # The outgoing characters of each state as a linked list, which cloning a state needs.
    first, edges = np.full(len(links), NONE), np.empty((3 * M + 3, 2), dtype=np.int64)
    used, states, last = 0, 1, 0
    lengths[0] = 0
    for i in range(M):
        id_ = text[i]
        new, state = states, last
        states += 1
        lengths[new], links[new] = i + 1, 0
        while state != NONE:
            place = find(table, state * size + id_)
            if table[place, 0] != NONE:
                break
            table[place] = state * size + id_, new
            edges[used], first[state] = (id_, first[state]), used
            used += 1
            state = links[state]
        if state != NONE:
            target = table[place, 1]
            if lengths[target] == lengths[state] + 1:
                links[new] = target
            else:
                clone = states
                states += 1
                lengths[clone], links[clone] = lengths[state] + 1, links[target]
                edge = first[target]
                while edge != NONE:
                    char = edges[edge, 0]
                    to = table[find(table, target * size + char), 1]
                    table[find(table, clone * size + char)] = clone * size + char, to
                    edges[used], first[clone] = (char, first[clone]), used
                    used += 1
                    edge = edges[edge, 1]
                while state != NONE and table[place, 1] == target:
                    table[place, 1] = clone
                    state = links[state]
                    place = find(table, state * size + id_)
                links[target] = links[new] = clone
        last = prefixes[i] = new
    return states


@compiled
def scan(
    block: Any, start: int, size: int, table: Any, links: Any, lengths: Any,
    state: int, matched: int, best: Any, ends: Any,
) -> tuple[int, int]:  # fmt: skip
    """Update the longest match of each state and where it ended, by a block at ``start``."""
    for i in range(len(block)):
        place = find(table, state * size + block[i])
        while table[place, 0] == NONE and state:
            state = links[state]
            matched = lengths[state]
            place = find(table, state * size + block[i])
        if table[place, 0] != NONE:
            state = table[place, 1]
            matched += 1
            if matched > best[state]:
                best[state], ends[state] = matched, start + i + 1
    return state, matched


@compiled
def spread(order: Any, links: Any, lengths: Any, best: Any, ends: Any) -> None:
    """Propagate matches along suffix links, in ``order`` of state length.

    A match of a string is a match of its suffixes, from the longest states down; a state without a
    match of its own has the longest match of its link, from the shortest states up.
    """
    for state in order[:0:-1]:
        link = links[state]
        if best[state] and best[link] < lengths[link]:
            best[link], ends[link] = lengths[link], ends[state]
    for state in order[1:]:
        if not best[state]:
            best[state], ends[state] = best[links[state]], ends[links[state]]
