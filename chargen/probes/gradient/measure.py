"""Gradient instrument: norm of a single loss's gradient with respect to earlier states.

    g(k) = ‖∂loss_T / ∂state_{T-k}‖

loss_T is the loss in nats at the single step T. g(k)/g(0) that falls to zero is a vanishing
gradient (Hochreiter & Schmidhuber 1997), one that grows an exploding one (Pascanu et al. 2013).

Axes: N positions, S states, H units.
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from chargen.errors import ChargenError
from chargen.evaluation import Meter
from chargen.files import Progress
from chargen.probes.gradient import result as records
from chargen.probes.statistics.intervals import FEWEST_FOR_MEDIAN, median_interval
from chargen.probes.targets import Targets
from chargen.recurrent import CharModel, RecurrentLayer
from chargen.recurrent.layer import LayerState

POSITIONS = 64
SPAN = 256
BEFORE_CUE = 32  # states before the end of the cue that are shown
QUARTILES = (0.25, 0.5, 0.75)
STATE_FLOATS = 2**22  # values of h in one graph, which takes about 200 bytes for each
GATE_NAMES = {"f": "forget gate", "z": "update gate"}  # by `Cell.retention`


def measure(
    model: CharModel,
    ids: np.ndarray,
    *,
    targets: Sequence[Targets] = (),
    positions: int = POSITIONS,
    span: int = SPAN,
    seed: int = 0,
    trained_timesteps: int | None = None,
    progress: Progress = lambda done, total: None,
) -> records.GradientResult:
    """Measure g(k), k = 0 .. ``span``, at random positions of a held-out text, and at targets.

    A float64 copy of the model on the CPU is measured. The gradient of h includes every path to the
    loss, also through the layers above. That of c is for constant h, so that both together are the
    gradient of the state, which excludes the convolution windows of residual blocks. Gradients at
    ``targets`` are aligned to their cues. `ChargenError` if the text ``ids``, ``(M,)``, is too
    short, the gradient exceeds float64, or the loss depends on a layer's last state nowhere.
    """
    read = records.WARM_UP_CHARS + span + 1
    if len(ids) < read + positions:
        problem = f"the gradient over {span} characters takes a held-out text of {read + positions}"
        raise ChargenError(f"{problem} characters, this has {len(ids)}: give a longer one")
    rng, text = np.random.default_rng(seed), np.asarray(ids, dtype=np.int64)
    ends = np.sort(rng.choice(len(ids) - read, positions, replace=False)) + read
    contexts = text[ends[:, None] + np.arange(-read, 0)]
    groups = (Targets("random", contexts, text[ends], np.zeros(len(ends), int)), *targets)
    model = copy.deepcopy(model).to("cpu", torch.float64).requires_grad_(False)
    meter = Meter(progress, len(groups))
    states = [span + 1, *(int(group.spans.max()) + BEFORE_CUE + 1 for group in targets)]
    flows = [_flows(model, *one, meter) for one in zip(groups, states, strict=True)]
    layers, by_layer = [], zip(model.layers, zip(*flows, strict=True), strict=True)
    for number, (layer, of_groups) in enumerate(by_layer, 1):
        aligned = [*map(partial(_aligned, layer), groups, of_groups)]
        flow, gate = of_groups[0], GATE_NAMES.get(layer.cell.retention)
        whole = flow.ratios[-1]
        peaks = whole[1:].max(axis=1)
        grew = whole[-1] > np.maximum(1, whole[len(whole) // 2] + np.log10(2))
        layers.append(
            records.LayerGradient(
                number,
                layer.units,
                aligned[0].positions,
                last_state=float(np.median(flow.last[flow.last > 0])),
                curves=aligned[0].curves,
                peak=float(peaks.max()),
                peak_chars=int(peaks.argmax()) + 1,
                exploded=float(grew.mean()),
                gate=records.GateUse(gate, float(flow.gate_open.mean())) if gate else None,
                targets=tuple(aligned[1:]),
            )
        )
    return records.GradientResult(model.cell, span, seed, trained_timesteps, tuple(layers))


class _Flow(NamedTuple):
    """Gradients at N positions in one layer, n of them with a loss that its last state affects."""

    ratios: np.ndarray  # (parts, S, n), log10 g(k)/g(0) by k; the last part is the whole state
    last: np.ndarray  # (N,), g(0)
    gate_open: np.ndarray  # (N,), fraction; nan without a gate


def _flows(model: CharModel, group: Targets, states: int, meter: Meter) -> list[_Flow]:
    """Measure ``states`` states before each target in each layer, in batches that fit in memory."""
    states = min(states, group.contexts.shape[1])
    rows = max(1, STATE_FLOATS // (states * sum(layer.units for layer in model.layers)))
    texts, answers = (torch.from_numpy(x).split(rows) for x in (group.contexts, group.answers))
    batches = [_batch(model, *some, states) for some in zip(texts, answers, strict=True)]
    meter.step()
    flows = []
    for number, layer in enumerate(zip(*batches, strict=True), 1):
        norms, gates = (np.concatenate(some, axis=-1) for some in zip(*layer, strict=True))
        if not np.isfinite(norms).all():
            raise ChargenError(f"layer {number}: the gradient exceeds float64; use a shorter span")
        whole = np.hypot.reduce(norms)  # (S, N)
        counts = whole[0] > 0
        if not counts.any():
            raise ChargenError(f"layer {number}: the loss depends on its last state at no position")
        with np.errstate(divide="ignore"):  # log10 of 0 is -inf
            parts = [*norms, whole] if len(norms) > 1 else [whole]
            logarithms = np.log10(np.stack(parts)[:, :, counts])
        flows.append(_Flow(logarithms - np.log10(whole[0, counts]), whole[0], gates))
    return flows


@torch.enable_grad()
def _batch(
    model: CharModel, inputs: Tensor, targets: Tensor, states: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the norms ``(parts, S, N)`` and open gates of each layer, from one backward pass."""
    warm_up = inputs.shape[1] - states
    starts = model.stack.initial_state(len(inputs))
    if warm_up:
        with torch.no_grad():
            _, starts = model.stack(inputs[:, :warm_up])
    walks: list[list[LayerState]] = []
    gates: list[np.ndarray] = []

    def walk(layer: RecurrentLayer, read: Tensor, start: LayerState) -> tuple[Tensor, LayerState]:
        projected, states = layer.project(read), [start]
        for projected_t in projected:
            after = layer.step(projected_t, states[-1])
            # As a view of itself, so that c's gradient counts only its path to later c.
            states.append(tuple(part.view_as(part).requires_grad_() for part in after))
        walks.append(states[1:])
        gates.append(_gate_open(layer, projected, states[:-1]))
        return torch.stack([h for h, *_ in states[1:]], dim=1), states[-1]

    outputs, _ = model.stack(inputs[:, warm_up:], starts, run=walk)
    # Rows are independent: the gradient of the summed loss in a row is that of its loss.
    logits = outputs[:, -1] @ model.W_hy + model.b_y
    loss = cross_entropy(logits, targets, reduction="sum")
    return list(zip(_norms(loss, walks), gates, strict=True))


@torch.no_grad()
def _gate_open(layer: RecurrentLayer, x: Tensor, before: Sequence[LayerState]) -> np.ndarray:
    """Return how often the gate that preserves the state is open, ``(N,)``; nan without one."""
    if not layer.cell.retention:
        return np.full(x.shape[1], np.nan)
    gates = layer.gates(x, tuple(map(torch.stack, zip(*before, strict=True))))
    return (gates[layer.cell.retention] > records.OPEN).double().mean(dim=(0, 2)).numpy()


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


def _aligned(layer: RecurrentLayer, group: Targets, flow: _Flow) -> records.TargetGradient:
    """Shift the curve of each target so that the ends of all cues coincide."""
    spans = group.spans[flow.last > 0]
    low, high = int(spans.min()), int(spans.max())
    offsets = np.arange(-low, flow.ratios.shape[1] - high)
    shifted = np.take_along_axis(flow.ratios, (spans + offsets[:, None])[None], axis=1)
    parts = (*layer.cell.state, "both") if len(layer.cell.state) > 1 else layer.cell.state
    curves, few = {}, len(spans) < FEWEST_FOR_MEDIAN
    for part, ratio in zip(parts, shifted, strict=True):
        lower, middle, upper = np.quantile(ratio, QUARTILES, axis=1, method="inverted_cdf")
        bounds = (ratio.min(axis=1), ratio.max(axis=1)) if few else median_interval(ratio)[1:]
        curves[part] = records.Curve(lower, middle, upper, *bounds)
    return records.TargetGradient(group.source, low, high, len(spans), -low, curves)
