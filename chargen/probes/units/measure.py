"""Recording of hidden units, and their scores against readable features of a text.

After A. Karpathy, J. Johnson, L. Fei-Fei, "Visualizing and understanding recurrent networks", 2015
(arXiv 1506.02078), who found LSTM units that are active inside quotations by inspection. Here a
score on held-out text selects them. Two baselines are selected among as many units: the best unit
of an untrained network, and that of the trained one for features shifted along the text.

A score is the AUC: the probability that a unit is higher where the feature holds.

Axes: N streams, T timesteps, M characters of one half, U units of all layers, H of one layer.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from chargen.datasets import bundled
from chargen.errors import ChargenError
from chargen.evaluation import Meter
from chargen.files import Progress
from chargen.probes.statistics.intervals import Estimate, block_bootstrap
from chargen.probes.units import result as records
from chargen.recurrent import CharModel, RecurrentLayer
from chargen.recurrent.layer import LayerState
from chargen.text.brackets import parse_brackets
from chargen.text.vocabulary import Vocabulary

HALF_CHARS = 20_000  # maximum per half
HALF_VALUES = 2**23  # maximum per half, over all units: 32 MB
FEWEST_CHARS = 2000  # minimum per half
WARM_UP_CHARS = 128  # read by a stream before its first scored character
STREAMS, STREAM_CHARS = 32, 256  # maximum streams per half, minimum characters per stream
BEST = 3  # units reported per feature
RECORDED_VALUES = 4_400_000  # maximum; one byte each keeps a page under 6 MB
RECORDED_CHARS = 10_000  # maximum; each is an element of the page
LIKELIEST = 5  # next characters recorded
BRACKETS = {"(": ")", "[": "]", "{": "}", "《": "》", "「": "」", "（": "）"}
QUOTES = {"“": "”", '"': '"'}
SENTENCE_END = re.compile(r"[.!?。！？\r\n]")
WORD = re.compile(r"[^\W\d_]{5,}")
SHOWN_WORDS = 3
SHIFTS = 19  # of a feature: a permutation test with 19 has a level of 5%
BLOCK_CHARS = 100  # block length of the bootstrap
FEWEST_BLOCKS = 10  # in which a feature holds, and does not hold


def measure(
    network: CharModel,
    untrained: CharModel,
    text: str,
    ids: np.ndarray,
    cues: Sequence[str],
    *,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> records.UnitsResult:
    """Score the hidden units against the features of a held-out text.

    The scored part is c if the cell has one, otherwise h. Unit and direction are selected on the
    first half of the text and scored on the second, as are the baselines. Each of ``cues``, else of
    `default_cues`, is a feature up to the end of its sentence. `ChargenError` for a short text.
    """
    units = sum(layer.units for layer in network.layers)
    most = max(FEWEST_CHARS, min(HALF_CHARS, HALF_VALUES // units))
    half = min(most, (len(ids) - WARM_UP_CHARS) // 2)
    if half < FEWEST_CHARS:
        needed = 2 * FEWEST_CHARS + WARM_UP_CHARS
        problem = f"the held-out text has {len(ids)} characters"
        raise ChargenError(f"{problem}; scoring units requires {needed}")
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

    meter = Meter(progress, 2 * inputs.shape[1])
    trained, bare = (_values(model, inputs, meter) for model in (network, untrained))
    ranked = [ranks(part) for values in (trained, bare) for part in np.split(values, 2)]
    places = [(n, unit) for n, of in enumerate(network.layers, 1) for unit in range(of.units)]
    rng = np.random.default_rng([seed, 1])
    shifts = np.random.default_rng([seed, 0]).integers(half // 10, half - half // 10, SHIFTS)
    scored = []
    for name, pair in halves.items():
        first, _, *control = map(effects, ranked, pair * 2)
        best = []
        for at in np.argsort(-np.abs(first), kind="stable")[:BEST].tolist():
            rises, (layer, unit) = bool(first[at] > 0), places[at]
            values = trained[half:, at] * (1 if rises else -1)
            best.append(records.UnitScore(layer, unit + 1, rises, estimate(values, pair[1], rng)))
        rolled = ([np.roll(values, shift) for values in pair] for shift in shifts)
        shifted = max(held_out_best(*map(effects, ranked, one)) for one in rolled)
        own = float(pair[1].mean()), tuple(best), held_out_best(*control), shifted
        scored.append(records.FeatureScores(name, *own))
    part = network.layers[0].cell.state[-1]
    return records.UnitsResult(network.cell, part, seed, half, tuple(scored), tuple(left_out))


@torch.no_grad()
def _values(network: CharModel, inputs: np.ndarray, meter: Meter) -> np.ndarray:
    """Return the scored part of all layers after each scored character, ``(2 M, U)``."""
    ids, stack = torch.from_numpy(inputs).to(network.b_y.device), network.stack
    state, kept = stack.initial_state(len(ids)), []
    scored = [len(layer.cell.state) - 1 for layer in network.layers]
    for column in ids.T:
        _, state = stack(column[:, None], state)
        parts = [own[part] for own, part in zip(state, scored, strict=True)]
        kept.append(torch.cat(parts, dim=-1).float().cpu())
        meter.step()
    return torch.stack(kept[WARM_UP_CHARS:], dim=1).flatten(0, 1).numpy()


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value in its column, from 1, ties averaged: ``(M, U)``."""
    out = np.empty(values.shape)
    for unit, column in enumerate(values.T):
        _, places, counts = np.unique(column, return_inverse=True, return_counts=True)
        out[:, unit] = (counts.cumsum() - (counts - 1) / 2)[places]
    return out


def effects(ranked: np.ndarray, feature: np.ndarray) -> np.ndarray:
    """Return AUC − 1/2 of units with these ranks ``(M, U)`` for a feature ``(M,)``, ``(U,)``."""
    M, holds = len(ranked), feature.sum()
    return np.asarray(feature @ (ranked - (M + 1) / 2) / (holds * (M - holds)))


def held_out_best(first: np.ndarray, second: np.ndarray) -> float:
    """Return the AUC in ``second`` of the unit with the largest effect in ``first``, ``(U,)``."""
    unit = int(np.abs(first).argmax())
    return 0.5 + float(np.sign(first[unit]) * second[unit])


def estimate(values: np.ndarray, feature: np.ndarray, rng: np.random.Generator) -> Estimate:
    """Return the AUC of one unit ``(M,)`` for a feature ``(M,)``, with its 95% interval.

    A block bootstrap with blocks of `BLOCK_CHARS` resamples the placement values (E. R. DeLong et
    al., "Comparing the areas under two or more correlated ROC curves", 1988).
    """
    ranked, holds = ranks(values[:, None]), feature == 1
    found, below = 0.5 + float(effects(ranked, feature)[0]), ranked[:, 0]
    # minus the rank within its class: the number of the other class below
    for own in (holds, ~holds):
        below[own] -= ranks(values[own, None])[:, 0]
    share = np.where(holds, below / (~holds).sum(), 1 - below / holds.sum())
    terms = np.stack([share * holds, holds, share * ~holds, ~holds], axis=1)
    starts = np.arange(0, len(values), BLOCK_CHARS)
    counts = np.diff(starts, append=len(values))
    drawn = block_bootstrap(np.add.reduceat(terms, starts), counts[:, None], rng)
    above, yes, under, no = drawn.T
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = above / yes + under / no - found
    return Estimate.of(found, draws[np.isfinite(draws)].clip(0, 1))


@torch.no_grad()
def record(network: CharModel, vocabulary: Vocabulary, ids: np.ndarray) -> records.Recording:
    """Record every part of every layer after each character, from the initial state.

    The text ``(T,)`` is truncated to `RECORDED_CHARS` characters and `RECORDED_VALUES` values.
    """
    values = sum(one.units * len({*one.cell.state, *one.cell.gates}) for one in network.layers)
    most = max(1, min(RECORDED_CHARS, RECORDED_VALUES // values))
    ids = np.asarray(ids[:most], dtype=np.int64)
    inputs = torch.from_numpy(ids)[None].to(network.b_y.device)
    layers: list[dict[str, np.ndarray]] = []

    def walk(layer: RecurrentLayer, read: Tensor, start: LayerState) -> tuple[Tensor, LayerState]:
        projected, states = layer.project(read), [start]
        for projected_t in projected:
            states.append(layer.step(projected_t, states[-1]))
        parts = [torch.stack(part) for part in zip(*states, strict=True)]  # (1 + T, 1, H)
        values = dict(zip(layer.cell.state, (part[1:] for part in parts), strict=True))
        values |= layer.gates(projected, tuple(part[:-1] for part in parts))
        layers.append({name: x[:, 0].float().cpu().numpy() for name, x in values.items()})
        return parts[0][1:].transpose(0, 1), states[-1]

    network.stack(inputs, network.stack.initial_state(1), run=walk)
    top = network(inputs)[0][0].softmax(dim=-1).topk(min(LIKELIEST, len(vocabulary)))
    return records.Recording(
        text=vocabulary.decode(ids),
        cell=network.cell,
        layers=tuple(layers),
        next_characters=tuple(vocabulary.decode(row) for row in top.indices.cpu().numpy()),
        next_shares=top.values.float().cpu().numpy(),
    )


def features(text: str, cues: Sequence[str]) -> dict[str, np.ndarray]:
    """Return all features of a text by name, including one per cue.

    A feature is 0 or 1 for each of the L characters, ``(L,)`` float64, once it has been read.
    """
    found = {  # an empty line closes all brackets
        name: parse_brackets(text, kinds, kinds.values()).inside().astype(np.float64)
        for name, kinds in (("inside a quotation", QUOTES), ("inside brackets", BRACKETS))
    }
    return found | {f"after ‘{cue}’": _after(text, cue) for cue in cues}


def default_cues(text: str) -> tuple[str, ...]:
    """Return the cues of a text's bundled phrase bank, else its most frequent long words."""
    for bank in map(bundled.bank, bundled.BANKS.values()):
        facts = bank.fact_sets[0]
        cues = tuple(facts.opening + cue for cue in facts.cues)
        if all(cue in text for cue in cues):
            return cues
    counted = Counter(WORD.findall(text))
    return tuple(sorted(counted, key=lambda word: (-counted[word], word))[:SHOWN_WORDS])


def lacks(values: np.ndarray) -> str:
    """Return why a text is unsuited for scoring a feature; an empty string if it is suited."""
    share = float(values.mean())
    if not 0.01 <= share <= 0.99:
        return f"it holds at {share:.1%} of the characters"
    starts = np.arange(0, len(values), BLOCK_CHARS)
    blocks = min(int((np.add.reduceat(x, starts) > 0).sum()) for x in (values, 1 - values))
    few = f"it changes in only {blocks} blocks of {BLOCK_CHARS} characters"
    return few if blocks < FEWEST_BLOCKS else ""


def _after(text: str, cue: str) -> np.ndarray:
    """Mark the text from the end of ``cue``, a whole word, to the end of its sentence or line."""
    values = np.zeros(len(text))
    # Word boundaries count in scripts that separate words by spaces.
    before, after = (char.lower() != char.upper() for char in (cue[0], cue[-1]))
    whole = r"(?<!\w)" * before + re.escape(cue) + r"(?!\w)" * after
    for match in re.finditer(whole, text):
        end = SENTENCE_END.search(text, match.end())
        values[match.end() - 1 : end.start() if end else len(text)] = 1
    return values
