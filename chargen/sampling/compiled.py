"""The writing loop compiled by numba: no Python a character, the weights read once each.

Every function does what its namesake in `chargen.sampling.engine` or `chargen.sampling.choice`
does, the same operations in the same order, and gives the same bits.
Axes: N texts, J inputs of a product, K outputs, H units, V characters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chargen.sampling.compiled_layers import read_one
from chargen.sampling.elementary import LEAST
from chargen.sampling.elementary_compiled import add, compiled, long_exp, product
from chargen.sampling.engine import Engine
from chargen.sampling.layers import Residual
from chargen.settings import (
    ACTIVATION_NAMES,
    CELL_NAMES,
    CONVOLVED,
    RECENT,
    SamplingSettings,
    widened,
)


@compiled
def penalised(values: Any, recent: Any, penalty: float, seen: Any) -> None:
    """In place; ``recent`` are `RECENT` ids, -1 for those that never were, ``seen`` is room."""
    V = len(values)
    best = values.max()
    total = 0.0
    for v in range(V):
        total += max(values[v] - best, LEAST)
    mean = total / V
    seen[:] = False
    for id_ in recent:
        if id_ >= 0:
            seen[id_] = True
    for v in range(V):
        score = (values[v] - best) - mean
        if seen[v]:
            score = score / penalty if score > 0 else score * penalty
        values[v] = score


@compiled
def remembered(recent: Any, id_: int) -> None:
    """In place: the oldest goes."""
    for r in range(len(recent) - 1):
        recent[r] = recent[r + 1]
    recent[-1] = id_


@compiled
def truncate(values: Any, most: int, top_p: float, weights: Any) -> None:
    """Leave the ``weights`` of the likeliest, as `chargen.sampling.choice.weights` does."""
    V = len(values)
    ranked = np.argsort(-values, kind="mergesort")
    if most:
        for rank in range(most, V):
            weights[ranked[rank]] = 0.0
    if top_p > 0:
        total = 0.0
        for rank in range(V):
            total += weights[ranked[rank]]
        reached = 0.0
        for rank in range(V):
            own = weights[ranked[rank]]
            reached += own
            before = reached - own
            if before >= top_p * total and before > 0:
                weights[ranked[rank]] = 0.0


@compiled
def chosen(
    logits: Any,
    penalty: float,
    temperature: float,
    min_p: float,
    most: int,
    top_p: float,
    recent: Any,
    point: float,
    values: Any,
    weights: Any,
    seen: Any,
) -> int:
    """The id that ``point`` stands for, -1 where the logits are no numbers.

    ``min_p``, ``most`` and ``top_p`` are 0 where they do not apply.
    """
    V = len(logits)
    for v in range(V):
        values[v] = logits[v]
    if penalty != 1:
        penalised(values, recent, penalty, seen)
    best = values.max()
    for v in range(V):
        weights[v] = long_exp((values[v] - best) / temperature)
    if min_p > 0:
        for v in range(V):
            if weights[v] < min_p:
                weights[v] = 0.0
    if most or top_p > 0:
        truncate(values, most, top_p, weights)
    total = 0.0
    for v in range(V):
        total += weights[v]
        weights[v] = total
    if np.isnan(total):
        return -1
    wanted = point * total
    below = 0
    for v in range(V):
        below += weights[v] <= wanted
    return below


@compiled
def read_all(network: Any, residual: Any, prompt: Any, room: Any) -> None:
    """Read ``prompt`` ``(T, N)``, one character after the other."""
    for t in range(len(prompt)):
        read_one(network, residual, prompt[t], room)


@compiled
def write(
    network: Any,
    residual: Any,
    first: Any,
    room: Any,
    W_hy: Any,
    b_y: Any,
    logits: Any,
    penalty: float,
    temperature: float,
    min_p: float,
    most: int,
    top_p: float,
    recent: Any,
    points: Any,
    values: Any,
    weights: Any,
    seen: Any,
    out: Any,
) -> None:
    """Read ``first`` ``(N,)`` and write ``out`` ``(T, N)`` by ``points`` ``(T, N)``."""
    for t in range(len(points)):
        ids = out[t - 1] if t else first
        outputs = read_one(network, residual, ids, room)
        product(outputs, W_hy, logits)
        for n in range(len(first)):
            add(logits[n], b_y, logits[n])
            out[t, n] = chosen(
                logits[n],
                penalty,
                temperature,
                min_p,
                most,
                top_p,
                recent[n],
                points[t, n],
                values,
                weights,
                seen,
            )
            if penalty != 1:
                remembered(recent[n], out[t, n])


class Loop:
    """An `Engine`'s weights and the state of ``count`` texts, with room for what a step needs."""

    def __init__(self, engine: Engine, settings: SamplingSettings, count: int) -> None:
        layers = engine.layers
        state = engine.initial_state(count)
        parts = len(state) // len(layers)
        has_c = engine.settings.cell == "lstm"
        none = np.empty((count, 0), dtype=np.float32)

        def room(width: int) -> np.ndarray:
            return np.empty((count, width), dtype=np.float32)

        widths = [len(layer.b_h) for layer in layers]
        self._network: tuple[Any, ...] = (
            CELL_NAMES.index(engine.settings.cell),
            ACTIVATION_NAMES.index(engine.settings.activation),
            tuple(layer.W_xh for layer in layers),
            tuple(layer.W_hh for layer in layers),
            tuple(layer.b_h for layer in layers),
            tuple(layer.b_m for layer in layers),
            state[::parts],
            state[1::parts] if has_c else tuple(none for _ in layers),
        )
        self._residual = _residual(engine.residual, count) if engine.residual else None
        widest = max(*widths, widened(max(engine.settings.units)))
        self._room: tuple[Any, ...] = (
            tuple(map(room, widths)),
            tuple(map(room, widths)),
            np.empty(widest, dtype=np.int32),
        )
        greedy = settings.temperature == 0
        self._head: tuple[Any, ...] = (
            engine.W_hy,
            engine.b_y,
            room(len(engine.b_y)),
            float(settings.repetition_penalty),
            1.0 if greedy else float(settings.temperature),
            float(settings.min_p or 0),
            1 if greedy else settings.top_k or 0,
            float(settings.top_p or 0),
            np.full((count, RECENT), -1, dtype=np.int64),
        )
        V = len(engine.b_y)
        self._weights = np.empty(V), np.empty(V), np.empty(V, dtype=np.bool_)

    def read(self, prompt: np.ndarray) -> None:
        """Each text reads its own ``prompt``, ``(N, T)`` ids."""
        ids = np.ascontiguousarray(prompt.T)
        read_all(self._network, self._residual, ids, self._room)

    def remember(self, prompt: np.ndarray) -> None:
        """Have a repetition penalty know the end of each ``prompt``, ``(N, T)`` ids."""
        last = prompt[:, -RECENT:]
        self._head[-1][:, RECENT - last.shape[1] :] = last

    def write(self, ids: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Read ``ids`` ``(N,)`` and write on: ``(T, N)`` ids for ``points`` of that shape.

        From a row on where one is -1 the logits were no numbers.
        """
        out = np.empty(points.shape, dtype=np.int64)
        own = self._network, self._residual, ids, self._room
        write(*own, *self._head, points, *self._weights, out)
        return out


def _residual(residual: Residual, count: int) -> tuple[Any, ...]:
    """The weights, those of all blocks in one array each, windows of zeros, and room."""
    D = len(residual.g_out)
    E = widened(D)
    blocks = tuple(map(np.stack, zip(*residual.blocks, strict=True)))
    windows = np.zeros((len(residual.blocks), count, CONVOLVED, D), dtype=np.float32)
    room = [np.empty((count, width), dtype=np.float32) for width in (D, D, D, 2 * E, E)]
    return residual.W_in, blocks, residual.g_out, windows, *room
