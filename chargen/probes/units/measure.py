"""Scores of hidden units against readable features of a text.

After A. Karpathy, J. Johnson, L. Fei-Fei, "Visualizing and understanding recurrent networks", 2015
(arXiv 1506.02078), who found LSTM units that are active inside quotations or decay along a line
by inspection. Here a score on held-out text selects them. Two baselines show what a unit reaches
without training or by selection among many units: an untrained network, and shifted features.

Axes: N streams, T timesteps, M characters of one half, U units of all layers, C features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.probes.units.features import Feature, default_cues, features, lacks
from chargen.probes.units.recording import record, stacked, walk
from chargen.probes.units.result import FeatureScores, HiddenUnits, UnitScore, UnitsResult
from chargen.probes.units.scores import effects, estimate, held_out_best, score
from chargen.recurrent import CharModel
from chargen.recurrent.model import TIMESTEPS_AT_ONCE
from chargen.text.vocabulary import Vocabulary

HALF_CHARS = 20_000  # maximum per half
HALF_VALUES = 2**23  # maximum per half, over all units: 32 MB
FEWEST_CHARS = 2000  # minimum per half
WARM_UP_CHARS = 128  # read by a stream before its first scored character
STREAMS, STREAM_CHARS = 32, 256  # maximum streams per half, minimum characters per stream
SHIFTS = 19  # a permutation test with 19 shifts has a 5% level
BEST = 3  # units reported per feature


def inspect(
    name: str,
    network: CharModel,
    untrained: Callable[[], CharModel],
    vocabulary: Vocabulary,
    ids: np.ndarray,
    held_out: Callable[[], np.ndarray],
    cues: Sequence[str],
    *,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> HiddenUnits:
    """Record the hidden units on a text, and `measure` them on the held-out text.

    Args:
        name: the model's name in the result.
        network: the model under test.
        untrained: returns the network before training.
        vocabulary: the characters of the ids.
        ids: the recorded text, ``(L,)``.
        held_out: returns the ids of the held-out text; a note replaces the scores if it fails.
        cues: see `measure`; by default `default_cues` of the held-out text.
        seed: random seed of the scores.
        progress: called with the work done and in total.

    Raises:
        ChargenError: the text is empty.
    """
    if not len(ids):
        raise ChargenError(
            "memory text: no character of it is in the vocabulary; give another text"
        )
    recording = record(network, vocabulary, ids)
    notes, units = [], None
    if len(ids) > len(recording.text):
        shown = f"the first {len(recording.text):,} of {len(ids):,} characters are shown"
        notes.append(f"{shown}: with more the page would be too large")
    try:
        rest = held_out()
        known = vocabulary.decode(rest)
        cues = cues or default_cues(known)
        units = measure(network, untrained(), known, rest, cues, seed=seed, progress=progress)
    except ChargenError as error:
        notes.append(f"no units of readable features: {error.message}")
    return HiddenUnits(name, recording, units, tuple(notes))


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

    The scored part is c if the cell has one, otherwise h. The score is the AUC of a binary feature
    or Spearman's rho of a graded one. Unit and direction are selected on the first half of the
    text and scored on the second, as are the baselines. The text is read in parallel streams with
    a warm-up of the preceding characters.

    Args:
        network: the model under test.
        untrained: the network before training, a baseline.
        text: held-out text of L characters.
        ids: its ids, ``(L,)``.
        cues: words; each is a feature from its occurrence to the end of the sentence.
        seed: random seed of the shifts and of the bootstrap.
        progress: called with the characters read and their total.

    Raises:
        ChargenError: the text is too short.
    """
    N, T = _stream_shape(len(ids), sum(layer.units for layer in network.layers))
    half = N * T
    starts = np.arange(2 * N)[:, None] * T  # the first N streams are the first half
    inputs = np.asarray(ids, dtype=np.int64)[starts + np.arange(WARM_UP_CHARS + T)]
    halves, left_out = [], []
    for feature in features(text, cues):
        pair = [
            replace(feature, values=feature.values[start : start + half])
            for start in (WARM_UP_CHARS, WARM_UP_CHARS + half)
        ]
        if why := lacks(pair[0]) or lacks(pair[1]):
            left_out.append(f"{feature.name}: {why}")
        else:
            halves.append(pair)
    shifts = np.random.default_rng([seed, 0]).integers(half // 10, half - half // 10, SHIFTS)

    def by_half(values: np.ndarray, lags: Sequence[int] | np.ndarray = ()) -> list[np.ndarray]:
        parts = enumerate(np.split(values, 2))
        return [effects(part, [pair[n] for pair in halves], lags) for n, part in parts]

    trained, bare = (
        _values(model, inputs, partial(_report, progress, n))
        for n, model in enumerate((network, untrained))
    )
    (first, second), (bare_first, bare_second) = by_half(trained, shifts), by_half(bare)
    rng = np.random.default_rng([seed, 1])
    scored = [
        FeatureScores(
            feature=feature.name,
            graded=feature.graded,
            share=None if feature.graded else float(feature.values.mean()),
            units=_best_units(network, first[place, 0], trained[half:], feature, rng),
            untrained=score(feature, held_out_best(bare_first[place, 0], bare_second[place, 0])),
            shifted=tuple(
                score(feature, held_out_best(*pair))
                for pair in zip(first[place, 1:], second[place, 1:], strict=True)
            ),
        )
        for place, (_, feature) in enumerate(halves)
    ]
    part = network.layers[0].cell.state[-1]
    return UnitsResult(network.cell, part, seed, half, tuple(scored), tuple(left_out))


def _stream_shape(chars: int, units: int) -> tuple[int, int]:
    """Return N, the streams per half of the text, and T, the scored characters per stream."""
    most = max(FEWEST_CHARS, min(HALF_CHARS, HALF_VALUES // units))
    half = min(most, (chars - WARM_UP_CHARS) // 2)
    if half < FEWEST_CHARS:
        needed = 2 * FEWEST_CHARS + WARM_UP_CHARS
        raise ChargenError(
            f"the held-out text has {chars} characters; scoring units requires {needed}"
        )
    N = min(STREAMS, half // STREAM_CHARS)
    return N, half // N


@torch.no_grad()
def _values(network: CharModel, inputs: np.ndarray, progress: Progress) -> np.ndarray:
    """Return the scored part of all layers after each scored character, ``(2 M, U)``."""
    ids = torch.from_numpy(inputs).to(network.b_y.device)
    state = network.stack.initial_state(len(ids))
    kept, read = [], 0
    for part in ids.split(TIMESTEPS_AT_ONCE, dim=1):
        walked = list(walk(network, part, state))
        state = tuple(last for *_, last in walked)
        values = [stacked(states[1:])[-1] for _, _, states, _ in walked]
        kept.append(torch.cat(values, dim=-1).float().cpu())
        read += part.numel()
        progress(read, ids.numel())
    counted = torch.cat(kept)[WARM_UP_CHARS:]  # (T, 2 N, U)
    told: np.ndarray = counted.transpose(0, 1).flatten(0, 1).numpy()
    return told


def _best_units(
    network: CharModel,
    first: np.ndarray,
    later: np.ndarray,
    feature: Feature,
    rng: np.random.Generator,
) -> tuple[UnitScore, ...]:
    """Select the `BEST` units by their effects on the first half, and score them on the second."""
    names = [(n, unit) for n, of in enumerate(network.layers, 1) for unit in range(1, of.units + 1)]
    return tuple(
        UnitScore(
            *names[int(place)],
            bool(first[place] > 0),
            estimate(later[:, place] * (1 if first[place] > 0 else -1), feature, rng),
        )
        for place in np.argsort(-np.abs(first), kind="stable")[:BEST]
    )


def _report(progress: Progress, place: int, done: int, total: int) -> None:
    """Report the progress of the first or second of two equal passes."""
    progress(place * total + done, 2 * total)
