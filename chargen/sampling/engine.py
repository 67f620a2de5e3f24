"""The inference engine: writes with trained weights, without torch.

`Engine.write` has two forms that write the same characters, bit for bit: one in NumPy, and one that
numba compiles (`chargen.sampling.compiled_loop`), which pays for the second that loading it takes
once there is enough to write. Axes: N sequences, T time steps, V characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from chargen.sampling.choice import append_recent, choose, prompt_rows, recent_ids
from chargen.sampling.network import NUMPY, NetworkWeights, State, initial_state, read_step
from chargen.settings import ModelSettings, SamplingSettings

if TYPE_CHECKING:
    from chargen.sampling.compiled_loop import CompiledLoop

MIN_COMPILED = 3e9  # multiplications, about what NumPy computes while numba loads


class Engine:
    """A trained network in inference.

    Args:
        settings: The architecture.
        arrays: The weights that `ModelSettings.shapes` names.
        size: V, the number of characters in the vocabulary.

    Raises:
        ChargenError: A weight is missing, unknown or of another shape.
    """

    def __init__(
        self, settings: ModelSettings, arrays: Mapping[str, np.ndarray], size: int
    ) -> None:
        settings.check({name: array.shape for name, array in arrays.items()}, size)
        own = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        self.settings = settings
        self.weights = NetworkWeights.of(own, settings)
        self.multiplications = settings.parameters(size)  # per character, approximately

    def initial_state(self, count: int) -> State:
        """Return the zero state of ``count`` sequences."""
        return initial_state(self.settings, count)

    def read(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Read ``ids`` ``(N,)``: return the next character's logits ``(N, V)`` and the state."""
        return read_step(NUMPY, self.settings, self.weights, ids, state)

    def write(
        self,
        prompt: np.ndarray,
        length: int,
        settings: SamplingSettings,
        generator: np.random.Generator,
        count: int = 1,
        compiled: bool | None = None,
    ) -> Iterator[np.ndarray]:
        """Write ``length`` characters after ``prompt``; see `chargen.sampling.choice.generate`.

        ``compiled`` selects the form; by default the amount of work does.

        Raises:
            NonFiniteError: A logit is NaN.
        """
        loop: PlainLoop | CompiledLoop = PlainLoop(self, settings, count)
        work = self.multiplications * count * (prompt.shape[-1] + length)
        if work > MIN_COMPILED if compiled is None else compiled:
            from chargen.sampling.compiled_loop import CompiledLoop

            loop = CompiledLoop(self.settings, self.weights, settings, count)
        loop.read(prompt_rows(prompt, count))
        yield from loop.write(length, generator)


class PlainLoop:
    """N sequences that an engine reads and writes in NumPy, one character at a time."""

    def __init__(self, engine: Engine, settings: SamplingSettings, count: int) -> None:
        self._settings = settings
        # `choose` detects NaN.
        self._step = np.errstate(over="ignore", invalid="ignore")(engine.read)
        self._state = engine.initial_state(count)
        self._last: np.ndarray | None = None  # (N,) ids that the state does not include yet
        self._recent = recent_ids(np.empty((count, 0), dtype=np.int64), settings)

    def read(self, ids: np.ndarray) -> None:
        """Read ids ``(N, T)``."""
        for row in ids.T:
            if self._last is not None:
                _, self._state = self._step(self._last, self._state)
            self._append(row)

    def write(self, length: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield the next character of each sequence, ``(N,)`` ids, after at least one was read."""
        for _ in range(length):
            assert self._last is not None
            logits, state = self._step(self._last, self._state)
            ids = choose(logits, self._settings, generator, self._recent)
            self._state = state
            self._append(ids)
            yield ids

    def _append(self, ids: np.ndarray) -> None:
        self._last = ids
        self._recent = append_recent(self._recent, ids)
