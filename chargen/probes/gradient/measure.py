"""Gradient instrument: norm of a single loss's gradient with respect to earlier states.

    g(k) = ‖∂loss_T / ∂state_{T-k}‖

loss_T is the loss in nats at the single step T; a sum over steps would mix distances. g(k)/g(0)
that falls to zero is a vanishing gradient (Hochreiter & Schmidhuber 1997), one that grows without
bound an exploding one (Pascanu et al. 2013, arXiv 1211.5063). A large gradient says that the past
can change the prediction, not that it improves it: it is not memory.

This instrument needs the network itself. Axes: N positions, S = span + 1 states, H units.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.probes.gradient.result import OPEN, WARM_UP_CHARS, Curve, GradientResult, LayerGradient
from chargen.recurrent import CharModel, RecurrentLayer
from chargen.recurrent.layer import OPS, LayerState

POSITIONS = 256
SPAN = 256
TENFOLD, TWICE = 1.0, math.log10(2)
STATE_FLOATS = 2**22  # values of h in one graph, which takes about 200 bytes for each
GATE_NAMES = {"f": "forget gate", "z": "update gate"}  # by `Cell.retention`


def measure(
    model: CharModel,
    ids: np.ndarray,
    *,
    positions: int = POSITIONS,
    span: int = SPAN,
    seed: int = 0,
    trained_timesteps: int | None = None,
    progress: Progress = lambda done, total: None,
) -> GradientResult:
    """Measure g(k), k = 0 .. ``span``, at random positions of a held-out text.

    A float64 copy of the model on the CPU is measured, without gradient clipping or dropout; the
    model stays unchanged. The gradient of h includes every path to the loss, also through the
    layers above. That of c is for constant h, so that both together are the gradient of the state.
    The convolution windows of residual blocks are not part of the state. Two models have the same
    positions for the same text and seed.

    Args:
        model: the network under test.
        ids: the text, ``(M,)``.
        positions: number of positions N, drawn without replacement.
        span: longest distance k; `WARM_UP_CHARS` are read before it.
        seed: seed of the positions.
        trained_timesteps: BPTT length in training, to be marked.
        progress: called with the characters read and their total.

    Raises:
        ChargenError: The text is too short, the gradient exceeds float64, or the loss does not
            depend on a layer's last state at any position.
    """
    inputs, targets = _windows(ids, positions, span, seed)
    model = copy.deepcopy(model).to("cpu", torch.float64).requires_grad_(False)
    layers = model.layers
    rows = max(1, STATE_FLOATS // ((span + 1) * sum(layer.units for layer in layers)))
    batches = []
    for start in range(0, positions, rows):
        own = slice(start, start + rows)
        batches.append(_flows(model, inputs[own], targets[own]))
        progress(inputs[: start + rows].numel(), inputs.numel())
    found = [
        _found(number, layer, [batch[number - 1] for batch in batches])
        for number, layer in enumerate(layers, 1)
    ]
    return GradientResult(model.cell, span, seed, trained_timesteps, tuple(found))


@dataclass(frozen=True)
class _Flow:
    """Measurements of N positions in one layer."""

    norms: np.ndarray  # (parts, S, N), of the gradients by ascending k
    gate_open: np.ndarray  # (N,), fraction; nan without a gate


def _windows(ids: np.ndarray, positions: int, span: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the ``(N, WARM_UP_CHARS + S)`` characters before each position, and ``(N,)`` there."""
    if positions < 1 or span < 1:
        raise ValueError(f"positions and span are 1 or more, not {positions} and {span}")
    read = WARM_UP_CHARS + span + 1
    if len(ids) < read + positions:
        raise ChargenError(
            f"the gradient over {span} characters at {positions} positions takes a held-out text "
            f"of {read + positions} characters, this has {len(ids)}: give a longer one"
        )
    drawn = np.random.default_rng(seed).choice(len(ids) - read, positions, replace=False)
    ends = np.sort(drawn) + read
    inputs = np.asarray(ids, dtype=np.int64)[ends[:, None] + np.arange(-read, 0)]
    return torch.from_numpy(inputs), torch.from_numpy(np.asarray(ids, dtype=np.int64)[ends])


@torch.enable_grad()
def _flows(model: CharModel, inputs: Tensor, targets: Tensor) -> list[_Flow]:
    """Measure one batch of positions in each layer with one backward pass."""
    with torch.no_grad():
        _, starts = model.stack(inputs[:, :WARM_UP_CHARS])
    stack, walks, gates = model.stack, [], []
    below = stack.begin(inputs[:, WARM_UP_CHARS:])
    for index, layer in enumerate(model.layers):
        start, window = stack.parted(index, starts[index])
        read, _ = stack.enter(index, below, window)
        states, gate_open = _walk(layer, layer.project(read), start)
        outputs = torch.stack([state[0] for state in states], dim=1)  # (N, S, H)
        below = stack.leave(index, below, read, outputs)
        walks.append(states)
        gates.append(gate_open)
    # Rows are independent: the gradient of the summed loss in a row is that of its loss.
    logits = stack.end(below)[:, -1] @ model.W_hy + model.b_y
    loss = cross_entropy(logits, targets, reduction="sum")
    return [_Flow(norms, gate) for norms, gate in zip(_norms(loss, walks), gates, strict=True)]


def _walk(
    layer: RecurrentLayer, projected: Tensor, start: LayerState
) -> tuple[list[LayerState], np.ndarray]:
    """Return the state after each of S steps, with a gradient, and how often the gate is open.

    Each part continues as a view of itself. h is made from c within the step, so the gradient of
    the view of c counts only the path of c to later steps.
    """
    states, state = [], start
    gate_open = projected.new_full((projected.shape[1],), 0.0 if layer.cell.retention else np.nan)
    function = layer.activation.function
    for projected_t in projected:
        gates = layer.cell.compute(OPS, function, projected_t, state, layer.weights)
        if layer.cell.retention:
            gate_open += (gates[layer.cell.retention] > OPEN).double().mean(dim=1)
        after = layer.cell.update(function, gates, state)
        state = tuple(part.view_as(part).requires_grad_() for part in after)
        states.append(state)
    return states, (gate_open / len(projected)).numpy()


def _norms(loss: Tensor, walks: Sequence[Sequence[LayerState]]) -> list[np.ndarray]:
    """Return each layer's norms of the gradients, ``(parts, S, N)``, by ascending k."""
    sought = [part for states in walks for state in states for part in state]
    # The loss does not depend on the last c, whose gradient is zero.
    gradients = iter(torch.autograd.grad(loss, sought, materialize_grads=True))
    norms = []
    for states in walks:
        by_step = [torch.stack([_norm(next(gradients)) for _ in state]) for state in states]
        norms.append(torch.stack(by_step[::-1], dim=1).numpy())
    return norms


def _norm(gradient: Tensor) -> Tensor:
    """Return the norms of ``(N, H)``, scaled so that no square leaves the range of float64."""
    scale = gradient.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
    return scale[:, 0] * torch.linalg.vector_norm(gradient / scale, dim=1)


def _found(number: int, layer: RecurrentLayer, flows: Sequence[_Flow]) -> LayerGradient:
    norms = np.concatenate([flow.norms for flow in flows], axis=2)
    if not np.isfinite(norms).all():
        raise ChargenError(f"layer {number}: the gradient exceeds float64; use a shorter span")
    whole = np.hypot.reduce(norms)  # (S, N)
    counts = whole[0] > 0
    if not counts.any():
        raise ChargenError(f"layer {number}: the loss depends on its last state at no position")
    with np.errstate(divide="ignore"):  # log10 of 0 is -inf
        ratios = np.log10(np.stack([*norms, whole])[:, :, counts]) - np.log10(whole[0, counts])
    names = [*layer.cell.state, "both"]
    curves = [_curve(name, ratio) for name, ratio in zip(names, ratios, strict=True)]
    peaks = ratios[-1, 1:].max(axis=1)
    grew = ratios[-1, -1] > np.maximum(TENFOLD, ratios[-1, len(whole) // 2] + TWICE)
    gate = GATE_NAMES.get(layer.cell.retention)
    return LayerGradient(
        layer=number,
        units=layer.units,
        positions=int(counts.sum()),
        last_state=float(np.median(whole[0, counts])),
        curves=tuple(curves if len(norms) > 1 else curves[:1]),
        peak=float(peaks.max()),
        peak_chars=int(peaks.argmax()) + 1,
        exploded=float(grew.mean()),
        gate=gate,
        gate_open=float(np.concatenate([f.gate_open for f in flows]).mean()) if gate else None,
    )


def _curve(part: str, ratios: np.ndarray) -> Curve:
    """Return the quartiles of ``(S, N)`` over N, without interpolation, which -inf would spoil."""
    quartiles = np.quantile(ratios, [0.25, 0.5, 0.75], axis=1, method="inverted_cdf")
    return Curve(part, *quartiles)
