"""One time step of a network compiled by numba: the operations of `chargen.cells` and
`chargen.sampling.network` in the same order, in place.

Axes: N sequences, H units of a layer, D units and E feed-forward units of a residual block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chargen.cells import CELL_NAMES
from chargen.sampling.compiled_arithmetic import (
    activate,
    add,
    compiled,
    gated,
    norm,
    product,
    sigmoid,
)

SIMPLE, LSTM, GRU, MINGRU = range(len(CELL_NAMES))
ONE = np.float32(1)


@compiled
def interpolate(z: Any, n: Any, h: Any) -> None:
    """Compute ``(1 - z) * n + z * h`` in place of h."""
    for i in range(len(h)):
        h[i] = (ONE - z[i]) * n[i] + z[i] * h[i]


@compiled
def step_reset_before(activation: int, x: Any, W_hh: Any, h: Any, sums: Any, powers: Any) -> None:
    """Run a step of the GRU with ``reset_after=False``; ``r * h`` takes r's place in ``sums``."""
    N, H = h.shape
    product(h, W_hh[:, : 2 * H], sums[:, : 2 * H])
    for n in range(N):
        s_n = sums[n]
        add(x[n, : 2 * H], s_n[: 2 * H], s_n[: 2 * H])
        sigmoid(s_n[: 2 * H], powers)
        for i in range(H):
            s_n[i] *= h[n, i]
    product(sums[:, :H], W_hh[:, 2 * H :], sums[:, 2 * H :])
    for n in range(N):
        s_n = sums[n]
        add(x[n, 2 * H :], s_n[2 * H :], s_n[2 * H :])
        activate(s_n[2 * H :], powers, activation)
        interpolate(s_n[H : 2 * H], s_n[2 * H :], h[n])


@compiled
def step(
    cell: int, activation: int, x: Any, W_hh: Any, b_m: Any, h: Any, c: Any, sums: Any, powers: Any
) -> None:
    """Run one step of one layer: ``x`` ``(N, gates * H)`` projected; ``h``, ``c`` in place."""
    if cell == GRU and len(b_m) == 0:
        step_reset_before(activation, x, W_hh, h, sums, powers)
        return
    N, H = h.shape
    if cell != MINGRU:
        product(h, W_hh, sums)
    for n in range(N):
        x_n, s_n, h_n, c_n = x[n], sums[n], h[n], c[n]
        if cell == SIMPLE:
            add(x_n, s_n, h_n)
            activate(h_n, powers, activation)
        elif cell == LSTM:
            add(x_n, s_n, s_n)
            sigmoid(s_n[: 2 * H], powers)
            activate(s_n[2 * H : 3 * H], powers, activation)
            sigmoid(s_n[3 * H :], powers)
            for i in range(H):
                c_n[i] = s_n[H + i] * c_n[i] + s_n[i] * s_n[2 * H + i]
                h_n[i] = c_n[i]
            activate(h_n, powers, activation)
            for i in range(H):
                h_n[i] = s_n[3 * H + i] * h_n[i]
        elif cell == GRU:
            add(x_n[: 2 * H], s_n[: 2 * H], s_n[: 2 * H])
            sigmoid(s_n[: 2 * H], powers)
            for i in range(H):
                s_n[2 * H + i] = x_n[2 * H + i] + s_n[i] * (s_n[2 * H + i] + b_m[i])
            activate(s_n[2 * H :], powers, activation)
            interpolate(s_n[H : 2 * H], s_n[2 * H :], h_n)
        else:
            sigmoid(x_n[:H], powers)
            activate(x_n[H:], powers, activation)
            interpolate(x_n[:H], x_n[H:], h_n)


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
def leave(
    blocks: Any, layer: int, x: Any, c: Any, h: Any, sums: Any, wide: Any, inner: Any, powers: Any
) -> None:
    """Update ``x`` after a layer; ``c`` is overwritten, the arguments after ``h`` are buffers."""
    _, _, W_gate, W_out, g_ff, W_up, W_down = blocks
    N, E = inner.shape
    product(c, W_gate[layer], sums)
    for n in range(N):
        gated(sums[n], h[n], powers, c[n])
    product(c, W_out[layer], sums)
    for n in range(N):
        add(x[n], sums[n], x[n])
        norm(x[n], g_ff[layer], c[n])
    product(c, W_up[layer], wide)
    for n in range(N):
        gated(wide[n, :E], wide[n, E:], powers, inner[n])
    product(inner, W_down[layer], sums)
    for n in range(N):
        add(x[n], sums[n], x[n])


@compiled
def read_one(network: Any, residual: Any, ids: Any, buffers: Any) -> Any:
    """Read ``ids`` ``(N,)``; return what the softmax head reads.

    `chargen.sampling.compiled_loop.CompiledLoop` creates the arguments; ``residual`` is None
    without residual blocks.
    """
    cell, activation, tables, W_hh, b_h, b_m, h, c = network
    projected, sums, powers = buffers
    if residual is not None:
        W_in, blocks, g_out, windows, x, read, added, wide, inner = residual
        for n in range(len(ids)):
            x[n] = W_in[ids[n]]
    for layer in range(len(h)):
        own = projected[layer]
        if residual is not None:
            enter(blocks, layer, x, windows[layer], read)
            product(read, tables[layer], own)
        elif layer:
            product(h[layer - 1], tables[layer], own)
        else:
            for n in range(len(ids)):
                own[n] = tables[0][ids[n]]
        for n in range(len(ids)):
            add(own[n], b_h[layer], own[n])
        h_l, c_l = h[layer], c[layer]
        step(cell, activation, own, W_hh[layer], b_m[layer], h_l, c_l, sums[layer], powers)
        if residual is not None:
            leave(blocks, layer, x, read, h_l, added, wide, inner, powers)
    if residual is None:
        return h[len(h) - 1]
    for n in range(len(ids)):
        norm(x[n], g_out, read[n])
    return read
