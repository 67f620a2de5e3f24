"""Arithmetic and one time step of a network, compiled by numba.

Each function does the operations of its namesake in `chargen.sampling.arithmetic`, `chargen.cells`
or `chargen.sampling.network` in the same order, in place, for one row at a time, and gives the same
bits; nothing may be reassociated or fused, so ``fastmath`` stays off. Only loops over contiguous
arrays of one type compile fast and run fast.

Axes: N sequences, H units of a layer, D units and E feed-forward units of a residual block.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from chargen.cells import ACTIVATION_NAMES, CELL_NAMES
from chargen.sampling.arithmetic import (
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    LONG_TERMS,
    MAX_EXP,
    MIN_LOG,
    NEUTRAL,
    TERMS,
)
from chargen.settings import SMALLEST

F = np.float32
ONE, TWO = F(1), F(2)
LOG2_E_32, HIGH, LOW, MOST, SMALLEST_32 = map(F, (LOG2_E, LN2_HIGH, LN2_LOW, MAX_EXP, SMALLEST))
A7, A6, A5, A4, A3, A2, A1, A0 = map(F, TERMS)
TANH, SIGMOID, RELU = map(ACTIVATION_NAMES.index, ("tanh", "sigmoid", "relu"))
SIMPLE, LSTM, GRU = map(CELL_NAMES.index, ("simple", "lstm", "gru"))

compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


@compiled
def exp(x: Any, powers: Any) -> None:
    """Exponentiate in place; ``powers`` is a buffer of as many int32."""
    for i in range(len(x)):
        value = min(max(x[i], -MOST), MOST)
        k = np.rint(value * LOG2_E_32)
        rest = value - k * HIGH - k * LOW
        series = A7 * rest + A6
        series = series * rest + A5
        series = series * rest + A4
        series = series * rest + A3
        series = series * rest + A2
        series = series * rest + A1
        x[i] = series * rest + A0
        powers[i] = (np.int32(k) + np.int32(127)) << np.int32(23)
    scale = powers.view(np.float32)
    for i in range(len(x)):
        x[i] *= scale[i]


@compiled
def long_exp(x: float) -> float:
    """Return e**x of x <= 0."""
    if x < MIN_LOG:
        return 0.0
    k = np.rint(x * LOG2_E)
    rest = x - k * LN2_HIGH - k * LN2_LOW
    series = LONG_TERMS[0]
    for term in LONG_TERMS[1:]:
        series = series * rest + term
    return math.ldexp(series, np.int32(k))  # type: ignore[arg-type]


@compiled
def activate(x: Any, powers: Any, activation: int) -> None:
    """Apply an activation function, by its index in ACTIVATION_NAMES, in place."""
    if activation == TANH:
        for i in range(len(x)):
            x[i] = x[i] + x[i]
        exp(x, powers)
        for i in range(len(x)):
            x[i] = ONE - TWO / (ONE + x[i])
    elif activation == SIGMOID:
        for i in range(len(x)):
            x[i] = -x[i]
        exp(x, powers)
        for i in range(len(x)):
            x[i] = ONE / (ONE + x[i])
    elif activation == RELU:
        for i in range(len(x)):
            x[i] = max(x[i], F(0))


@compiled
def gated(a: Any, b: Any, powers: Any, out: Any) -> None:
    """Compute ``silu(a) * b``, ``(K,)``; ``out`` is neither of them."""
    for i in range(len(a)):
        out[i] = a[i]
    activate(out, powers, SIGMOID)
    for i in range(len(a)):
        out[i] = out[i] * a[i] * b[i]


@compiled
def norm(x: Any, g: Any, out: Any) -> None:
    """Compute the RMSNorm of ``x`` ``(D,)`` with gain ``g``."""
    D = len(x)
    total = F(0)
    for i in range(D):
        total += x[i] * x[i]
    scale = ONE / np.sqrt(total / F(D) + SMALLEST_32)
    for i in range(D):
        out[i] = x[i] * scale * g[i]


@compiled
def add(x: Any, y: Any, out: Any) -> None:
    """Compute ``x + y``, ``(K,)``."""
    for i in range(len(x)):
        out[i] = x[i] + y[i]


@compiled
def product(rows: Any, matrix: Any, out: Any, start: int, stop: int) -> None:
    """Compute columns ``start`` to ``stop`` of ``rows[:, :J] @ matrix`` for a matrix ``(J, K)``.

    Six rows of the matrix at a time: each sum is then loaded once for six additions; for more there
    are too few registers.
    """
    N, J = len(rows), len(matrix)
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
def lstm(activation: int, s: Any, h: Any, c: Any, powers: Any) -> None:
    """Update h and c ``(H,)`` from the sums ``s`` ``(4 * H,)`` of the gates."""
    H = len(h)
    activate(s[: 2 * H], powers, SIGMOID)
    activate(s[2 * H : 3 * H], powers, activation)
    activate(s[3 * H :], powers, SIGMOID)
    for i in range(H):
        c[i] = s[H + i] * c[i] + s[i] * s[2 * H + i]
        h[i] = c[i]
    activate(h, powers, activation)
    for i in range(H):
        h[i] = s[3 * H + i] * h[i]


@compiled
def gru(activation: int, x: Any, W_hh: Any, b_m: Any, h: Any, sums: Any, powers: Any) -> None:
    """Run a step of the GRU; ``b_m`` is empty with ``reset_after=False``."""
    N, H = h.shape
    after = len(b_m) > 0
    product(h, W_hh, sums, 0, 3 * H if after else 2 * H)
    for n in range(N):
        x_n, s, h_n = x[n], sums[n], h[n]
        add(x_n[: 2 * H], s[: 2 * H], s[: 2 * H])
        activate(s[: 2 * H], powers, SIGMOID)
        if after:
            for i in range(H):
                s[2 * H + i] = x_n[2 * H + i] + s[i] * (s[2 * H + i] + b_m[i])
            activate(s[2 * H :], powers, activation)
            interpolate(s[H : 2 * H], s[2 * H :], h_n)
        else:
            for i in range(H):
                s[i] *= h_n[i]
    if after:
        return
    product(sums, W_hh, sums, 2 * H, 3 * H)
    for n in range(N):
        x_n, s = x[n], sums[n]
        add(x_n[2 * H :], s[2 * H :], s[2 * H :])
        activate(s[2 * H :], powers, activation)
        interpolate(s[H : 2 * H], s[2 * H :], h[n])


@compiled
def step(
    cell: int, activation: int, x: Any, W_hh: Any, b_m: Any, h: Any, c: Any, sums: Any, powers: Any
) -> None:
    """Run one step of one layer: ``x`` ``(N, gates * H)`` projected; ``h``, ``c`` in place."""
    H = h.shape[1]
    if cell == GRU:
        gru(activation, x, W_hh, b_m, h, sums, powers)
        return
    product(h, W_hh, sums, 0, W_hh.shape[1])  # nothing without W_hh
    for n in range(len(h)):
        if cell == LSTM:
            add(x[n], sums[n], sums[n])
            lstm(activation, sums[n], h[n], c[n], powers)
        elif cell == SIMPLE:
            add(x[n], sums[n], h[n])
            activate(h[n], powers, activation)
        else:
            x_n = x[n]
            activate(x_n[:H], powers, SIGMOID)
            activate(x_n[H:], powers, activation)
            interpolate(x_n[:H], x_n[H:], h[n])


@compiled
def enter(blocks: Any, layer: int, x: Any, window: Any, c: Any) -> None:
    """Compute a layer's input ``c`` from ``x``, ``(N, D)``; ``window`` is ``(N, CONVOLVED, D)``."""
    g_in, W_conv = blocks[0][layer], blocks[1][layer]
    K, D = W_conv.shape
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
def leave(blocks: Any, layer: int, h: Any, buffers: Any, powers: Any) -> None:
    """Update ``x`` after a layer; the other ``buffers`` are overwritten."""
    _, _, W_gate, W_out, g_ff, W_up, W_down = blocks
    x, c, sums, wide, inner = buffers
    N, D = x.shape
    E = inner.shape[1]
    product(c, W_gate[layer], sums, 0, D)
    for n in range(N):
        gated(sums[n], h[n], powers, c[n])
    product(c, W_out[layer], sums, 0, D)
    for n in range(N):
        add(x[n], sums[n], x[n])
        norm(x[n], g_ff[layer], c[n])
    product(c, W_up[layer], wide, 0, 2 * E)
    for n in range(N):
        both = wide[n]
        gated(both[:E], both[E:], powers, inner[n])
    product(inner, W_down[layer], sums, 0, D)
    for n in range(N):
        add(x[n], sums[n], x[n])


@compiled
def read_one(network: Any, residual: Any, ids: Any) -> Any:
    """Read ``ids`` ``(N,)``; return what the softmax head reads.

    `chargen.sampling.compiled_loop.CompiledLoop` creates the arguments; the arrays of ``residual``
    are empty without residual blocks.
    """
    cell, activation, W_xh, W_hh, b_h, b_m, h, c, projected, sums, powers = network
    W_in, blocks, g_out, windows, buffers = residual
    x, read = buffers[0], buffers[1]
    in_blocks = len(windows) > 0
    if in_blocks:
        for n in range(len(ids)):
            for i in range(len(g_out)):
                x[n, i] = W_in[ids[n], i]
    for layer in range(len(h)):
        own = projected[layer]
        if in_blocks:
            enter(blocks, layer, x, windows[layer], read)
        if in_blocks or layer:
            product(read if in_blocks else h[layer - 1], W_xh[layer], own, 0, own.shape[1])
            for n in range(len(ids)):
                add(own[n], b_h[layer], own[n])
        else:
            for n in range(len(ids)):
                add(W_xh[0][ids[n]], b_h[0], own[n])
        h_l = h[layer]
        step(cell, activation, own, W_hh[layer], b_m[layer], h_l, c[layer], sums[layer], powers)
        if in_blocks:
            leave(blocks, layer, h_l, buffers, powers)
    if not in_blocks:
        return h[len(h) - 1]
    for n in range(len(ids)):
        norm(x[n], g_out, read[n])
    return read
