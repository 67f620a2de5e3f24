"""Scores of hidden units against readable features of a text.

After A. Karpathy, J. Johnson, L. Fei-Fei, "Visualizing and understanding recurrent networks", 2015
(arXiv 1506.02078), who found LSTM units that are active inside quotations by inspection. Here a
score on held-out text selects them. Two baselines show what a unit reaches without training or by
selection among many units: an untrained network, and shifted features.

Axes: N streams, T timesteps, M characters of one half, U units of all layers, C features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from chargen.errors import ChargenError
from chargen.evaluation import Meter, OnRead
from chargen.files import Progress
from chargen.probes.units.features import default_cues, features, lacks
from chargen.probes.units.result import FeatureScores, UnitScore, UnitsResult
from chargen.probes.units.scores import effects, estimate, held_out_best
from chargen.recurrent import CharModel

HALF_CHARS = 20_000  # maximum per half
HALF_VALUES = 2**23  # maximum per half, over all units: 32 MB
FEWEST_CHARS = 2000  # minimum per half
WARM_UP_CHARS = 128  # read by a stream before its first scored character
STREAMS, STREAM_CHARS = 32, 256  # maximum streams per half, minimum characters per stream
SHIFTS = 19  # a permutation test with 19 shifts has a 5% level
BEST = 3  # units reported per feature


def measure(
    network: CharModel,
    untrained: CharModel,
    text: str,
    ids: np.ndarray,
    cues: Sequence[str],
    *,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> UnitsResult:
    """Score the hidden units against the features of a held-out text.

    The scored part is c if the cell has one, otherwise h; the score is the AUC. Unit and direction
    are selected on the first half of the text and scored on the second, as are the baselines. The
    text is read in parallel streams with a warm-up of the preceding characters.

    Args:
        network: the model under test.
        untrained: the network before training, a baseline.
        text: held-out text of L characters.
        ids: its ids, ``(L,)``.
        cues: words, each a feature up to the end of its sentence; by default `default_cues`.
        seed: random seed of the shifts and of the bootstrap.

    Raises:
        ChargenError: the text is too short.
    """
    units = sum(layer.units for layer in network.layers)
    most = max(FEWEST_CHARS, min(HALF_CHARS, HALF_VALUES // units))
    half = min(most, (len(ids) - WARM_UP_CHARS) // 2)
    if half < FEWEST_CHARS:
        needed = 2 * FEWEST_CHARS + WARM_UP_CHARS
        raise ChargenError(
            f"the held-out text has {len(ids)} characters; scoring units requires {needed}"
        )
    N = min(STREAMS, half // STREAM_CHARS)
    T = half // N
    half = N * T
    starts = np.arange(2 * N)[:, None] * T  # the first N streams are the first half
    inputs = np.asarray(ids, dtype=np.int64)[starts + np.arange(WARM_UP_CHARS + T)]
    halves: dict[str, list[np.ndarray]] = {}
    left_out = []
    for name, values in features(text, cues or default_cues(text)).items():
        pair = [values[start : start + half] for start in (WARM_UP_CHARS, WARM_UP_CHARS + half)]
        if why := lacks(pair[0]) or lacks(pair[1]):
            left_out.append(f"{name}: {why}")
        else:
            halves[name] = pair
    shifts = np.random.default_rng([seed, 0]).integers(half // 10, half - half // 10, SHIFTS)

    def by_half(values: np.ndarray, lags: Sequence[int] | np.ndarray = ()) -> list[np.ndarray]:
        parts = enumerate(np.split(values, 2))
        return [effects(part, [pair[n] for pair in halves.values()], lags) for n, part in parts]

    meter = Meter(progress, 2 * inputs.size)
    trained, bare = (_values(model, inputs, meter.read) for model in (network, untrained))
    (first, second), (bare_first, bare_second) = by_half(trained, shifts), by_half(bare)
    places = [(n, unit) for n, of in enumerate(network.layers, 1) for unit in range(of.units)]
    rng = np.random.default_rng([seed, 1])
    scored = []
    for place, (name, (_, feature)) in enumerate(halves.items()):
        best = []
        for at in np.argsort(-np.abs(first[place, 0]), kind="stable")[:BEST].tolist():
            rises, (layer, unit) = bool(first[place, 0, at] > 0), places[at]
            values = trained[half:, at] * (1 if rises else -1)
            best.append(UnitScore(layer, unit + 1, rises, estimate(values, feature, rng)))
        control = held_out_best(bare_first[place, 0], bare_second[place, 0])
        shifted = map(held_out_best, first[place, 1:], second[place, 1:])
        share = float(feature.mean())
        scored.append(FeatureScores(name, share, tuple(best), control, tuple(shifted)))
    part = network.layers[0].cell.state[-1]
    return UnitsResult(network.cell, part, seed, half, tuple(scored), tuple(left_out))


@torch.no_grad()
def _values(network: CharModel, inputs: np.ndarray, on_read: OnRead) -> np.ndarray:
    """Return the scored part of all layers after each scored character, ``(2 M, U)``."""
    ids, stack = torch.from_numpy(inputs).to(network.b_y.device), network.stack
    state, kept = stack.initial_state(len(ids)), []
    for column in ids.T:
        _, state = stack(column[:, None], state)
        parts = [stack.parted(index, own)[0][-1] for index, own in enumerate(state)]
        kept.append(torch.cat(parts, dim=-1).float().cpu())
        on_read(len(column))
    told: np.ndarray = torch.stack(kept[WARM_UP_CHARS:], dim=1).flatten(0, 1).numpy()
    return told
