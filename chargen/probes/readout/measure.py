"""Read-out instrument: what the state holds, and where an answer is stored.

A linear map from the state to the character read k steps before is fitted by ridge regression on
one stretch of text and scored on another (H. Jaeger, "Short term memory in echo state networks",
2001). What can be read is stored; the model need not use it.

State patching tests use: the state k characters before a target is replaced by that of the same
text with another cue. The answer follows the patch if the replaced part carries it.

Axes: N streams or targets, L characters, F numbers in the state, V characters of vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from chargen.errors import ChargenError
from chargen.evaluation import Meter, advance_all
from chargen.files import Progress
from chargen.predictors.protocol import NextCharPredictor, State, map_state
from chargen.probes.readout.result import LagRow, PatchRow, ReadoutResult
from chargen.probes.statistics.intervals import Estimate, t_interval, wilson
from chargen.probes.targets import Targets

LAGS = (*range(9), 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
BURN_IN = 256  # characters before the first state, and the longest lag
STREAMS = 24  # independent parts of each stretch, the units of the intervals
CHARS = 256  # maximum length of a stream
FEWEST_CHARS = 16  # minimum length of a stream
FEATURES = 1024  # maximum numbers of the state that are read; more are drawn at random
CLASSES = 64  # most frequent characters that are distinguished
PENALTIES = (1e-4, 1e-2, 1.0)  # of ridge regression, per unit variance of a feature
BEFORE_CUE = 32  # characters before the end of the cue, where the state cannot hold it yet
WHOLE = "whole"


def measure(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    *,
    untrained: NextCharPredictor | None = None,
    targets: Sequence[Targets] = (),
    parts: Sequence[str] = (),
    seed: int = 0,
    trained_timesteps: int | None = None,
    progress: Progress = lambda done, total: None,
) -> ReadoutResult:
    """Measure what the states of a model hold.

    The first half of the text ``ids``, ``(M,)``, is fitted, the second scored. States are exchanged
    in ``targets`` that have another cue, also by the named ``parts`` of a layer's state.
    `ChargenError` if the text is too short, or the state is not numeric.
    """
    ids = np.asarray(ids, dtype=np.int64)
    half = len(ids) // 2
    chars = min(CHARS, (half - BURN_IN) // STREAMS)
    if chars < FEWEST_CHARS:
        fewest = 2 * (BURN_IN + STREAMS * FEWEST_CHARS)
        problem = f"the read-out takes a held-out text of {fewest} characters, this has {len(ids)}"
        raise ChargenError(f"{problem}: give a longer one")
    starts = BURN_IN + chars * np.arange(STREAMS)[:, None]
    places = starts + np.arange(chars)  # (N, L)
    halves = [ids[:half], ids[half:]]
    networks = [predictor, *([untrained] if untrained else [])]
    patched = [group for group in targets if group.recued is not None]
    meter = Meter(progress, 2 * len(networks) * chars + len(patched))
    labels = [np.stack([text[places - lag] for lag in LAGS]) for text in halves]
    classes = np.argsort(-np.bincount(labels[0][0].ravel()), kind="stable")[:CLASSES]
    hits, sizes = [], []
    for network in networks:
        streams = starts + np.arange(-BURN_IN, chars)
        fitted, scored = (_states(network, text[streams], meter) for text in halves)
        drawn = np.random.default_rng(seed).permutation(fitted.shape[-1])[:FEATURES]
        sizes.append(fitted.shape[-1])
        hits.append(_read_out(fitted[..., drawn], scored[..., drawn], labels, classes))
    majority = (labels[1] == classes[0]).mean(axis=2)  # (lags, N)
    rows = []
    for lag, own, most, *bare in zip(LAGS, hits[0], majority, *hits[1:], strict=True):
        control = _mean(bare[0]) if bare else None
        rows.append(LagRow(lag, _mean(own), _mean(most), t_interval(own - most), control))
    patches = [row for group in patched for row in _patch(predictor, group, parts, meter)]
    counts = (seed, trained_timesteps, sizes[0], STREAMS * chars)
    return ReadoutResult(*counts, tuple(rows), tuple(patches))


def _states(predictor: NextCharPredictor, ids: np.ndarray, meter: Meter) -> np.ndarray:
    """Return the state after each character but the first `BURN_IN`, ``(N, L, F)``."""
    _, state = advance_all(predictor, ids[:, :BURN_IN])
    found = []
    for column in ids[:, BURN_IN:].T:
        _, state = predictor.advance(column[:, None], state)
        parts: list[Any] = []
        map_state(parts.append, state)
        arrays = [np.asarray(part.cpu() if hasattr(part, "cpu") else part) for part in parts]
        if not arrays or not all(np.issubdtype(one.dtype, np.number) for one in arrays):
            raise ChargenError("the state of the model is not numeric: leave out the read-out")
        rows = [one.reshape(len(one), -1) for one in arrays]
        found.append(np.concatenate(rows, axis=1, dtype=np.float32))
        meter.step()
    return np.stack(found, axis=1)


def _read_out(
    fitted: np.ndarray, scored: np.ndarray, labels: Sequence[np.ndarray], classes: np.ndarray
) -> np.ndarray:
    """Return the accuracy in each scored stream by lag, ``(lags, N)``."""
    shift, scale = fitted.mean(axis=(0, 1)), fitted.std(axis=(0, 1)) + 1e-6
    fit, test = (torch.from_numpy((one - shift) / scale) for one in (fitted, scored))
    N, named = 3 * len(fit) // 4, torch.from_numpy(classes)
    X = fit[:N].flatten(0, 1)
    values, vectors = torch.linalg.eigh(X.T @ X / len(X))
    rotated, checked, tested = X @ vectors, fit[N:] @ vectors, test @ vectors
    found = []
    for own, others in zip(*map(torch.from_numpy, labels), strict=True):
        onehot = (own[:N].reshape(-1, 1) == named).float()
        mean = onehot.mean(dim=0)
        moments = rotated.T @ (onehot - mean) / len(X)  # (F, V)
        maps = [moments / (values + penalty)[:, None] for penalty in PENALTIES]
        read = [named[(checked @ one + mean).argmax(dim=-1)] for one in maps]
        best = maps[int(np.argmax([int((one == own[N:]).sum()) for one in read]))]
        hits = named[(tested @ best + mean).argmax(dim=-1)] == others
        found.append(hits.double().mean(dim=1).numpy())
    return np.stack(found)


def _mean(shares: np.ndarray) -> Estimate:
    found = t_interval(shares)
    return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0))


def _patch(
    predictor: NextCharPredictor, group: Targets, parts: Sequence[str], meter: Meter
) -> list[PatchRow]:
    """Return the share of answers that follow a patch, by distance and part of the state.

    An answer follows if the answer to the other cue has the higher probability; a tie counts half.
    """
    assert group.recued is not None
    N, T = group.contexts.shape
    span = int(group.spans.max())
    powers = [4**power for power in range(span.bit_length()) if 4**power < span]
    own: State = None
    other: State = None
    rows, place = [], 0
    for k in reversed([k for k in (*powers, span, span + BEFORE_CUE) if k < T]):
        read, place = slice(place, T - k), T - k
        _, own = advance_all(predictor, group.contexts[:, read], own)
        _, other = advance_all(predictor, group.recued[:, read], other)
        states = {WHOLE: other}
        if len(parts) > 1:
            states |= {  # one part of each layer's state from the other text
                name: tuple((*a[:n], b[n], *a[n + 1 :]) for a, b in zip(own, other, strict=True))
                for n, name in enumerate(parts)
            }
        for name, state in states.items():
            last, _ = advance_all(predictor, group.contexts[:, place:], state)
            difference = last[np.arange(N), group.others] - last[np.arange(N), group.answers]
            follows = float((difference > 0).sum() + (difference == 0).sum() / 2)
            share = Estimate(follows / N, *wilson(follows, N))
            rows.append(PatchRow(group.source, span, k, name, share, N))
    meter.step()
    return rows[::-1]
