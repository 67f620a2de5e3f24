"""The writing loop compiled by numba: no Python code per character.

Each function does the same operations in the same order as its namesake in
`chargen.sampling.choice` and gives the same bits. Axes: N sequences, T time steps, V characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from chargen.cells import ACTIVATION_NAMES, CELL_NAMES
from chargen.errors import NonFiniteError
from chargen.sampling.arithmetic import MIN_LOG
from chargen.sampling.compiled_network import add, compiled, long_exp, product, read_one
from chargen.sampling.network import NetworkWeights, initial_state
from chargen.settings import (
    CONVOLVED,
    RECENT,
    ModelSettings,
    SamplingSettings,
    block_shapes,
    widened,
)

BLOCK = 64  # characters that are written before they are yielded


class Choice(NamedTuple):
    """`SamplingSettings` as numbers; 0 turns truncation off."""

    penalty: float
    temperature: float
    min_p: float
    top_k: int
    top_p: float


@compiled
def largest(values: Any) -> float:
    """Return the maximum, or NaN if a value is NaN."""
    best = values[0]
    for value in values:
        if value > best or np.isnan(value):
            best = value
    return best


@compiled
def penalize(values: Any, recent: Any, penalty: float, seen: Any) -> None:
    """Penalize ``values`` in place for `RECENT` ids, -1 for none; ``seen`` is a buffer."""
    V = len(values)
    best = largest(values)
    total = 0.0
    for v in range(V):
        total += max(values[v] - best, MIN_LOG)
        seen[v] = False
    mean = total / V
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
def choose(logits: Any, choice: Any, recent: Any, point: float, buffers: Any) -> int:
    """Return the id at ``point`` of the cumulative distribution, or -1 if a logit is NaN."""
    values, weights, seen = buffers
    V = len(logits)
    for v in range(V):
        values[v] = logits[v]
    if choice.penalty != 1:
        penalize(values, recent, choice.penalty, seen)
    best = largest(values)
    for v in range(V):
        weights[v] = long_exp((values[v] - best) / choice.temperature)
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
def write(
    network: Any, residual: Any, head: Any, choice: Any, buffers: Any, ids: Any, points: Any
) -> None:
    """Read ``ids`` ``(T, N)``, whose last rows are written, one for each row of ``points``.

    From a row with -1 on, the logits are NaN.
    """
    W_hy, b_y, logits, recent = head
    first = len(ids) - len(points)
    for t in range(1, len(ids)):
        outputs = read_one(network, residual, ids[t - 1])
        if t < first:
            continue
        product(outputs, W_hy, logits, 0, len(b_y))
        for n in range(len(logits)):
            add(logits[n], b_y, logits[n])
            ids[t, n] = choose(logits[n], choice, recent[n], points[t - first, n], buffers)
            if choice.penalty != 1:
                for k in range(RECENT - 1):
                    recent[n, k] = recent[n, k + 1]
                recent[n, RECENT - 1] = ids[t, n]


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
        V, D = len(top["b_y"]), settings.units[-1]
        widths = [len(layer["b_h"]) for layer in layers]

        def buffer(width: int) -> np.ndarray:
            return np.empty((count, width), dtype=np.float32)

        def each(name: str, missing: tuple[int, ...] = ()) -> tuple[np.ndarray, ...]:
            return tuple(layer.get(name, np.empty(missing, np.float32)) for layer in layers)

        self._network = (
            CELL_NAMES.index(settings.cell),
            ACTIVATION_NAMES.index(settings.activation),
            *(each("W_xh"), each("W_hh", (0, 0)), each("b_h"), each("b_m", (0,))),
            state[::parts],
            state[1::parts] if "c" in settings.state_names else tuple(buffer(0) for _ in layers),
            tuple(map(buffer, widths)),
            tuple(map(buffer, widths)),
            np.empty(max(*widths, widened(max(settings.units))), dtype=np.int32),
        )
        blocks = [
            np.array([block[name] for block in weights.blocks], np.float32).reshape(-1, *shape)
            for name, shape in block_shapes(D).items()
        ]
        self._residual = (
            top.get("W_in", np.empty((0, 0), np.float32)),
            tuple(blocks),
            top.get("g_out", np.empty(0, np.float32)),
            np.zeros((len(weights.blocks), count, CONVOLVED, D), dtype=np.float32),
            tuple(map(buffer, (D, D, D, 2 * widened(D), widened(D)))),
        )
        self.logits = buffer(V)  # of the last character written
        recent = np.full((count, RECENT), -1, dtype=np.int64)
        self._head = (top["W_hy"], top["b_y"], self.logits, recent)
        greedy = sampling.temperature == 0
        self._choice = Choice(
            penalty=float(sampling.repetition_penalty),
            temperature=1.0 if greedy else float(sampling.temperature),
            min_p=float(sampling.min_p or 0),
            top_k=1 if greedy else sampling.top_k or 0,
            top_p=float(sampling.top_p or 0),
        )
        self._buffers = np.empty(V), np.empty(V), np.empty(V, dtype=np.bool_)

    def write(
        self, prompt: np.ndarray, length: int, generator: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Write as `chargen.sampling.choice.generate` does, with the same random numbers."""
        read, recent = prompt.T, prompt[:, -RECENT:]
        self._head[-1][:, RECENT - recent.shape[1] :] = recent
        for start in range(0, length, BLOCK):
            points = generator.random((min(BLOCK, length - start), len(prompt)))
            ids = np.concatenate([read, np.empty(points.shape, dtype=np.int64)])
            write(
                self._network, self._residual, self._head, self._choice, self._buffers, ids, points
            )
            written = ids[len(read) :]
            broken = (written < 0).any(axis=1)
            yield from written[: broken.argmax()] if broken.any() else written
            if broken.any():
                raise NonFiniteError
            read = written[-1:]
