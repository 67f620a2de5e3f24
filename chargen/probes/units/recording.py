"""Recording of states and gates while a network reads a text step by step.

Axes: N texts, T timesteps, H units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from chargen.probes.units.result import LayerRecord, Recording
from chargen.recurrent import CharModel, RecurrentLayer
from chargen.recurrent.layer import LayerState
from chargen.recurrent.stack import StackState
from chargen.text.vocabulary import Vocabulary

RECORDED_VALUES = 4_400_000  # maximum; one byte each keeps a page under 6 MB
RECORDED_CHARS = 10_000  # maximum; each is an element of the page
LIKELIEST = 5  # next characters recorded


@torch.no_grad()
def record(network: CharModel, vocabulary: Vocabulary, ids: np.ndarray) -> Recording:
    """Record every part of every layer after each character, from the initial state.

    The text ``(T,)``, T > 0, is truncated to `RECORDED_CHARS` characters and `RECORDED_VALUES`
    values.
    """
    values = sum(one.units * len({*one.cell.state, *one.cell.gates}) for one in network.layers)
    most = max(1, min(RECORDED_CHARS, RECORDED_VALUES // values))
    ids = np.asarray(ids[:most], dtype=np.int64)
    inputs = torch.from_numpy(ids)[None].to(network.b_y.device)
    start = network.stack.initial_state(1)
    records = []
    for number, (layer, projected, states, _) in enumerate(walk(network, inputs, start), 1):
        before, after = stacked(states[:-1]), stacked(states[1:])
        parts = dict(zip(layer.cell.state, after, strict=True)) | layer.gates(projected, before)
        told = {name: value[:, 0].float().cpu().numpy() for name, value in parts.items()}
        records.append(LayerRecord(number, layer.units, told))
    top = network(inputs, start)[0][0].softmax(dim=-1).topk(min(LIKELIEST, len(vocabulary)))
    return Recording(
        text=vocabulary.decode(ids),
        cell=network.cell,
        layers=tuple(records),
        next_characters=tuple(vocabulary.decode(row) for row in top.indices.cpu().numpy()),
        next_shares=top.values.float().cpu().numpy(),
    )


def walk(
    network: CharModel, inputs: Tensor, state: StackState
) -> Iterator[tuple[RecurrentLayer, Tensor, list[LayerState], LayerState]]:
    """Yield each layer while it reads ids ``(N, T)`` step by step from ``state``.

    Yields:
        The layer, its projected input, its states before the first and after each step, and the
        layer's part of the stack's state at the end.
    """
    stack = network.stack
    below = stack.begin(inputs)
    for index, layer in enumerate(network.layers):
        own, window = stack.parted(index, state[index])
        read, window = stack.enter(index, below, window)
        projected = layer.project(read)
        walked = [own]
        for projected_t in projected:
            walked.append(layer.step(projected_t, walked[-1]))
        outputs = torch.stack([after[0] for after in walked[1:]], dim=1)
        below = stack.leave(index, below, read, outputs)
        yield layer, projected, walked, (*walked[-1], *window)


def stacked(states: Sequence[LayerState]) -> LayerState:
    """Stack the states of T steps into tensors ``(T, N, H)``."""
    return tuple(torch.stack(part) for part in zip(*states, strict=True))
