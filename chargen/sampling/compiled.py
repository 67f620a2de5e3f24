"""The writing loop and one time step of a network, compiled by numba.

The elementary functions are those of `chargen.sampling.arithmetic`. The rest does the operations of
`chargen.cells` and `chargen.sampling.engine` in the same order, in place, for one row at a time,
and gives the same bits; nothing may be reassociated or fused, so ``fastmath`` stays off. Only loops
over contiguous arrays of one type compile fast and run fast.

Axes: N sequences, H units of a layer, D units and E feed-forward units of a residual block.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload, register_jitable

from chargen.cells import ACTIVATION_NAMES, CELL_NAMES
from chargen.errors import NonFiniteError
from chargen.sampling.arithmetic import (
    NEUTRAL,
    ONE,
    SMALLEST_32,
    F,
    exp,
    gated,
    level,
    level_scale,
    long_exp,
    sigmoid,
    tanh,
)
from chargen.sampling.choice import Choice, choose_one, penalize, weights
from chargen.sampling.engine import NetworkWeights, State
from chargen.sampling.int8_dot import dot
from chargen.sampling.quantized import Int8Matrix
from chargen.settings import CONVOLVED, RECENT, ModelSettings, block_shapes, widened

TANH, SIGMOID, RELU = map(ACTIVATION_NAMES.index, ("tanh", "sigmoid", "relu"))
SIMPLE, LSTM, GRU = map(CELL_NAMES.index, ("simple", "lstm", "gru"))
Rng = np.random.Generator
LINE = 64  # bytes of a cache line; a vector that spans two lines takes twice as long to load
NOT_SIGN = np.int32(0x7FFFFFFF)  # mask of a float32 without its sign

compiled: Any = njit(cache=True, nogil=True, error_model="numpy")
for _function in (exp, sigmoid, tanh, gated, level, level_scale, penalize, weights, choose_one):
    register_jitable(_function)


_long_exp = compiled(long_exp)


@overload(long_exp)
def _long_exps(x: Any) -> Any:  # an array for every operation would take longer than the arithmetic
    def loop(x: Any) -> Any:
        result = np.empty(len(x))
        for i in range(len(x)):
            result[i] = _long_exp(x[i])
        return result

    return loop


@compiled
def activate(x: Any, activation: int) -> None:
    """Apply an activation function, by its index in ACTIVATION_NAMES, in place."""
    if activation == TANH:
        for i in range(len(x)):
            x[i] = tanh(x[i])
    elif activation == SIGMOID:
        for i in range(len(x)):
            x[i] = sigmoid(x[i])
    elif activation == RELU:
        for i in range(len(x)):
            x[i] = max(x[i], F(0))


@compiled
def norm(x: Any, g: Any, out: Any) -> None:
    """Compute the RMSNorm of ``x`` ``(D,)`` with gain ``g``."""
    total = F(0)
    for i in range(len(x)):
        total += x[i] * x[i]
    scale = ONE / np.sqrt(total / F(len(x)) + SMALLEST_32)
    for i in range(len(x)):
        out[i] = x[i] * scale * g[i]


@compiled
def add(x: Any, y: Any, out: Any) -> None:
    for i in range(len(x)):
        out[i] = x[i] + y[i]


@compiled
def product(rows: Any, matrix: Any, out: Any, start: int, stop: int) -> None:
    """Compute columns ``start`` to ``stop`` of ``rows[:, :J] @ matrix`` for a matrix ``(J, K)``,
    an array or `Int8Matrix.packed`; the matrix may have fewer columns.
    """
    if isinstance(matrix, tuple):
        product_int8(rows, matrix, out, start, stop)
    else:
        product_float32(rows, matrix, out, start, stop)


@compiled
def product_int8(rows: Any, matrix: Any, out: Any, start: int, stop: int) -> None:
    """Multiply with a matrix of `Int8Matrix.packed`, as `Int8Matrix.product` does."""
    levels, scales, J = matrix
    N, stop = len(rows), min(stop, len(scales))
    given = np.zeros((N, levels.shape[1]), dtype=np.int16)
    own = np.empty(N, dtype=np.float32)
    for n in range(N):
        row, x = rows[n], given[n]
        bits, largest = row.view(np.int32), np.int32(0)  # a maximum of integers is vectorized
        for j in range(J):
            largest = max(largest, bits[j] & NOT_SIGN)
        own[n] = scale = level_scale(np.int32(largest).view(np.float32))
        for j in range(J):
            x[j] = np.int16(level(row[j], scale))
    for k in range(start, stop):
        w = levels[k]
        for n in range(N):
            out[n, k] = F(dot(given[n], w)) * own[n] * scales[k]


@compiled
def product_float32(rows: Any, matrix: Any, out: Any, start: int, stop: int) -> None:
    """Multiply with ``matrix`` ``(J, K)``.

    Six rows of the matrix at a time: each sum is then loaded once for six additions; for more there
    are too few registers.
    """
    N, J, stop = len(rows), len(matrix), min(stop, matrix.shape[1])
    for n in range(N):
        for k in range(start, stop):
            out[n, k] = NEUTRAL
    j = 0
    while j + 6 <= J:
        for n in range(N):
            sums = out[n]
            a0, a1, a2 = rows[n, j], rows[n, j + 1], rows[n, j + 2]
            a3, a4, a5 = rows[n, j + 3], rows[n, j + 4], rows[n, j + 5]
            for k in range(start, stop):
                total = sums[k] + a0 * matrix[j, k]
                total = total + a1 * matrix[j + 1, k]
                total = total + a2 * matrix[j + 2, k]
                total = total + a3 * matrix[j + 3, k]
                total = total + a4 * matrix[j + 4, k]
                sums[k] = total + a5 * matrix[j + 5, k]
        j += 6
    while j < J:
        for n in range(N):
            a = rows[n, j]
            for k in range(start, stop):
                out[n, k] += a * matrix[j, k]
        j += 1


@compiled
def interpolate(z: Any, n: Any, h: Any) -> None:
    """Compute ``(1 - z) * n + z * h`` in place of h."""
    for i in range(len(h)):
        h[i] = (ONE - z[i]) * n[i] + z[i] * h[i]


@compiled
def lstm(activation: int, s: Any, h: Any, c: Any) -> None:
    """Update h and c ``(H,)`` from the sums ``s`` ``(4 * H,)`` of the gates."""
    H = len(h)
    i, f, g, o = s[:H], s[H : 2 * H], s[2 * H : 3 * H], s[3 * H :]
    activate(s[: 2 * H], SIGMOID)
    activate(g, activation)
    activate(o, SIGMOID)
    for k in range(H):
        c[k] = f[k] * c[k] + i[k] * g[k]
        h[k] = c[k]
    activate(h, activation)
    for k in range(H):
        h[k] = o[k] * h[k]


@compiled
def step(cell: int, activation: int, x: Any, W: Any, b_m: Any, h: Any, c: Any, sums: Any) -> None:
    """Run one step of one layer: ``x`` ``(N, gates * H)`` projected; ``h``, ``c`` in place.

    ``b_m`` is empty except in a GRU with ``reset_after``.
    """
    N, H = h.shape
    before = cell == GRU and len(b_m) == 0
    product(h, W, sums, 0, 2 * H if before else sums.shape[1])  # nothing for a cell without W_hh
    for n in range(N):
        x_n, s, h_n = x[n], sums[n], h[n]
        if cell == SIMPLE:
            add(x_n, s, h_n)
            activate(h_n, activation)
        elif cell == LSTM:
            add(x_n, s, s)
            lstm(activation, s, h_n, c[n])
        elif cell == GRU:
            r, m = s[:H], s[2 * H :]
            add(x_n[: 2 * H], s[: 2 * H], s[: 2 * H])
            activate(s[: 2 * H], SIGMOID)
            for k in range(H):
                r[k] *= h_n[k] if before else m[k] + b_m[k]
        else:
            activate(x_n[:H], SIGMOID)
            activate(x_n[H:], activation)
            interpolate(x_n[:H], x_n[H:], h_n)
    if before:
        product(sums, W, sums, 2 * H, 3 * H)
    if cell == GRU:
        for n in range(N):
            r, z, m = sums[n][:H], sums[n][H : 2 * H], sums[n][2 * H :]
            add(x[n][2 * H :], m if before else r, m)
            activate(m, activation)
            interpolate(z, m, h[n])


@compiled
def gate(a: Any, b: Any, out: Any) -> None:
    for i in range(len(a)):
        out[i] = gated(a[i], b[i])


@compiled
def enter(blocks: Any, layer: int, x: Any, window: Any, c: Any) -> None:
    """Compute a layer's input ``c`` from ``x``, ``(N, D)``; ``window`` is ``(N, CONVOLVED, D)``."""
    g_in, W_conv = blocks[0][layer], blocks[1][layer]
    K, D = len(W_conv), x.shape[1]
    for n in range(len(x)):
        u, c_n = window[n], c[n]
        for k in range(K - 1, 0, -1):
            for i in range(D):
                u[k, i] = u[k - 1, i]
        norm(x[n], g_in, u[0])
        for i in range(D):
            c_n[i] = u[0, i] * W_conv[0, i]
        for k in range(1, K):
            for i in range(D):
                c_n[i] += u[k, i] * W_conv[k, i]


@compiled
def leave(blocks: Any, layer: int, h: Any, buffers: Any) -> None:
    """Update ``x`` after a layer; the other ``buffers`` are overwritten."""
    _, _, W_gate, W_out, g_ff, W_up, W_down = blocks
    x, c, sums, wide, inner = buffers
    (N, D), E = x.shape, inner.shape[1]
    product(c, W_gate[layer], sums, 0, D)
    gate(sums.ravel(), h.ravel(), c.ravel())
    product(c, W_out[layer], sums, 0, D)
    add(x.ravel(), sums.ravel(), x.ravel())
    for n in range(N):
        norm(x[n], g_ff[layer], c[n])
    product(c, W_up[layer], wide, 0, 2 * E)
    for n in range(N):
        gate(wide[n][:E], wide[n][E:], inner[n])
    product(inner, W_down[layer], sums, 0, D)
    add(x.ravel(), sums.ravel(), x.ravel())


@compiled
def read_one(network: Any, residual: Any, ids: Any) -> Any:
    """Read ``ids`` ``(N,)``; return what the softmax head reads.

    `CompiledLoop` creates the arguments; of ``residual`` only the first, the matrix whose rows the
    ids select, is filled without residual blocks.
    """
    cell, activation, W_xh, W_hh, b_h, b_m, h, c, projected, sums = network
    table, blocks, g_out, windows, buffers = residual
    x, read = buffers[0], buffers[1]
    in_blocks = len(windows) > 0
    for n in range(len(ids)):
        if in_blocks:
            x[n] = table[ids[n]]
        else:
            add(table[ids[n]], b_h[0], projected[0][n])
    for layer in range(len(h)):
        own = projected[layer]
        if in_blocks:
            enter(blocks, layer, x, windows[layer], read)
        if in_blocks or layer:
            product(read if in_blocks else h[layer - 1], W_xh[layer], own, 0, own.shape[1])
            for n in range(len(ids)):
                add(own[n], b_h[layer], own[n])
        step(cell, activation, own, W_hh[layer], b_m[layer], h[layer], c[layer], sums[layer])
        if in_blocks:
            leave(blocks, layer, h[layer], buffers)
    if not in_blocks:
        return h[len(h) - 1]
    for n in range(len(ids)):
        norm(x[n], g_out, read[n])
    return read


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


def aligned(matrix: np.ndarray) -> np.ndarray:
    """Return a copy whose rows begin at multiples of `LINE` bytes and may end with zeros."""
    J, K = matrix.shape
    width = K + -K % (LINE // matrix.itemsize)
    memory = np.zeros(J * width * matrix.itemsize + LINE, dtype=np.uint8)
    start = -memory.ctypes.data % LINE
    rows = memory[start : len(memory) - LINE + start].view(matrix.dtype).reshape(J, width)
    rows[:, :K] = matrix
    return rows


class CompiledLoop:
    """N sequences that a network reads and writes, with the buffers of a step and ``state``."""

    def __init__(self, settings: ModelSettings, weights: NetworkWeights, state: State) -> None:
        layers, top = weights.layers, weights.top
        state, parts = tuple(map(np.ascontiguousarray, state)), len(settings.state_names)
        count, D = len(state[0]), settings.units[-1]
        windows = np.zeros((len(weights.blocks), count, CONVOLVED, D), dtype=np.float32)
        for k in range(CONVOLVED - 1 if weights.blocks else 0):
            windows[:, :, k] = state[parts - CONVOLVED + 1 + k :: parts]

        def buffer(width: int) -> np.ndarray:
            return np.empty((count, width), dtype=np.float32)

        def packed(matrix: Any) -> Any:
            if isinstance(matrix, Int8Matrix):
                levels, *rest = matrix.packed
                return aligned(levels), *rest
            return aligned(matrix) if matrix.ndim == 2 else matrix

        def each(groups: Sequence[Mapping[str, Any]], name: str) -> tuple[Any, ...]:
            missing = vector if name[0] in "bg" else matrix if name == "W_conv" else factor
            return tuple(packed(group.get(name, missing)) for group in groups)

        vector, matrix = np.empty(0, np.float32), np.empty((0, 0), np.float32)
        factor = Int8Matrix.of(matrix) if isinstance(top["W_hy"], Int8Matrix) else matrix
        blocks, table = weights.blocks or ({},) * len(layers), top.get("W_in")
        if table is None:  # the first layer multiplies nothing: its input selects rows
            table, first = layers[0]["W_xh"], {**layers[0], "W_xh": factor}
            layers = (first, *layers[1:])
        sums = [tuple(buffer(len(layer["b_h"])) for layer in layers) for _ in range(2)]
        self._network = (
            CELL_NAMES.index(settings.cell),
            ACTIVATION_NAMES.index(settings.activation),
            *(each(layers, name) for name in ("W_xh", "W_hh", "b_h", "b_m")),
            state[::parts],
            state[1::parts] if "c" in settings.state_names else tuple(buffer(0) for _ in layers),
            *sums,
        )
        self._residual = (
            table,
            tuple(each(blocks, name) for name in block_shapes(D)),
            top.get("g_out", vector),
            windows,
            tuple(map(buffer, (D, D, D, 2 * widened(D), widened(D)))),
        )
        self.logits = buffer(len(top["b_y"]))  # of the last character written
        self._head = (packed(top["W_hy"]), top["b_y"], self.logits)

    def write(
        self, ids: np.ndarray, length: int, block: int, choice: Choice, rng: Rng, start: int = 0
    ) -> Iterator[np.ndarray]:
        """Write as `generate` does, ``block`` characters per call, after ``start`` ids are read."""
        read = ids.T
        for done in range(0, length, block):
            points = rng.random((min(block, length - done), read.shape[1]))
            ids = np.vstack([read, np.empty(points.shape, dtype=np.int64)])
            ids = np.ascontiguousarray(ids)  # numba compiles for each layout
            write(self._network, self._residual, self._head, choice, ids, start, points)
            written = ids[len(read) :]
            finite = (written >= 0).all(axis=1)
            yield from written[np.logical_and.accumulate(finite)]
            if not finite.all():
                raise NonFiniteError
            read = ids[-RECENT:]
            start = len(read) - 1
