"""Where the characters of a short text stand in a long one, however long that is.

The short text becomes a suffix automaton, which the long one is read through once: time grows with
both added up, memory with the short one alone. Sources: Blumer et al., "The smallest automaton
recognizing the subwords of a text", 1985; Chang & Lawler, "Sublinear approximate string matching
and biological applications", 1994, for the matches that end at each character.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from chargen.sampling.elementary_compiled import compiled
from chargen.text.memory_map import ArrayReader

BLOCK = 2**22  # characters of the long text in memory at once
BEYOND = 2**10  # characters read at once where a part of it has ended, and a match has not
ROOM = 8  # places of the table a character of the short text, which has under 3 transitions
FREE = -1


def matches(short: np.ndarray, long: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """What of ``short``, ``(M,)`` ids, also stands in ``long``, ``(L,)`` ids below ``size``.

    Returns, ``(M,)`` int64 each: how many characters that end with this one stand in ``long`` too,
    at most, and where one such place of it ends; 0 and 0 where not even the character does. What
    is ``size`` in ``short`` is a border that no match crosses. All processors read ``long``.
    """
    M = len(short)
    # A key and where it leads stand side by side, since both are looked at, or neither.
    table = np.full((1 << (ROOM * max(M, 1) - 1).bit_length(), 2), FREE, dtype=np.int64)
    links, lengths = np.full((2, 2 * M + 1), FREE, dtype=np.int64)
    prefixes = np.empty(M, dtype=np.int64)
    automaton = (table, links, lengths)
    states = build(short.astype(np.int64), size + 1, *automaton, prefixes)
    parts = min(os.cpu_count() or 1, -(-len(long) // BLOCK))
    bounds = np.arange(parts + 1) * len(long) // max(parts, 1)
    best, ends = np.zeros((2, states), dtype=np.int64)
    with ThreadPoolExecutor(max(parts, 1)) as pool:
        read = partial(_read, long, size, automaton, states)
        for some, theirs in pool.map(read, bounds[:-1], bounds[1:]):
            ends = np.where(some > best, theirs, ends)
            best = np.maximum(some, best)
    spread(np.argsort(lengths[:states], kind="stable"), links, lengths, best, ends)
    return best[prefixes], ends[prefixes]


def _read(
    long: np.ndarray,
    size: int,
    automaton: tuple[np.ndarray, ...],
    states: int,
    first: int,
    last: int,
) -> tuple[np.ndarray, np.ndarray]:
    """What `scan` finds of each state in the matches that begin in ``first`` to ``last - 1``."""
    best, ends = np.zeros((2, states), dtype=np.int64)
    state, matched, reader, place = 0, 0, ArrayReader(long), int(first)
    while place < last or (place < len(long) and place - matched < last):
        # A match that has begun goes on beyond the part; the next part's reader knows none of it.
        end = min(place + BLOCK, last) if place < last else place + BEYOND
        block = long[place:end].astype(np.uint32)
        state, matched = scan(block, place, size + 1, *automaton, state, matched, best, ends)
        place += len(block)
        reader.touched(1, len(block))
    return best, ends


@compiled
def find(table: Any, key: int) -> Any:
    """The place of ``key`` in a table with free places: where it is, or would be put."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    place = np.int64(mixed >> np.uint64(20)) & (len(table) - 1)
    while table[place, 0] != FREE and table[place, 0] != key:
        place = (place + 1) & (len(table) - 1)
    return place


@compiled
def put(table: Any, key: int, target: int) -> None:
    """A transition to ``target``, new or instead of another."""
    place = find(table, key)
    table[place, 0] = key
    table[place, 1] = target


@compiled
def build(text: Any, size: int, table: Any, links: Any, lengths: Any, prefixes: Any) -> int:
    """The automaton of ``text``, character by character; returns the number of its states.

    A state stands for texts that end at the same places: ``lengths`` has the longest of them,
    ``links`` the state of the longest that ends elsewhere too, ``prefixes`` that of each beginning
    of ``text``. The transition from a state by a character is kept under ``state * size + id``.
    """
    M = len(text)
    # The characters that lead out of a state, as a list in each: what a copy of it needs.
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
                copy = states
                states += 1
                lengths[copy], links[copy] = lengths[p] + 1, links[q]
                edge = heads[q]
                while edge != FREE:
                    target = table[find(table, q * size + ids[edge]), 1]
                    put(table, copy * size + ids[edge], target)
                    ids[edges], nexts[edges], heads[copy] = ids[edge], heads[copy], edges
                    edges += 1
                    edge = nexts[edge]
                while p != FREE and table[find(table, p * size + id_), 1] == q:
                    put(table, p * size + id_, copy)
                    p = links[p]
                links[q] = links[new] = copy
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
    """Read on: ``matched`` characters so far, in ``state``; ``start`` is where the block begins.

    ``best`` and ``ends`` are how much of each state's texts was read at once, and where it ended.
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
    """What was read of a text was read of its ends too; and nothing more is known of longer ones.

    ``order`` are the states by length: first the longest tell their links, then the links tell
    those of which nothing was read.
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
