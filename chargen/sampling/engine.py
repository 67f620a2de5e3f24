"""A trained network that only writes: no torch, no gradient, one character at a time.

The weights are laid out once. `Engine.write` has two forms that give the same characters: this
one, of NumPy, and one that numba compiles (`chargen.sampling.compiled`) and that is worth the
second or so which it takes to be loaded once there is much to write.
Axes: N texts, T timesteps, H units, V characters.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from chargen.arithmetic.plain import product, sigmoid, tanh
from chargen.errors import NoNumbersError
from chargen.sampling.choice import chosen, recent_of, remembered
from chargen.settings import ModelSettings, SamplingSettings

BLOCK = 64  # characters written before they are handed on
WORTH = 3e9  # products that are to be added up: about what NumPy does in the time of loading numba

State = tuple[np.ndarray, ...]
"""What each layer remembers, one after the other: ``(N, H)`` of h, and for an LSTM then of c."""


@dataclass(frozen=True)
class Layer:
    """The weights of one layer, float32, as they are used."""

    W_xh: np.ndarray  # (F, blocks * H)
    W_hh: np.ndarray  # (H, blocks * H)
    b_h: np.ndarray  # (blocks * H,)
    b_m: np.ndarray  # (H,) of a GRU, else empty


class Engine:
    """Writes with the weights of a `chargen.recurrent.CharModel`, given as arrays by name."""

    def __init__(
        self, settings: ModelSettings, arrays: Mapping[str, np.ndarray], size: int
    ) -> None:
        """``arrays`` are those that `ModelSettings.shapes` names; `ChargenError` for others."""
        settings.check({name: array.shape for name, array in arrays.items()}, size)
        self.settings = settings
        self.layers = [_layer(arrays, f"stack.layers.{n}.") for n in range(len(settings.units))]
        self.W_hy, self.b_y = _laid_out(arrays["W_hy"]), _laid_out(arrays["b_y"])
        self.products = settings.parameters(size)  # a character, about

    def initial_state(self, count: int) -> State:
        """The state before the first character: zeros."""
        parts = 2 if self.settings.cell == "lstm" else 1
        return tuple(
            np.zeros((count, units), dtype=np.float32)
            for units in self.settings.units
            for _ in range(parts)
        )

    def read(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """One step: ``ids`` ``(N,)`` to the next character's logits ``(N, V)``, and the state."""
        step = STEPS[self.settings.cell]
        activation = ACTIVATIONS[self.settings.activation]
        parts = len(state) // len(self.layers)
        after: list[np.ndarray] = []
        projected = self.layers[0].W_xh[ids] + self.layers[0].b_h
        for number, layer in enumerate(self.layers):
            if number:
                projected = product(after[-parts], layer.W_xh) + layer.b_h
            own = state[number * parts : (number + 1) * parts]
            after += step(layer, projected, own, activation)
        return product(after[-parts], self.W_hy) + self.b_y, tuple(after)

    def write(
        self,
        prompt: np.ndarray,
        length: int,
        settings: SamplingSettings,
        generator: np.random.Generator,
        count: int = 1,
    ) -> Iterator[np.ndarray]:
        """As `chargen.sampling.generate`: ``length`` characters after ``prompt``, ``(T,)`` ids.

        Yields the next character of each of ``count`` texts, ``(count,)`` ids.
        """
        worth = self.products * count * (len(prompt) + length) > WORTH
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
        self._recent = recent_of(np.empty(0), count, settings)

    def read(self, ids: np.ndarray) -> None:
        """All texts read ``ids``, ``(T,)``."""
        for id_ in ids:
            if self._last is not None:
                _, self._state = self._step(self._last, self._state)
            self._add(np.full(self._count, id_, dtype=np.int64))

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
    loop.read(prompt[:-1])
    loop.remember(prompt)
    ids = np.full(count, prompt[-1], dtype=np.int64)
    for start in range(0, length, BLOCK):
        # The generator draws the same numbers in a block as one by one.
        points = generator.random((min(BLOCK, length - start), count))
        rows = loop.write(ids, points)
        broken = (rows < 0).any(axis=1)
        yield from rows[: broken.argmax()] if broken.any() else rows
        if broken.any():
            raise NoNumbersError
        ids = rows[-1]


def _layer(arrays: Mapping[str, np.ndarray], name: str) -> Layer:
    none = np.empty(0, dtype=np.float32)
    W_xh, W_hh, b_h = (_laid_out(arrays[name + part]) for part in ("W_xh", "W_hh", "b_h"))
    return Layer(W_xh, W_hh, b_h, _laid_out(arrays.get(name + "b_m", none)))


def _laid_out(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


Function = Callable[[np.ndarray], np.ndarray]


def _simple(layer: Layer, projected: np.ndarray, state: State, activation: Function) -> State:
    """See `chargen.recurrent.cells.simple`."""
    (h,) = state
    return (activation(projected + product(h, layer.W_hh)),)


def _lstm(layer: Layer, projected: np.ndarray, state: State, activation: Function) -> State:
    """See `chargen.recurrent.cells.lstm`."""
    h, c = state
    i, f, g, o = np.split(projected + product(h, layer.W_hh), 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * activation(g)
    return sigmoid(o) * activation(c), c


def _gru(layer: Layer, projected: np.ndarray, state: State, activation: Function) -> State:
    """See `chargen.recurrent.cells.gru`."""
    (h,) = state
    x_r, x_z, x_n = np.split(projected, 3, axis=1)
    h_r, h_z, h_n = np.split(product(h, layer.W_hh), 3, axis=1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = activation(x_n + r * (h_n + layer.b_m))
    return ((np.float32(1) - z) * n + z * h,)


def _gru_before(layer: Layer, projected: np.ndarray, state: State, activation: Function) -> State:
    """See `chargen.recurrent.cells.gru_before`."""
    (h,) = state
    W_both, W_hn = np.split(layer.W_hh, [2 * h.shape[1]], axis=1)
    x_r, x_z, x_n = np.split(projected, 3, axis=1)
    h_r, h_z = np.split(product(h, W_both), 2, axis=1)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = activation(x_n + product(r * h, W_hn))
    return ((np.float32(1) - z) * n + z * h,)


STEPS: dict[str, Callable[[Layer, np.ndarray, State, Function], State]] = {
    "simple": _simple,
    "lstm": _lstm,
    "gru": _gru,
    "gru-before": _gru_before,
}
ACTIVATIONS: dict[str, Function] = {
    "tanh": tanh,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "sigmoid": sigmoid,
    "linear": lambda x: x,
}
