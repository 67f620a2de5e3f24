"""One step of one layer, and of the residual block round it, in NumPy.

Axes: N texts, H units, D numbers that flow past the blocks, E those inside the feed-forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chargen.sampling.elementary import gated, norm, product, sigmoid, tanh

State = tuple[np.ndarray, ...]
"""What one layer remembers, or several one after the other: see `Engine.initial_state`."""

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Layer:
    """The weights of one layer, float32, as they are used."""

    W_xh: np.ndarray  # (F, blocks * H)
    W_hh: np.ndarray  # (H, blocks * H), of a cell that is `UNMIXED` (0, 0)
    b_h: np.ndarray  # (blocks * H,)
    b_m: np.ndarray  # (H,) of a GRU, else empty

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], name: str) -> Layer:
        """The layer whose weights' names begin with ``name``."""
        W_hh = arrays.get(name + "W_hh", np.empty((0, 0)))
        b_m = arrays.get(name + "b_m", np.empty(0))
        given = arrays[name + "W_xh"], W_hh, arrays[name + "b_h"], b_m
        return cls(*map(laid_out, given))


class Block(NamedTuple):
    """The weights of what stands round one layer: see `chargen.recurrent.residual.Block`."""

    g_in: np.ndarray  # (D,)
    W_conv: np.ndarray  # (CONVOLVED, D)
    W_gate: np.ndarray  # (D, D)
    W_out: np.ndarray  # (D, D)
    g_ff: np.ndarray  # (D,)
    W_up: np.ndarray  # (D, 2 * E)
    W_down: np.ndarray  # (E, D)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], name: str) -> Block:
        """The block whose weights' names begin with ``name``."""
        return cls(*(laid_out(arrays[name + part]) for part in cls._fields))

    def enter(self, x: np.ndarray, window: State) -> tuple[np.ndarray, State]:
        """What the layer reads, c, and the next window: of u, the latest first."""
        seen = (norm(x, self.g_in), *window)
        c = seen[0] * self.W_conv[0]
        for u, W in zip(seen[1:], self.W_conv[1:], strict=True):
            c += u * W
        return c, seen[:-1]

    def leave(self, x: np.ndarray, c: np.ndarray, h: np.ndarray) -> np.ndarray:
        """x after the block, whose layer read ``c`` and put out ``h``."""
        x = x + product(gated(product(c, self.W_gate), h), self.W_out)
        a, b = np.split(product(norm(x, self.g_ff), self.W_up), 2, axis=1)
        result: np.ndarray = x + product(gated(a, b), self.W_down)
        return result


class Residual(NamedTuple):
    """The weights of a `chargen.recurrent.residual.ResidualStack`, its layers apart."""

    W_in: np.ndarray  # (V, D)
    blocks: tuple[Block, ...]
    g_out: np.ndarray  # (D,)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], layers: int) -> Residual:
        """Those among the model's ``arrays``."""
        blocks = tuple(Block.of(arrays, f"stack.blocks.{n}.") for n in range(layers))
        return cls(laid_out(arrays["stack.W_in"]), blocks, laid_out(arrays["stack.g_out"]))


def laid_out(array: np.ndarray) -> np.ndarray:
    """Float32, row after row."""
    return np.ascontiguousarray(array, dtype=np.float32)


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


def _mingru(layer: Layer, projected: np.ndarray, state: State, activation: Function) -> State:
    """See `chargen.recurrent.cells.mingru`."""
    (h,) = state
    x_z, x_n = np.split(projected, 2, axis=1)
    z = sigmoid(x_z)
    return ((np.float32(1) - z) * activation(x_n) + z * h,)


STEPS: dict[str, Callable[[Layer, np.ndarray, State, Function], State]] = {
    "simple": _simple,
    "lstm": _lstm,
    "gru": _gru,
    "gru-before": _gru_before,
    "mingru": _mingru,
}
ACTIVATIONS: dict[str, Function] = {
    "tanh": tanh,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "sigmoid": sigmoid,
    "linear": lambda x: x,
}
