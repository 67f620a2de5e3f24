"""The writing loop compiled by numba: no Python a character, the weights read once each.

Every function does what its namesake in `chargen.sampling.engine` or `chargen.sampling.choice`
does, the same operations in the same order, and gives the same bits.
Axes: N texts, J inputs of a product, K outputs, H units, V characters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chargen.arithmetic.compiled import activate, add, compiled, long_exp, product, sigmoid
from chargen.arithmetic.plain import LEAST
from chargen.sampling.engine import Engine
from chargen.settings import ACTIVATION_NAMES, CELL_NAMES, RECENT, SamplingSettings

SIMPLE, LSTM, GRU, GRU_BEFORE, MINGRU = range(len(CELL_NAMES))
ONE = np.float32(1)


@compiled
def step_before(activation: int, x: Any, W_hh: Any, h: Any, sums: Any, powers: Any) -> None:
    """`step` of the GRU whose reset comes before the product; the state, reset, takes r's place."""
    N, H = h.shape
    product(h, W_hh[:, : 2 * H], sums[:, : 2 * H])
    for n in range(N):
        x_n, s_n, h_n = x[n], sums[n], h[n]
        add(x_n[: 2 * H], s_n[: 2 * H], s_n[: 2 * H])
        sigmoid(s_n[: 2 * H], powers)
        for i in range(H):
            s_n[i] *= h_n[i]
    product(sums[:, :H], W_hh[:, 2 * H :], sums[:, 2 * H :])
    for n in range(N):
        x_n, s_n, h_n = x[n], sums[n], h[n]
        add(x_n[2 * H :], s_n[2 * H :], s_n[2 * H :])
        activate(s_n[2 * H :], powers, activation)
        for i in range(H):
            h_n[i] = (ONE - s_n[H + i]) * s_n[2 * H + i] + s_n[H + i] * h_n[i]


@compiled
def step(
    cell: int, activation: int, x: Any, W_hh: Any, b_m: Any, h: Any, c: Any, sums: Any, powers: Any
) -> None:
    """One step of one layer, in place: ``x`` ``(N, blocks * H)`` projected, ``h``, ``c``."""
    if cell == GRU_BEFORE:
        step_before(activation, x, W_hh, h, sums, powers)
        return
    N, H = h.shape
    product(h, W_hh, sums)
    for n in range(N):
        x_n, s_n, h_n, c_n = x[n], sums[n], h[n], c[n]
        if cell == SIMPLE:
            add(x_n, s_n, h_n)
            activate(h_n, powers, activation)
        elif cell == LSTM:
            add(x_n, s_n, s_n)
            sigmoid(s_n[: 2 * H], powers)
            activate(s_n[2 * H : 3 * H], powers, activation)
            sigmoid(s_n[3 * H :], powers)
            for i in range(H):
                c_n[i] = s_n[H + i] * c_n[i] + s_n[i] * s_n[2 * H + i]
                h_n[i] = c_n[i]
            activate(h_n, powers, activation)
            for i in range(H):
                h_n[i] = s_n[3 * H + i] * h_n[i]
        else:
            add(x_n[: 2 * H], s_n[: 2 * H], s_n[: 2 * H])
            sigmoid(s_n[: 2 * H], powers)
            for i in range(H):
                s_n[2 * H + i] = x_n[2 * H + i] + s_n[i] * (s_n[2 * H + i] + b_m[i])
            activate(s_n[2 * H :], powers, activation)
            for i in range(H):
                h_n[i] = (ONE - s_n[H + i]) * s_n[2 * H + i] + s_n[H + i] * h_n[i]


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
def read_one(
    cell: int,
    activation: int,
    tables: Any,
    W_hh: Any,
    b_h: Any,
    b_m: Any,
    h: Any,
    c: Any,
    ids: Any,
    projected: Any,
    sums: Any,
    powers: Any,
) -> None:
    """Every layer reads one character of each text: ``ids`` ``(N,)``; ``tables`` are W_xh."""
    for layer in range(len(h)):
        x = projected[layer]
        if layer:
            product(h[layer - 1], tables[layer], x)
        for n in range(len(ids)):
            add(tables[0][ids[n]] if layer == 0 else x[n], b_h[layer], x[n])
        step(cell, activation, x, W_hh[layer], b_m[layer], h[layer], c[layer], sums[layer], powers)


@compiled
def read_all(
    cell: int,
    activation: int,
    tables: Any,
    W_hh: Any,
    b_h: Any,
    b_m: Any,
    h: Any,
    c: Any,
    prompt: Any,
    projected: Any,
    sums: Any,
    powers: Any,
) -> None:
    """The same for ``prompt`` ``(T, N)``, one character after the other."""
    for t in range(len(prompt)):
        read_one(cell, activation, tables, W_hh, b_h, b_m, h, c, prompt[t], projected, sums, powers)


@compiled
def write(
    cell: int,
    activation: int,
    tables: Any,
    W_hh: Any,
    b_h: Any,
    b_m: Any,
    h: Any,
    c: Any,
    first: Any,
    projected: Any,
    sums: Any,
    powers: Any,
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
        read_one(cell, activation, tables, W_hh, b_h, b_m, h, c, ids, projected, sums, powers)
        product(h[len(h) - 1], W_hy, logits)
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
        self.count = count
        has_c = engine.settings.cell == "lstm"
        none = np.empty((count, 0), dtype=np.float32)
        h = state[::2] if has_c else state
        c = state[1::2] if has_c else tuple(none for _ in layers)

        def room(width: int) -> np.ndarray:
            return np.empty((count, width), dtype=np.float32)

        widths = [layer.W_hh.shape[1] for layer in layers]
        self._network: tuple[Any, ...] = (
            CELL_NAMES.index(engine.settings.cell),
            ACTIVATION_NAMES.index(engine.settings.activation),
            tuple(layer.W_xh for layer in layers),
            tuple(layer.W_hh for layer in layers),
            tuple(layer.b_h for layer in layers),
            tuple(layer.b_m for layer in layers),
            h,
            c,
        )
        self._room: tuple[Any, ...] = (
            tuple(map(room, widths)),
            tuple(map(room, widths)),
            np.empty(max(widths), dtype=np.int32),
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
        """All texts read ``prompt``, ``(T,)`` ids."""
        ids = np.repeat(prompt.astype(np.int64)[:, None], self.count, axis=1)
        read_all(*self._network, ids, *self._room)

    def remember(self, prompt: np.ndarray) -> None:
        """Have a repetition penalty know the end of ``prompt``, ``(T,)`` ids."""
        last = prompt[-RECENT:]
        self._head[-1][:, RECENT - len(last) :] = last

    def write(self, ids: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Read ``ids`` ``(N,)`` and write on: ``(T, N)`` ids for ``points`` of that shape.

        From a row on where one is -1 the logits were no numbers.
        """
        out = np.empty(points.shape, dtype=np.int64)
        write(*self._network, ids, *self._room, *self._head, points, *self._weights, out)
        return out
