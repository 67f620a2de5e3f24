"""The writing loop compiled by numba: no Python code per character."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numba.extending import register_jitable

from chargen.cells import ACTIVATION_NAMES, CELL_NAMES
from chargen.errors import NonFiniteError
from chargen.sampling.arithmetic import long_exp
from chargen.sampling.choice import Choice, choose_one, penalize, weights
from chargen.sampling.compiled_network import add, compiled, product, read_one
from chargen.sampling.network import NetworkWeights, initial_state
from chargen.settings import CONVOLVED, RECENT, ModelSettings, block_shapes, widened

BLOCK = 64  # characters that are written before they are yielded

for _function in (long_exp, penalize, weights, choose_one):
    register_jitable(_function)


@compiled
def write(
    network: Any, residual: Any, head: Any, choice: Any, ids: Any, start: int, points: Any
) -> None:
    """Read the rows of ``ids`` ``(T, N)`` from ``start`` on; the last are written, one for each
    row of ``points``. From a row with -1 on, the logits are NaN.
    """
    W_hy, b_y, logits = head
    first = len(ids) - len(points)
    for t in range(start + 1, len(ids)):
        outputs = read_one(network, residual, ids[t - 1])
        if t < first:
            continue
        product(outputs, W_hy, logits, 0, len(b_y))
        for n in range(len(logits)):
            add(logits[n], b_y, logits[n])
            recent = ids[max(0, t - RECENT) : t, n]
            ids[t, n] = choose_one(logits[n], choice, recent, points[t - first, n])


class CompiledLoop:
    """N sequences that a network reads and writes, with the buffers that a step needs."""

    def __init__(self, settings: ModelSettings, weights: NetworkWeights, count: int) -> None:
        layers, top = weights.layers, weights.top
        state, parts = initial_state(settings, count), len(settings.state_names)
        D = settings.units[-1]

        def buffer(width: int) -> np.ndarray:
            return np.empty((count, width), dtype=np.float32)

        def each(name: str, missing: tuple[int, ...] = ()) -> tuple[np.ndarray, ...]:
            return tuple(layer.get(name, np.empty(missing, np.float32)) for layer in layers)

        sums = [tuple(buffer(len(layer["b_h"])) for layer in layers) for _ in range(2)]
        self._network = (
            CELL_NAMES.index(settings.cell),
            ACTIVATION_NAMES.index(settings.activation),
            *(each("W_xh"), each("W_hh", (0, 0)), each("b_h"), each("b_m", (0,))),
            state[::parts],
            state[1::parts] if "c" in settings.state_names else tuple(buffer(0) for _ in layers),
            *sums,
        )
        self._residual = (
            top.get("W_in", np.empty((0, 0), np.float32)),
            tuple(
                np.array([block[name] for block in weights.blocks], np.float32).reshape(-1, *shape)
                for name, shape in block_shapes(D).items()
            ),
            top.get("g_out", np.empty(0, np.float32)),
            np.zeros((len(weights.blocks), count, CONVOLVED, D), dtype=np.float32),
            tuple(map(buffer, (D, D, D, 2 * widened(D), widened(D)))),
        )
        self.logits = buffer(len(top["b_y"]))  # of the last character written
        self._head = (top["W_hy"], top["b_y"], self.logits)

    def write(
        self, prompt: np.ndarray, length: int, choice: Choice, generator: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Write as `chargen.sampling.choice.generate` does, with the same random numbers."""
        read, start = prompt.T, 0
        for done in range(0, length, BLOCK):
            points = generator.random((min(BLOCK, length - done), len(prompt)))
            ids = np.vstack([read, np.empty(points.shape, dtype=np.int64)])
            ids = np.ascontiguousarray(ids)  # numba compiles for each layout
            write(self._network, self._residual, self._head, choice, ids, start, points)
            written = ids[len(read) :]
            broken = (written < 0).any(axis=1)
            yield from written[: broken.argmax()] if broken.any() else written
            if broken.any():
                raise NonFiniteError
            read = ids[-RECENT:]
            start = len(read) - 1
