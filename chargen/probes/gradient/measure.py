"""Instrument (c): how much of one character's loss is felt k characters back, as a gradient.

    g(k) = ‖∂loss_T / ∂state_{T-k}‖

loss_T is the loss, in nats, at the single step T: summed over several steps it would mix
distances. g(k)/g(0) falling to nothing is the vanishing gradient (Hochreiter & Schmidhuber 1997),
its growing without bound the exploding one (Pascanu et al. 2013, arXiv 1211.5063). Where next to
nothing arrives, training has next to nothing to go by: this helps to explain instrument (a). It
does not replace it. A large gradient says that the past can change the prediction, not that it
makes it right: it is not memory.

This is the one instrument that needs the network itself. Axes: N positions, S = span + 1 states,
H units.
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
from chargen.probes.layers import cell_of, layers_of
from chargen.recurrent import CharModel, RecurrentLayer
from chargen.recurrent.layer import LayerState

POSITIONS = 256
SPAN = 256
TENFOLD, TWICE = 1.0, math.log10(2)
STATE_FLOATS = 2**20  # of h, in one graph: about 250 MB with all that a step keeps beside it
GATE_NAMES = {"f": "forget gate", "z": "update gate"}  # of `Cell.retention`


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
    """Measure g(k), k = 0 .. ``span``, at ``positions`` places of the held-out ``ids`` ``(M,)``.

    A float64 copy of ``model`` on the CPU is measured; the model itself is not touched. The places
    are drawn from ``seed`` without replacement; before each, the text is read over
    `WARM_UP_CHARS` characters and the span. Clipping and dropout play no part. The gradient of h
    counts every way from it to the loss, through the layers above too; that of c is for h held
    fixed, so that h and c together are the gradient of the state. What a residual block convolves,
    the last few characters, is no part of it. Two models measured on the same
    ``ids`` with the same ``seed`` are measured at the same places. `ChargenError` where the text
    is too short, the gradient is beyond float64, or a layer's last state never counts.
    """
    inputs, targets = _windows(ids, positions, span, seed)
    model = copy.deepcopy(model).to("cpu", torch.float64).requires_grad_(False)
    layers = layers_of(model)
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
    return GradientResult(cell_of(model), span, seed, trained_timesteps, tuple(found))


@dataclass(frozen=True)
class _Flow:
    """What N positions showed at one layer."""

    norms: np.ndarray  # (parts, S, N), of the gradients by ascending k
    gate_open: np.ndarray  # (N,), the share; nan without a gate


def _windows(ids: np.ndarray, positions: int, span: int, seed: int) -> tuple[Tensor, Tensor]:
    """``(N, WARM_UP_CHARS + S)`` characters before each place, and the ``(N,)`` there."""
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
    """What one batch shows at each layer, from one backward pass."""
    with torch.no_grad():
        _, starts = model.stack(inputs[:, :WARM_UP_CHARS])
    stack, walks, gates = model.stack, [], []
    below = stack.begin(inputs[:, WARM_UP_CHARS:])
    for index, layer in enumerate(layers_of(model)):
        start, window = stack.parted(index, starts[index])
        read, _ = stack.enter(index, below, window)
        projected = layer.project(read)
        states = _walk(layer, projected, start)
        gates.append(_gate_open(layer, projected, [start, *states[:-1]]))
        outputs = torch.stack([state[0] for state in states], dim=1)  # (N, S, H)
        below = stack.leave(index, below, read, outputs)
        walks.append(states)
    # A row's gradient of the sum is that of its own loss: no other row's loss knows its states.
    logits = stack.end(below)[:, -1] @ model.W_hy + model.b_y
    loss = cross_entropy(logits, targets, reduction="sum")
    return [_Flow(norms, gate) for norms, gate in zip(_norms(loss, walks), gates, strict=True)]


def _walk(layer: RecurrentLayer, projected: Tensor, start: LayerState) -> list[LayerState]:
    """The state after each of S steps of the reference, each part with a gradient of its own.

    A part goes on as a view of itself: h is made from c within the step, and what the gradient of
    the view counts is c's way to later steps alone.
    """
    states, state = [], start
    for projected_t in projected:
        after = layer.step(projected_t, state)
        state = tuple(part.view_as(part).requires_grad_() for part in after)
        states.append(state)
    return states


def _norms(loss: Tensor, walks: Sequence[Sequence[LayerState]]) -> list[np.ndarray]:
    """The gradient's norm by each part of each state, ``(parts, S, N)`` a layer, k ascending."""
    sought = [part for states in walks for state in states for part in state]
    # c of step T is used by no loss at T: a gradient of zero.
    gradients = iter(torch.autograd.grad(loss, sought, materialize_grads=True))
    norms = []
    for states in walks:
        by_step = [torch.stack([_norm(next(gradients)) for _ in state]) for state in states]
        norms.append(torch.stack(by_step[::-1], dim=1).numpy())
    return norms


def _norm(gradient: Tensor) -> Tensor:
    """``(N, H)`` to ``(N,)``; scaled, so that no square leaves the range of float64."""
    scale = gradient.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
    return scale[:, 0] * torch.linalg.vector_norm(gradient / scale, dim=1)


@torch.no_grad()
def _gate_open(
    layer: RecurrentLayer, projected: Tensor, before: Sequence[LayerState]
) -> np.ndarray:
    """The share of the gate that keeps the state which is above `OPEN`: ``(N,)``."""
    if not layer.cell.retention:
        return np.full(projected.shape[1], np.nan)
    states = tuple(torch.stack(part) for part in zip(*before, strict=True))  # (S, N, H) each
    gate = layer.gates(projected, states)[layer.cell.retention]
    share: np.ndarray = (gate > OPEN).double().mean(dim=(0, 2)).numpy()
    return share


def _found(number: int, layer: RecurrentLayer, flows: Sequence[_Flow]) -> LayerGradient:
    norms = np.concatenate([flow.norms for flow in flows], axis=2)
    if not np.isfinite(norms).all():
        raise ChargenError(f"layer {number}: the gradient is beyond float64; ask a shorter span")
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
    """Quartiles over N of ``(S, N)``; none between two values, which -inf would spoil."""
    quartiles = np.quantile(ratios, [0.25, 0.5, 0.75], axis=1, method="inverted_cdf")
    return Curve(part, *quartiles)
