"""The inference engine: writes with trained weights, without torch.

`Engine.write` has two forms that write the same characters, bit for bit: one in NumPy, and one that
numba compiles (`chargen.sampling.compiled`), which pays for the second that loading it takes
once there is enough to write. Axes: N sequences, T time steps, V characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from chargen.sampling.choice import Choice, generate, prompt_rows
from chargen.sampling.network import NUMPY, NetworkWeights, State, initial_state, read_step
from chargen.settings import ModelSettings, SamplingSettings

MIN_COMPILED = 3e9  # multiplications, about what NumPy computes while numba loads
CALLS = 200_000  # multiplications that take NumPy as long as its calls for one character


class Engine:
    """A trained network in inference; `ChargenError` if the weights do not fit its settings."""

    def __init__(
        self, settings: ModelSettings, arrays: Mapping[str, np.ndarray], size: int
    ) -> None:
        settings.check({name: array.shape for name, array in arrays.items()}, size)
        own = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        self.settings = settings
        self.weights = NetworkWeights.of(own, settings)
        self.multiplications = settings.parameters(size)  # per character, approximately

    @np.errstate(over="ignore", invalid="ignore")  # `choose` and the beam search detect NaN
    def read(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Read ``ids`` ``(N,)``: return the next character's logits ``(N, V)`` and the state."""
        return read_step(NUMPY, self.settings, self.weights, ids, state)

    def advance(self, ids: np.ndarray, state: State | None = None) -> tuple[np.ndarray, State]:
        """Read ``ids`` ``(N, T)``: return the last logits, ``(N, 1, V)``, and the state."""
        state = initial_state(self.settings, len(ids)) if state is None else state
        for row in ids.T:
            logits, state = self.read(row, state)
        return logits[:, None], state

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
        """
        work = (self.multiplications + CALLS) * count * (prompt.shape[-1] + length)
        if work > MIN_COMPILED if compiled is None else compiled:
            from chargen.sampling.compiled import CompiledLoop

            loop = CompiledLoop(self.settings, self.weights, count)
            return loop.write(prompt_rows(prompt, count), length, Choice.of(settings), generator)
        return generate(self.advance, prompt, length, settings, generator, count)
