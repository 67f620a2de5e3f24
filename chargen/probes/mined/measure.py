"""Natural dependencies: bits gained from a cue that lies some distance back in the text.

Axes: N cases (see `mining`), R pieces of text read in parallel, L characters of text.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from chargen import evaluation
from chargen.evaluation import Meter, Segments, nats_to_bits, states_after, surprisals
from chargen.files import Progress
from chargen.predictors import protocol
from chargen.predictors.protocol import BurnedIn, NextCharPredictor, State, is_scorer
from chargen.probes.mined.mining import LONGEST, Group, Plan
from chargen.probes.mined.result import FEWEST_CASES, MinedResult, MinedRow
from chargen.probes.statistics.intervals import FEWEST_BLOCKS, text_mean
from chargen.text.vocabulary import Vocabulary

NGRAM_ORDER = 20  # of the n-gram baseline
NGRAM_CHARS = 32  # context that the n-gram reads before a target
BLOCK_CHARS = 256  # characters of text whose cases are resampled together
SLICE = 64  # maximum number of cases of similar distance that are read in parallel
STEP = 32  # characters between states that are kept


def measure(
    predictor: protocol.Model,
    ids: np.ndarray,
    *,
    starts: np.ndarray | None = None,
    swap_ids: np.ndarray | None = None,
    ngram: NextCharPredictor | None = None,
    untrained: NextCharPredictor | None = None,
    longest: int = LONGEST,
    seed: int = 0,
    trained_timesteps: int | None = None,
    progress: Progress = lambda done, total: None,
) -> MinedResult:
    """Measure the bits gained from cues at distances below ``longest``, a power of two.

    The gain from the cue is what the target, a word as a whole, costs more if the cue alone is
    replaced by another one of equal length. For *all text before*, the text up to the end of the
    cue is replaced by a part of the text ``swap_ids``, or by another part of the same text, of
    another document if there are several. Full context is at least twice ``longest``, or the whole
    document. A document begins from the zero state, as in training; all other reading starts from a
    burned-in state. A `TextScorer` has neither n-gram nor untrained network beside it.

    The first 131,072 characters of the text ``ids``, ``(L,)``, count; ``starts`` are the first
    characters of its documents, rising from 0. `ChargenError` if ``swap_ids`` is too short.
    """
    plan = Plan.of(partial(protocol.text_of, predictor), ids, longest, seed, starts, swap_ids)
    measured = [
        group
        for group in plan.groups
        if len(group) >= FEWEST_CASES and _blocks(group).max() >= FEWEST_BLOCKS - 1
    ]
    found: dict[str, np.ndarray] = {}
    if is_scorer(predictor):
        found = _score(predictor, plan, measured, progress)
    elif measured:
        cases = _Cases(predictor.vocabulary, plan, measured)
        steps = len(cases.pieces) + len(cases.readings) + len(cases.swapped)
        meter = Meter(progress, (1 + bool(untrained)) * steps)
        own, gain, before = cases.bits(predictor, meter)
        found = {"target_bits": own.sum(axis=1), "gain": gain, "before": before}
        if ngram:
            near = Segments((cases.start - NGRAM_CHARS).clip(min=0), cases.start, cases.end)
            found["over_ngram"] = (surprisals(ngram, plan.ids, near) - own).sum(axis=1)
        if untrained:
            _, found["untrained"], found["untrained_before"] = cases.bits(untrained, meter)
    rows, first = [], 0
    for group in plan.groups:
        beyond = None if trained_timesteps is None else group.distance > trained_timesteps
        estimates = {}
        if group in measured:
            here = slice(first, first := first + len(group))
            blocks = _blocks(group)
            estimates = {
                name: text_mean(np.bincount(blocks, bits[here]), np.bincount(blocks)).estimate()
                for name, bits in found.items()
            }
        most = 2 * group.distance - 1
        rows.append(MinedRow(group.kind, group.distance, most, beyond, len(group), **estimates))
    chars, name = len(plan.ids), f"{NGRAM_ORDER}-gram" if ngram else None
    documents = len(plan.documents)
    return MinedResult(seed, trained_timesteps, chars, plan.full, name, tuple(rows), documents)


def _blocks(group: Group) -> np.ndarray:
    """Return the number of the block of text that holds each case, ``(N,)``, without gaps."""
    return np.unique(group.cases[:, 2] // BLOCK_CHARS, return_inverse=True)[1]


def _score(
    scorer: protocol.TextScorer, plan: Plan, groups: Sequence[Group], progress: Progress
) -> dict[str, np.ndarray]:
    """Return the bits of the targets of N cases and their gains, ``(N,)`` each."""
    text, source = protocol.text_of(scorer, plan.ids), protocol.text_of(scorer, plan.source)
    meter, found = Meter(progress, len(groups)), [np.zeros((0, 3))]
    for group in groups:
        contexts, targets = list[str](), list[str]()
        swaps, chars = plan.swaps[group.swaps].tolist(), plan.swap_chars(group.distance)
        document = np.searchsorted(plan.documents, group.cases[:, 2], side="right") - 1
        firsts = np.maximum(plan.documents[document], group.cases[:, 2] - plan.full).tolist()
        rows = zip(firsts, group.cases.tolist(), swaps, group.cues, strict=True)
        for first, (cue, cue_end, start, end), swap, other in rows:
            filler = text[cue_end:start]
            contexts += text[first:start], text[first:cue] + other + filler
            contexts.append(source[swap : swap + chars] + filler)
            targets += [text[start:end]] * 3
        found.append(-nats_to_bits(protocol.log_probs_of(scorer, contexts, targets)).reshape(-1, 3))
        meter.step()
    own, recued, swapped = np.concatenate(found).T
    return {"target_bits": own, "gain": recued - own, "before": swapped - own}


class _Cases:
    """N cases of several groups, and what is read to measure them.

    Every `STEP` characters the state is kept; from there a case is read again with another cue.
    """

    def __init__(self, vocabulary: Vocabulary, plan: Plan, groups: Sequence[Group]) -> None:
        self.plan, alone = plan, len(plan.documents) == 1
        cases = np.concatenate([group.cases for group in groups])
        self.cue_end, self.start, self.end = cases[:, 1:].T
        self.own = Segments(self.cue_end, self.start, self.end)
        self.swaps = np.concatenate([group.swaps for group in groups])
        self.swap_chars = np.repeat(
            [plan.swap_chars(group.distance) for group in groups], [*map(len, groups)]
        )
        batches = evaluation.streams_of(
            len(plan.ids), plan.full if alone else 1, None, plan.documents, warm_up=plan.full
        )
        edges = np.concatenate([[one.starts, one.begins, one.ends] for one in batches], axis=1)
        starts, begins, ends = edges[:, edges[1].argsort()]  # (R,) each, of R pieces
        self.fresh = np.isin(starts, plan.documents) & (not alone)  # a document begins there
        piece = np.searchsorted(begins, self.start, side="right") - 1
        self.starts, self.lengths = starts, ends - starts
        self.piece, self.target = piece, self.start - starts[piece]
        self.step = (cases[:, 0] - starts[piece]) // STEP * STEP
        # The text of each case from its kept state on, with another cue.
        kept = starts[piece] + self.step
        cues = [vocabulary.encode(cue) for group in groups for cue in group.cues]
        texts = [
            np.concatenate([plan.ids[a:b], cue, plan.ids[c:d]])
            for a, (b, c, _, d), cue in zip(kept, cases, cues, strict=True)
        ]
        self.other = np.concatenate(texts)
        edges = np.cumsum(self.end - kept)
        self.others = Segments(edges - (self.end - kept), edges - (self.end - self.start), edges)

        # Read together: pieces that begin alike, cases that begin alike or after as much text.
        self.pieces = _batches(self.lengths, self.fresh, evaluation.STREAMS)
        begun = np.where(self.step > 0, 0, 1 + self.fresh[piece])
        self.readings = _batches(self.end - kept, begun, SLICE)
        self.swapped = _batches(self.end - self.cue_end, self.swap_chars, SLICE)

    def bits(self, predictor: NextCharPredictor, meter: Meter) -> tuple[np.ndarray, ...]:
        """Return the bits of each target, ``(N, chars)``, and its gains, ``(N,)`` each.

        The gains are those over another cue, and over other text up to the end of the cue.
        """
        burned_in = BurnedIn(predictor, self.plan.ids[: self.plan.full])
        own, gain = np.zeros((len(self.start), self.own.longest)), np.zeros(len(self.start))
        kept: list[tuple[np.ndarray, State]] = []
        for pieces in self.pieces:
            reader = predictor if self.fresh[pieces[0]] else burned_in
            kept += self._read_pieces(reader, pieces, own)
            meter.step()
        place = np.zeros(len(own), dtype=np.int64)
        if kept:
            rows = np.concatenate([rows for rows, _ in kept])
            place[rows] = np.arange(len(rows))
        states = protocol.map_state(_joined, *(state for _, state in kept)) if kept else None
        for cases in self.readings:
            reader = predictor if self.fresh[self.piece[cases[0]]] else burned_in
            state = protocol.select(states, place[cases]) if self.step[cases[0]] else None
            found = surprisals(reader, self.other, self.others[cases], state)
            gain[cases] = (found - own[cases, : found.shape[1]]).sum(axis=1)
            meter.step()
        plan, before, lengths = self.plan, -own.sum(axis=1), np.unique(self.swap_chars).tolist()
        for chars, _, swapped in states_after(burned_in, plan.source, plan.swaps, lengths):
            for cases in self.swapped:
                if self.swap_chars[cases[0]] == chars:
                    after = protocol.select(swapped, self.swaps[cases])
                    found = surprisals(predictor, plan.ids, self.own[cases], after)
                    before[cases] += found.sum(axis=1)
                    meter.step()
        return own, gain, before

    def _read_pieces(
        self, reader: NextCharPredictor, pieces: np.ndarray, own: np.ndarray
    ) -> Iterator[tuple[np.ndarray, State]]:
        """Read pieces, fill in the bits of their targets and yield cases with their kept states."""
        cases = np.flatnonzero(np.isin(self.piece, pieces))
        lane = np.argsort(pieces)[np.searchsorted(np.sort(pieces), self.piece[cases])]
        ids, T = self.plan.ids, int(self.lengths[pieces].max()) + self.own.longest - 1
        bits, state = np.zeros((len(pieces), T + 1)), None
        for first in range(0, T, STEP):
            if first and (now := self.step[cases] == first).any():
                yield cases[now], protocol.select(state, lane[now])
            columns = np.arange(first, min(first + STEP, T) + 1)
            both = ids[(self.starts[pieces, None] + columns).clip(max=len(ids) - 1)]
            log_probs, state = protocol.advance(reader, both[:, :-1], state)
            targets = both[:, 1:]
            nats = evaluation.nats_of(log_probs.reshape(targets.size, -1), targets.reshape(-1))
            bits[:, columns[1:]] = nats_to_bits(nats.reshape(targets.shape))
        columns = np.arange(own.shape[1])
        found = bits[lane[:, None], (self.target[cases, None] + columns).clip(max=T)]
        own[cases] = found * (columns < (self.end - self.start)[cases, None])


def _batches(lengths: np.ndarray, kinds: np.ndarray, most: int) -> list[np.ndarray]:
    order = np.lexsort((lengths, kinds))
    parts = np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1)
    return [part[i : i + most] for part in parts for i in range(0, len(part), most)]


def _joined(*arrays: Any) -> Any:
    return torch.cat(arrays) if isinstance(arrays[0], torch.Tensor) else np.concatenate(arrays)
