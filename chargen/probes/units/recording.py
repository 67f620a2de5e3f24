"""Recording of states and gates while a network reads a text step by step.

Axes: T timesteps, H units.
"""

from __future__ import annotations

import numpy as np
import torch

from chargen.probes.units.result import LayerRecord, Recording
from chargen.recurrent import CharModel
from chargen.text.vocabulary import Vocabulary

RECORDED_VALUES = 4_400_000  # maximum; one byte each keeps a page under 6 MB
RECORDED_CHARS = 10_000  # maximum; each is an element of the page
LIKELIEST = 5  # next characters recorded


@torch.no_grad()
def record(network: CharModel, vocabulary: Vocabulary, ids: np.ndarray) -> Recording:
    """Record every part of every layer after each character, from the initial state.

    The text ``(T,)``, T > 0, is truncated to `RECORDED_CHARS` characters and `RECORDED_VALUES`
    values. Each layer reads the whole text, with its reference steps, before the next one.
    """
    values = sum(one.units * len({*one.cell.state, *one.cell.gates}) for one in network.layers)
    most = max(1, min(RECORDED_CHARS, RECORDED_VALUES // values))
    ids = np.asarray(ids[:most], dtype=np.int64)
    inputs = torch.from_numpy(ids)[None].to(network.b_y.device)
    stack, start, records = network.stack, network.stack.initial_state(1), []
    below = stack.begin(inputs)
    for index, layer in enumerate(network.layers):
        own, window = stack.parted(index, start[index])
        read, _ = stack.enter(index, below, window)
        projected, states = layer.project(read), [own]
        for projected_t in projected:
            states.append(layer.step(projected_t, states[-1]))
        parts = [torch.stack(part) for part in zip(*states, strict=True)]  # (1 + T, 1, H)
        below = stack.leave(index, below, read, parts[0][1:].transpose(0, 1))
        told = dict(zip(layer.cell.state, (part[1:] for part in parts), strict=True))
        told |= layer.gates(projected, tuple(part[:-1] for part in parts))
        shown = {name: value[:, 0].float().cpu().numpy() for name, value in told.items()}
        records.append(LayerRecord(index + 1, layer.units, shown))
    top = network(inputs, start)[0][0].softmax(dim=-1).topk(min(LIKELIEST, len(vocabulary)))
    return Recording(
        text=vocabulary.decode(ids),
        cell=network.cell,
        layers=tuple(records),
        next_characters=tuple(vocabulary.decode(row) for row in top.indices.cpu().numpy()),
        next_shares=top.values.float().cpu().numpy(),
    )
