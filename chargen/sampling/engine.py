"""A trained network that only writes: no torch, no gradient, one character at a time.

The weights are laid out once. `Engine.write` has two forms that give the same characters: this
one, of NumPy, and one that numba compiles (`chargen.sampling.compiled`) and that is worth the
second or so which it takes to be loaded once there is much to write.
Axes: N texts, T timesteps, H units, V characters.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping

import numpy as np

from chargen.errors import NoNumbersError
from chargen.sampling.choice import chosen, prompts, recent_of, remembered
from chargen.sampling.elementary import norm, product
from chargen.sampling.layers import ACTIVATIONS, STEPS, Layer, Residual, State, laid_out
from chargen.settings import CONVOLVED, ModelSettings, SamplingSettings

BLOCK = 64  # characters written before they are handed on
WORTH = 3e9  # products that are to be added up: about what NumPy does in the time of loading numba


class Engine:
    """Writes with the weights of a `chargen.recurrent.CharModel`, given as arrays by name."""

    def __init__(
        self, settings: ModelSettings, arrays: Mapping[str, np.ndarray], size: int
    ) -> None:
        """``arrays`` are those that `ModelSettings.shapes` names; `ChargenError` for others."""
        settings.check({name: array.shape for name, array in arrays.items()}, size)
        self.settings = settings
        numbers = range(len(settings.units))
        self.layers = [Layer.of(arrays, f"stack.layers.{n}.") for n in numbers]
        self.residual = Residual.of(arrays, len(numbers)) if settings.stack == "residual" else None
        self.W_hy, self.b_y = laid_out(arrays["W_hy"]), laid_out(arrays["b_y"])
        self.products = settings.parameters(size)  # a character, about

    def initial_state(self, count: int) -> State:
        """The state before the first character: zeros, ``(N, H)`` each.

        Of each layer h, for an LSTM then c, in a residual block then what it convolves: the
        `CONVOLVED` - 1 latest u, the latest first.
        """
        parts = 2 if self.settings.cell == "lstm" else 1
        if self.residual:
            parts += CONVOLVED - 1
        return tuple(
            np.zeros((count, units), dtype=np.float32)
            for units in self.settings.units
            for _ in range(parts)
        )

    def read(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """One step: ``ids`` ``(N,)`` to the next character's logits ``(N, V)``, and the state."""
        parts = len(state) // len(self.layers)
        own = [state[start : start + parts] for start in range(0, len(state), parts)]
        if self.residual is None:
            outputs, after = self._read_layers(ids, own)
        else:
            outputs, after = self._read_blocks(self.residual, ids, own)
        logits = product(outputs, self.W_hy) + self.b_y
        return logits, tuple(part for layer in after for part in layer)

    def _read_layers(self, ids: np.ndarray, states: list[State]) -> tuple[np.ndarray, list[State]]:
        """What the head reads, and each layer's state."""
        after: list[State] = []
        for layer, state in zip(self.layers, states, strict=True):
            projected = product(after[-1][0], layer.W_xh) if after else layer.W_xh[ids]
            after.append(self._step(layer, projected, state))
        return after[-1][0], after

    def _read_blocks(
        self, residual: Residual, ids: np.ndarray, states: list[State]
    ) -> tuple[np.ndarray, list[State]]:
        """The same through blocks."""
        x = residual.W_in[ids]
        after: list[State] = []
        for layer, block, state in zip(self.layers, residual.blocks, states, strict=True):
            c, window = block.enter(x, state[1 - CONVOLVED :])
            own = self._step(layer, product(c, layer.W_xh), state[: 1 - CONVOLVED])
            x = block.leave(x, c, own[0])
            after.append((*own, *window))
        return norm(x, residual.g_out), after

    def _step(self, layer: Layer, projected: np.ndarray, state: State) -> State:
        step, activation = STEPS[self.settings.cell], ACTIVATIONS[self.settings.activation]
        return step(layer, projected + layer.b_h, state, activation)

    def write(
        self,
        prompt: np.ndarray,
        length: int,
        settings: SamplingSettings,
        generator: np.random.Generator,
        count: int = 1,
    ) -> Iterator[np.ndarray]:
        """As `chargen.sampling.generate`: ``length`` characters after ``prompt``, ids.

        That is one for all, ``(T,)``, or one for each of ``count`` texts, ``(N, T)``. Yields the
        next character of each, ``(count,)`` ids.
        """
        worth = self.products * count * (prompt.shape[-1] + length) > WORTH
        return (_compiled if worth and has_compiler() else _plain)(
            self, prompt, length, settings, generator, count
        )


def has_compiler() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


class Steps:
    """``count`` texts that an engine reads and writes in NumPy, one character at a time."""

    def __init__(self, engine: Engine, settings: SamplingSettings, count: int) -> None:
        self._settings = settings
        self._count = count
        # `chosen` sees what came of it.
        self._step = np.errstate(over="ignore", invalid="ignore")(engine.read)
        self._state = engine.initial_state(count)
        self._last: np.ndarray | None = None  # (count,) ids that the state does not know yet
        self._recent = recent_of(np.empty((count, 0), dtype=np.int64), settings)

    def read(self, ids: np.ndarray) -> None:
        """All texts read ``ids``, ``(T,)``, or each its own, ``(N, T)``."""
        for row in prompts(ids, self._count).T:
            if self._last is not None:
                _, self._state = self._step(self._last, self._state)
            self._add(row)

    def write(self, generator: np.random.Generator) -> np.ndarray:
        """The next character of each text, ``(count,)`` ids; something must have been read."""
        assert self._last is not None
        logits, state = self._step(self._last, self._state)
        ids = chosen(logits, self._settings, generator.random(self._count), self._recent)
        self._state = state
        self._add(ids)
        return ids

    def _add(self, ids: np.ndarray) -> None:
        self._last = ids
        self._recent = remembered(self._recent, ids)


def _plain(
    engine: Engine,
    prompt: np.ndarray,
    length: int,
    settings: SamplingSettings,
    generator: np.random.Generator,
    count: int,
) -> Iterator[np.ndarray]:
    text = Steps(engine, settings, count)
    text.read(prompt)
    for _ in range(length):
        yield text.write(generator)


def _compiled(
    engine: Engine,
    prompt: np.ndarray,
    length: int,
    settings: SamplingSettings,
    generator: np.random.Generator,
    count: int,
) -> Iterator[np.ndarray]:
    from chargen.sampling.compiled import Loop

    loop = Loop(engine, settings, count)
    read = prompts(prompt, count)
    loop.read(read[:, :-1])
    loop.remember(read)
    ids = np.ascontiguousarray(read[:, -1])
    for start in range(0, length, BLOCK):
        # The generator draws the same numbers in a block as one by one.
        points = generator.random((min(BLOCK, length - start), count))
        rows = loop.write(ids, points)
        broken = (rows < 0).any(axis=1)
        yield from rows[: broken.argmax()] if broken.any() else rows
        if broken.any():
            raise NoNumbersError
        ids = rows[-1]
