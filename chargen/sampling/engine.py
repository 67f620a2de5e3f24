"""The inference engine: writes with trained weights, without torch.

`Engine.write` has two forms that write the same characters, bit for bit: one in NumPy, and one that
numba compiles (`chargen.sampling.compiled_loop`), which pays for the second that loading it takes
once there is enough to write. Axes: N sequences, T time steps, V characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from chargen.errors import NonFiniteError
from chargen.sampling.choice import append_recent, chosen, prompt_rows, recent_ids
from chargen.sampling.network import NUMPY, NetworkWeights, State, initial_state, read_step
from chargen.settings import ModelSettings, SamplingSettings

BLOCK = 64  # characters that the compiled form writes before it yields
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
    ) -> Iterator[np.ndarray]:
        """Write ``length`` characters after ``prompt``; see `chargen.sampling.choice.generate`.

        Args:
            prompt: Ids, ``(T,)`` for all sequences or ``(N, T)`` for each.
            length: Characters to write in each sequence.
            settings: How characters are drawn.
            generator: Source of randomness.
            count: N, the number of sequences.

        Yields:
            The next character of each sequence, ``(N,)`` ids.

        Raises:
            NonFiniteError: A logit is NaN.
        """
        total = self.multiplications * count * (prompt.shape[-1] + length)
        form = _compiled if total > MIN_COMPILED else _plain
        return form(self, prompt, length, settings, generator, count)


class PlainLoop:
    """N sequences that an engine reads and writes in NumPy, one character at a time."""

    def __init__(self, engine: Engine, settings: SamplingSettings, count: int) -> None:
        self._settings = settings
        self._count = count
        # `chosen` detects NaN.
        self._step = np.errstate(over="ignore", invalid="ignore")(engine.read)
        self._state = engine.initial_state(count)
        self._last: np.ndarray | None = None  # (N,) ids that the state does not include yet
        self._recent = recent_ids(np.empty((count, 0), dtype=np.int64), settings)

    def read(self, ids: np.ndarray) -> None:
        """Read ids, ``(T,)`` for all sequences or ``(N, T)`` for each."""
        for row in prompt_rows(ids, self._count).T:
            if self._last is not None:
                _, self._state = self._step(self._last, self._state)
            self._append(row)

    def write(self, generator: np.random.Generator) -> np.ndarray:
        """Write the next character of each sequence, ``(N,)`` ids, after at least one was read."""
        assert self._last is not None
        logits, state = self._step(self._last, self._state)
        ids = chosen(logits, self._settings, generator.random(self._count), self._recent)
        self._state = state
        self._append(ids)
        return ids

    def _append(self, ids: np.ndarray) -> None:
        self._last = ids
        self._recent = append_recent(self._recent, ids)


def _plain(
    engine: Engine,
    prompt: np.ndarray,
    length: int,
    settings: SamplingSettings,
    generator: np.random.Generator,
    count: int,
) -> Iterator[np.ndarray]:
    loop = PlainLoop(engine, settings, count)
    loop.read(prompt)
    for _ in range(length):
        yield loop.write(generator)


def _compiled(
    engine: Engine,
    prompt: np.ndarray,
    length: int,
    settings: SamplingSettings,
    generator: np.random.Generator,
    count: int,
) -> Iterator[np.ndarray]:
    from chargen.sampling.compiled_loop import CompiledLoop

    loop = CompiledLoop(engine.settings, engine.weights, settings, count)
    rows = prompt_rows(prompt, count)
    loop.read(rows)
    ids = np.ascontiguousarray(rows[:, -1])
    for start in range(0, length, BLOCK):
        # The generator draws the same numbers in a block as one by one.
        points = generator.random((min(BLOCK, length - start), count))
        written = loop.write(ids, points)
        broken = (written < 0).any(axis=1)
        yield from written[: broken.argmax()] if broken.any() else written
        if broken.any():
            raise NonFiniteError
        ids = written[-1]
