"""The inference engine: writes with trained weights, without torch.

`read_step` is written once for every kind of array: NumPy's here, graph values in the ONNX export.
`chargen.recurrent.stack` has the equations of residual blocks.

`Engine.write` has two forms that write the same characters, bit for bit: one in NumPy, and one that
numba compiles (`chargen.sampling.compiled`), which pays for the second that loading it takes once
there is enough to write. Axes: N sequences, T time steps, V characters, H units of a layer; D units
and E feed-forward units of a residual block.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from chargen.cells import CellOps, Function
from chargen.sampling.arithmetic import gated, norm, product, sigmoid, tanh
from chargen.sampling.choice import Choice, choose, generate, prompt_rows
from chargen.sampling.quantized import Int8Matrix, rounded
from chargen.settings import RECENT, ModelSettings, SamplingSettings
from chargen.text.vocabulary import PLACEHOLDER, Vocabulary

MIN_COMPILED = 3e9  # multiplications, about what NumPy computes while numba loads
CALLS = 200_000  # multiplications that take NumPy as long as its calls for one character
MOST_AT_ONCE, WORK_AT_ONCE = 256, 1e8  # characters and multiplications per compiled call
NEVER = -1e9  # bias of a character that is not generated

State = tuple[Any, ...]
"""The state of all layers, each with the tensors of `ModelSettings.state_names`, ``(N, H)``."""


@dataclass(frozen=True)
class NetworkOps(CellOps):
    """Operations of one kind of array, beyond those of a cell."""

    norm: Callable[[Any, Any], Any]  # RMSNorm of (N, D) with a gain (D,)
    gated: Callable[[Any, Any], Any]  # silu(a) * b
    take: Callable[[Any, Any], Any]  # rows of a matrix by ids (N,)
    rows: Callable[[Any], Sequence[Any]]  # all rows of a matrix
    activations: Mapping[str, Function]


NUMPY = NetworkOps(
    product=lambda x, W: W.product(x) if isinstance(W, Int8Matrix) else product(x, W),
    split=lambda x, parts: (
        x.split(parts) if isinstance(x, Int8Matrix) else np.split(x, parts, axis=-1)
    ),
    sigmoid=sigmoid,
    norm=norm,
    gated=gated,
    take=lambda W, ids: W[ids],
    rows=list,
    activations={
        "tanh": tanh,
        "relu": lambda x: np.maximum(x, np.float32(0)),
        "sigmoid": sigmoid,
        "linear": lambda x: x,
    },
)


@dataclass(frozen=True)
class NetworkWeights:
    """The weights that `ModelSettings.shapes` names, grouped by layer and residual block."""

    layers: tuple[Mapping[str, Any], ...]
    blocks: tuple[Mapping[str, Any], ...]  # empty without residual blocks
    top: Mapping[str, Any]

    @classmethod
    def of(cls, weights: Mapping[str, Any], settings: ModelSettings) -> "NetworkWeights":
        groups: dict[str, dict[str, Any]] = {}
        for name, value in weights.items():
            group, _, part = name.rpartition(".")
            groups.setdefault(group, {})[part] = value
        numbers = range(len(settings.units))
        blocks = numbers if settings.stack == "residual" else ()
        return cls(
            tuple(groups[f"stack.layers.{number}"] for number in numbers),
            tuple(groups[f"stack.blocks.{number}"] for number in blocks),
            groups[""] | groups.get("stack", {}),
        )


def without_placeholder(
    weights: Mapping[str, np.ndarray], vocabulary: Vocabulary
) -> Mapping[str, np.ndarray]:
    """Return weights of a model that generates no placeholder of rare characters."""
    if not vocabulary.dropped:
        return weights
    bias = weights["b_y"].copy()
    bias[vocabulary.characters.index(PLACEHOLDER)] = NEVER
    return {**weights, "b_y": bias}


def quantized(arrays: Mapping[str, np.ndarray], settings: ModelSettings) -> dict[str, Any]:
    """Return weights with matrices of `Int8Matrix`; those that nothing is multiplied with are
    rounded to the same levels and stay float32.
    """
    whole = {"stack.W_in"} if settings.stack == "residual" else {"stack.layers.0.W_xh"}
    weights: dict[str, Any] = dict(arrays)
    for name, array in arrays.items():
        if name in whole or name.endswith("W_conv"):
            weights[name] = np.multiply(*rounded(array))
        elif array.ndim == 2:
            weights[name] = Int8Matrix.of(array)
    return weights


def initial_state(settings: ModelSettings, count: int) -> State:
    widths = (units for units in settings.units for _ in settings.state_names)
    return tuple(np.zeros((count, units), dtype=np.float32) for units in widths)


def read_step(
    ops: NetworkOps, settings: ModelSettings, weights: NetworkWeights, ids: Any, state: State
) -> tuple[Any, State]:
    """Read one character of each sequence: return the next one's logits and the next state."""
    cell, activation = settings.described_cell, ops.activations[settings.activation]
    parts, blocks = len(settings.state_names), weights.blocks
    x = ops.take(weights.top["W_in"] if blocks else weights.layers[0]["W_xh"], ids)
    after: State = ()
    for number, layer in enumerate(weights.layers):
        given = state[number * parts : (number + 1) * parts]
        own, window = given[: len(cell.state)], given[len(cell.state) :]
        projected = c = x
        if blocks:
            c, window = _enter(ops, blocks[number], x, window)
        if blocks or number:
            projected = ops.product(c, layer["W_xh"])
        own = cell.step(ops, activation, projected + layer["b_h"], own, layer)
        x = _leave(ops, blocks[number], x, c, own[0]) if blocks else own[0]
        after += (*own, *window)
    outputs = ops.norm(x, weights.top["g_out"]) if blocks else x
    return ops.product(outputs, weights.top["W_hy"]) + weights.top["b_y"], after


def _enter(ops: NetworkOps, w: Mapping[str, Any], x: Any, window: State) -> tuple[Any, State]:
    """Return the input of the layer, and the next window of its convolution, latest first."""
    seen = (ops.norm(x, w["g_in"]), *window)
    W_conv = ops.rows(w["W_conv"])
    c = seen[0] * W_conv[0]
    for u, W in zip(seen[1:], W_conv[1:], strict=True):
        c = c + u * W
    return c, seen[:-1]


def _leave(ops: NetworkOps, w: Mapping[str, Any], x: Any, c: Any, h: Any) -> Any:
    x = x + ops.product(ops.gated(ops.product(c, w["W_gate"]), h), w["W_out"])
    a, b = ops.split(ops.product(ops.norm(x, w["g_ff"]), w["W_up"]), 2)
    return x + ops.product(ops.gated(a, b), w["W_down"])


class Engine:
    """A trained network in inference; `ChargenError` if the weights do not fit its settings.

    ``form`` is the format of its matrices, one of `WEIGHT_FORMATS`.
    """

    def __init__(
        self,
        settings: ModelSettings,
        arrays: Mapping[str, np.ndarray],
        size: int,
        form: str = "float32",
    ) -> None:
        settings.check({name: array.shape for name, array in arrays.items()}, size)
        own = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        self.settings, self.form = settings, form
        own = quantized(own, settings) if form == "int8" else own
        self.weights = NetworkWeights.of(own, settings)
        self.multiplications = settings.parameters(size)  # per character, approximately
        self.block = max(1, min(MOST_AT_ONCE, int(WORK_AT_ONCE / self.multiplications)))

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

        ``compiled`` selects the form; by default the amount of work does, and NumPy writes while
        numba compiles.
        """
        work = (self.multiplications + CALLS) * count * (prompt.shape[-1] + length)
        fast: Any = None
        if work > MIN_COMPILED if compiled is None else compiled:
            with suppress(RuntimeError):  # numba finds no folder for compiled code
                from chargen.sampling import compiling as fast
        if fast is None:
            yield from generate(self.advance, prompt, length, settings, generator, count)
            return
        is_ready = (lambda: True) if compiled else fast.compiling(self.settings, self.form)
        ids, state = prompt_rows(prompt, count), initial_state(self.settings, count)
        start = done = 0  # characters of ``ids`` that the state has read, characters written
        while done < length and (done % self.block or not is_ready()):
            logits, state = self.read(ids[:, start], state)
            start += 1
            if start == ids.shape[1]:
                if done % self.block == 0:  # ``generator`` advances as in the compiled form
                    own = deepcopy(generator)
                    generator.random((min(self.block, length - done), count))
                row = choose(logits, settings, own, ids)
                ids = np.concatenate([ids[:, 1 - RECENT :], row[:, None]], axis=1)
                start, done = ids.shape[1] - 1, done + 1
                yield row
        loop = fast.CompiledLoop(self.settings, self.weights, state)
        yield from loop.write(ids, length - done, self.block, Choice.of(settings), generator, start)
