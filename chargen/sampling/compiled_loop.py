"""The writing loop compiled by numba: no Python code per character.

Each function does the same operations in the same order as its namesake in
`chargen.sampling.choice` and gives the same bits. Axes: N sequences, T time steps, V characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from chargen.cells import ACTIVATION_NAMES, CELL_NAMES
from chargen.errors import NonFiniteError
from chargen.sampling.arithmetic import MIN_LOG
from chargen.sampling.compiled_arithmetic import add, compiled, long_exp, product
from chargen.sampling.compiled_network import read_one
from chargen.sampling.network import NetworkWeights, initial_state
from chargen.settings import CONVOLVED, RECENT, ModelSettings, SamplingSettings, widened

BLOCK = 64  # characters that are written before they are yielded
BLOCK_WEIGHTS = ("g_in", "W_conv", "W_gate", "W_out", "g_ff", "W_up", "W_down")


class Choice(NamedTuple):
    """`SamplingSettings` as numbers; 0 turns truncation off."""

    penalty: float
    temperature: float
    min_p: float
    top_k: int
    top_p: float


@compiled
def penalize(values: Any, recent: Any, penalty: float, seen: Any) -> None:
    """Penalize ``values`` in place for `RECENT` ids, -1 for none; ``seen`` is a buffer."""
    V = len(values)
    best = values.max()
    total = 0.0
    for v in range(V):
        total += max(values[v] - best, MIN_LOG)
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
def truncate(values: Any, top_k: int, top_p: float, weights: Any) -> None:
    """Set the ``weights`` that top_k and top_p exclude to 0, in place."""
    V = len(values)
    ranked = np.argsort(-values, kind="mergesort")
    if top_k:
        for rank in range(top_k, V):
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
def choose(
    logits: Any, choice: Any, recent: Any, point: float, values: Any, weights: Any, seen: Any
) -> int:
    """Return the id at ``point`` of the cumulative distribution, or -1 if a logit is NaN."""
    V = len(logits)
    for v in range(V):
        values[v] = logits[v]
    if choice.penalty != 1:
        penalize(values, recent, choice.penalty, seen)
    best = values.max()
    for v in range(V):
        weights[v] = long_exp((values[v] - best) / choice.temperature)
    if choice.min_p > 0:
        for v in range(V):
            if weights[v] < choice.min_p:
                weights[v] = 0.0
    if choice.top_k or choice.top_p > 0:
        truncate(values, choice.top_k, choice.top_p, weights)
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
def read_all(network: Any, residual: Any, prompt: Any, buffers: Any) -> None:
    """Read ``prompt`` ``(T, N)``."""
    for t in range(len(prompt)):
        read_one(network, residual, prompt[t], buffers)


@compiled
def write(
    network: Any,
    residual: Any,
    buffers: Any,
    first: Any,
    head: Any,
    choice: Any,
    recent: Any,
    points: Any,
    choice_buffers: Any,
    out: Any,
) -> None:
    """Read ``first`` ``(N,)`` and write ids into ``out`` for ``points``, both ``(T, N)``.

    From a row with -1 on, the logits are NaN.
    """
    W_hy, b_y, logits = head
    for t in range(len(points)):
        ids = out[t - 1] if t else first
        product(read_one(network, residual, ids, buffers), W_hy, logits)
        for n in range(len(first)):
            add(logits[n], b_y, logits[n])
            out[t, n] = choose(logits[n], choice, recent[n], points[t, n], *choice_buffers)
            if choice.penalty != 1:
                recent[n, :-1] = recent[n, 1:]
                recent[n, -1] = out[t, n]


class CompiledLoop:
    """N sequences that a network reads and writes, with the buffers that a step needs."""

    def __init__(
        self,
        settings: ModelSettings,
        weights: NetworkWeights,
        sampling: SamplingSettings,
        count: int,
    ) -> None:
        layers, top = weights.layers, weights.top
        state, parts = initial_state(settings, count), len(settings.state_names)

        def buffer(width: int) -> np.ndarray:
            return np.empty((count, width), dtype=np.float32)

        def each(name: str, missing: tuple[int, ...] = ()) -> tuple[np.ndarray, ...]:
            return tuple(layer.get(name, np.empty(missing, np.float32)) for layer in layers)

        has_c = "c" in settings.state_names
        self._network: tuple[Any, ...] = (
            CELL_NAMES.index(settings.cell),
            ACTIVATION_NAMES.index(settings.activation),
            each("W_xh"),
            each("W_hh", (0, 0)),
            each("b_h"),
            each("b_m", (0,)),
            state[::parts],
            state[1::parts] if has_c else tuple(buffer(0) for _ in layers),
        )
        self._residual = _residual(weights.blocks, top, count) if weights.blocks else None
        widths = [len(layer["b_h"]) for layer in layers]
        widest = max(*widths, widened(max(settings.units)))
        self._buffers: tuple[Any, ...] = (
            tuple(map(buffer, widths)),
            tuple(map(buffer, widths)),
            np.empty(widest, dtype=np.int32),
        )
        V = len(top["b_y"])
        self._head = (top["W_hy"], top["b_y"], buffer(V))
        greedy = sampling.temperature == 0
        self._choice = Choice(
            penalty=float(sampling.repetition_penalty),
            temperature=1.0 if greedy else float(sampling.temperature),
            min_p=float(sampling.min_p or 0),
            top_k=1 if greedy else sampling.top_k or 0,
            top_p=float(sampling.top_p or 0),
        )
        self._recent = np.full((count, RECENT), -1, dtype=np.int64)
        self._choice_buffers = np.empty(V), np.empty(V), np.empty(V, dtype=np.bool_)

    def read(self, prompt: np.ndarray) -> None:
        """Read all but the last id of each prompt, ``(N, T)``, which `write` reads."""
        ids = np.ascontiguousarray(prompt[:, :-1].T)
        read_all(self._network, self._residual, ids, self._buffers)
        self._last = np.ascontiguousarray(prompt[:, -1])
        last = prompt[:, -RECENT:]
        self._recent[:, RECENT - last.shape[1] :] = last

    def write(self, length: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Write as `PlainLoop.write` does; the generator draws the same numbers in a block."""
        for start in range(0, length, BLOCK):
            points = generator.random((min(BLOCK, length - start), len(self._last)))
            written = np.empty(points.shape, dtype=np.int64)
            own = self._network, self._residual, self._buffers, self._last, self._head
            drawn = self._choice, self._recent, points, self._choice_buffers, written
            write(*own, *drawn)
            broken = (written < 0).any(axis=1)
            yield from written[: broken.argmax()] if broken.any() else written
            if broken.any():
                raise NonFiniteError
            self._last = written[-1]


def _residual(
    blocks: tuple[Mapping[str, Any], ...], top: Mapping[str, Any], count: int
) -> tuple[Any, ...]:
    """Return the weights, those of all blocks stacked, zero windows, and buffers."""
    D = len(top["g_out"])
    E = widened(D)
    stacked = tuple(np.stack([block[name] for block in blocks]) for name in BLOCK_WEIGHTS)
    windows = np.zeros((len(blocks), count, CONVOLVED, D), dtype=np.float32)
    buffers = [np.empty((count, width), dtype=np.float32) for width in (D, D, D, 2 * E, E)]
    return top["W_in"], stacked, top["g_out"], windows, *buffers
