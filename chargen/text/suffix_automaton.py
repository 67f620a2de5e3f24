"""Longest repeat of a text, and longest common substrings of two, by a suffix automaton.

The automaton of the short text reads the long text once: time is linear in both lengths, memory in
the short one. Sources: Blumer et al. 1985, "The smallest automaton recognizing the subwords of a
text"; Chang & Lawler 1994, "Sublinear approximate string matching and biological applications", for
the matches that end at each character.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numba import njit

from chargen.text.memory_map import ArrayReader

BLOCK = 2**22  # characters of the long text in memory at once
BEYOND = 2**10  # characters read at once beyond the end of a part, while a match continues
SLOTS = 8  # of the hash table per character of the short text, which has under 3 transitions
FREE = -1
compiled: Any = njit(cache=True, nogil=True, error_model="numpy")
HASH = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing


def matches(short: np.ndarray, long: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the longest match in ``long`` that ends at each character of ``short``.

    All processors read ``long`` ``(L,)`` in parallel. Ids are below ``size``; the id ``size`` is a
    border in ``short`` ``(M,)`` that no match crosses.

    Returns:
        ``(M,)`` int64 each: the length of the match, and where an occurrence of it in ``long``
        ends; 0 and 0 without a match.
    """
    *automaton, prefixes = _built(short, size + 1)
    lengths, states = automaton[-1], len(automaton[-1])
    parts = min(os.cpu_count() or 1, -(-len(long) // BLOCK))
    bounds = np.arange(parts + 1) * len(long) // max(parts, 1)
    best, ends = np.zeros((2, states), dtype=np.int64)
    with ThreadPoolExecutor(max(parts, 1)) as pool:
        read = partial(_read, long, size, automaton, states)
        for some, theirs in pool.map(read, bounds[:-1], bounds[1:]):
            ends = np.where(some > best, theirs, ends)
            best = np.maximum(some, best)
    spread(np.argsort(lengths, kind="stable"), *automaton[1:], best, ends)
    return best[prefixes], ends[prefixes]


def longest_repeat(ids: np.ndarray) -> tuple[int, int, int]:
    """Return the length of the longest string of ``ids`` that occurs twice, and two occurrences."""
    _, links, lengths, prefixes = _built(ids, int(ids.max()) + 1)
    chars = int(lengths[links[1:]].max())
    if not chars:
        return 0, 0, 0
    # The longest suffix of a prefix that occurs elsewhere is its link; the first occurrence may be
    # a whole prefix.
    suffixes = links[prefixes]
    suffixes[chars - 1] = prefixes[chars - 1]
    found, places, counts = np.unique(suffixes, return_index=True, return_counts=True)
    first = int(places[(counts > 1) & (lengths[found] == chars)].min())
    second = first + 1 + int(np.argmax(suffixes[first + 1 :] == suffixes[first]))
    return chars, first + 1 - chars, second + 1 - chars


def _built(text: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """Return the transitions, links, lengths and prefix states of the automaton, see `build`."""
    M = len(text)
    # Keys and targets are adjacent in memory, since both are read together.
    table = np.full((1 << (SLOTS * max(M, 1) - 1).bit_length(), 2), FREE, dtype=np.int64)
    links, lengths = np.full((2, 2 * M + 1), FREE, dtype=np.int64)
    prefixes = np.empty(M, dtype=np.int64)
    states = build(text.astype(np.int64), size, table, links, lengths, prefixes)
    return table, links[:states], lengths[:states], prefixes


def _read(
    long: np.ndarray,
    size: int,
    automaton: Sequence[np.ndarray],
    states: int,
    first: int,
    last: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the longest matches of each state that begin in ``first`` to ``last - 1``."""
    best, ends = np.zeros((2, states), dtype=np.int64)
    state, matched, reader, place = 0, 0, ArrayReader(long), int(first)
    while place < last or (place < len(long) and place - matched < last):
        # A match may continue beyond this part; the reader of the next part does not see it.
        end = min(place + BLOCK, last) if place < last else place + BEYOND
        block = long[place:end].astype(np.uint32)
        state, matched = scan(block, place, size + 1, *automaton, state, matched, best, ends)
        place += len(block)
        reader.touched(1, len(block))
    return best, ends


@compiled
def find(table: Any, key: int) -> Any:
    """Return the slot of ``key`` in the hash table, or the free slot where it belongs."""
    place = np.int64((np.uint64(key) * HASH) >> np.uint64(20)) & (len(table) - 1)
    while table[place, 0] != FREE and table[place, 0] != key:
        place = (place + 1) & (len(table) - 1)
    return place


@compiled
def put(table: Any, key: int, target: int) -> None:
    place = find(table, key)
    table[place, 0], table[place, 1] = key, target


@compiled
def build(text: Any, size: int, table: Any, links: Any, lengths: Any, prefixes: Any) -> int:
    """Build the suffix automaton of ``text`` and return the number of its states.

    A state represents substrings with the same end positions: ``lengths`` has the length of the
    longest, ``links`` the suffix links, ``prefixes`` the state of each prefix of ``text``. The key
    of a transition is ``state * size + id``.
    """
    M = len(text)
    # The outgoing characters of each state as a linked list, which cloning a state needs.
    heads = np.full(len(links), FREE, dtype=np.int64)
    nexts, ids = np.empty(3 * M + 3, dtype=np.int64), np.empty(3 * M + 3, dtype=np.int64)
    edges, states, last = 0, 1, 0
    lengths[0] = 0
    for i in range(M):
        id_ = text[i]
        new = states
        states += 1
        lengths[new] = i + 1
        p = last
        while p != FREE and table[find(table, p * size + id_), 0] == FREE:
            put(table, p * size + id_, new)
            ids[edges], nexts[edges], heads[p] = id_, heads[p], edges
            edges += 1
            p = links[p]
        if p == FREE:
            links[new] = 0
        else:
            q = table[find(table, p * size + id_), 1]
            if lengths[q] == lengths[p] + 1:
                links[new] = q
            else:
                clone = states
                states += 1
                lengths[clone], links[clone] = lengths[p] + 1, links[q]
                edge = heads[q]
                while edge != FREE:
                    target = table[find(table, q * size + ids[edge]), 1]
                    put(table, clone * size + ids[edge], target)
                    ids[edges], nexts[edges], heads[clone] = ids[edge], heads[clone], edges
                    edges += 1
                    edge = nexts[edge]
                while p != FREE and table[find(table, p * size + id_), 1] == q:
                    put(table, p * size + id_, clone)
                    p = links[p]
                links[q] = links[new] = clone
        last = prefixes[i] = new
    return states


@compiled
def scan(
    block: Any,
    start: int,
    size: int,
    table: Any,
    links: Any,
    lengths: Any,
    state: int,
    matched: int,
    best: Any,
    ends: Any,
) -> tuple[int, int]:
    """Read a block that begins at ``start``, with ``matched`` characters so far in ``state``.

    ``best`` and ``ends`` hold the longest match of each state and where it ended.
    """
    for i in range(len(block)):
        id_ = np.int64(block[i])
        place = find(table, state * size + id_)
        while table[place, 0] == FREE and state:
            state = links[state]
            matched = lengths[state]
            place = find(table, state * size + id_)
        if table[place, 0] != FREE:
            state = table[place, 1]
            matched += 1
            if matched > best[state]:
                best[state], ends[state] = matched, start + i + 1
    return state, matched


@compiled
def spread(order: Any, links: Any, lengths: Any, best: Any, ends: Any) -> None:
    """Propagate matches along suffix links, in ``order`` of state length.

    A match of a string is a match of its suffixes, from the longest states down; a state without a
    own match has the longest match of its link, from the shortest states up.
    """
    for place in range(len(order) - 1, 0, -1):
        state = order[place]
        link = links[state]
        if best[state] and best[link] < lengths[link]:
            best[link], ends[link] = lengths[link], ends[state]
    for place in range(1, len(order)):
        state = order[place]
        if not best[state]:
            best[state], ends[state] = best[links[state]], ends[links[state]]
