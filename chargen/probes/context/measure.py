"""Context instrument: excess bits when all but the last n characters are replaced.

*Swap* puts text of another document in their place, which keeps the hidden state natural; *reset*
starts at the last n characters from the zero state. After Khandelwal et al., "Sharp nearby, fuzzy
far away: how neural language models use context", 2018 (arXiv 1805.04623), applied to characters.

Axes: K blocks of positions, C contexts, L characters of text.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chargen.evaluation import Meter, nats_of, nats_to_bits, states_after, surprisals
from chargen.files import Progress
from chargen.predictors import protocol
from chargen.predictors.protocol import NextCharPredictor, State, is_scorer
from chargen.probes.context import result as records
from chargen.probes.context.blocks import Blocks, read_length, shortest_text
from chargen.probes.statistics.intervals import Z90, TextMean, text_mean
from chargen.text.mutual_information import MutualInformation, mutual_information

CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
POSITIONS = 4096
FEWEST_CASES = 100  # positions of one character class, or at one distance from the beginning
SAMPLE_CHARS = 2**15  # longest sample whose mutual information is compared with that of the text
SAMPLE_STREAMS = 32  # generated in parallel, each at least 8 times the longest distance


def measure(
    predictor: protocol.Model,
    ids: np.ndarray,
    *,
    starts: np.ndarray | None = None,
    swap_ids: np.ndarray | None = None,
    ngrams: Mapping[int, NextCharPredictor] | None = None,
    contexts: Sequence[int] = CONTEXTS,
    positions: int = POSITIONS,
    sample_chars: int = 0,
    seed: int = 0,
    trained_timesteps: int | None = None,
    progress: Progress = lambda done, total: None,
) -> records.ContextResult:
    """Measure the excess bits of each context at the same positions of a text.

    The positions lie in blocks of 32. Full context is twice the longest of ``contexts`` before the
    block, or all of its document. Replacement text is from another document, ``swap_ids``, or
    another part of a single document, which gives a lower bound.

    From n = 32 on, one read predicts n/16 positions, at most 32: the first has n characters of
    context, the last n/16 - 1 more. A document begins from the zero state, as in training; all
    other reading but reset starts as in `BurnedIn`.

    A `TextScorer` scores one continuation per block as a whole, since the scores of its parts need
    not add up: the first 8 characters of the block and the rest of a word, at most 32. Its first
    character has n characters of context, the others those between as well.

    The text ``ids`` is ``(L,)``; ``starts`` are the first characters of its documents, rising from
    0. Contexts too long for it are left out; with room for fewer than 640 positions it is refused.
    A sample has ``sample_chars``. `ChargenError` if ``swap_ids`` is too short.
    """
    source = ids if swap_ids is None else swap_ids
    documents = np.zeros(1, dtype=np.int64) if starts is None else starts
    rng = np.random.default_rng([seed, 0])
    blocks = Blocks.of(len(ids), sorted({*contexts}), positions, rng, documents, swap_ids)
    if blocks is None:
        needed = shortest_text(min(contexts))
        refusal = f"not measured: the text has {len(ids)} characters, at least {needed} are needed"
        nothing = (None,) * 3
        return records.ContextResult(
            seed, trained_timesteps, 0, 0, None, (), *nothing, refusal=refusal, chars=len(ids)
        )
    longest = 0
    if is_scorer(predictor):
        texts = protocol.text_of(predictor, ids), protocol.text_of(predictor, source)
        blocks = blocks.continuations(texts[0])
        longest = int((blocks.ends - blocks.begins).max())
        full, limited = _score(predictor, *texts, blocks, progress)
    else:
        full, limited = _read(predictor, ids, source, blocks, progress)
    counted = blocks.counted
    swap, reset = limited - full
    means = [_mean(bits, counted) for bits in swap]
    rows = []
    for place, n in enumerate(blocks.contexts):
        beyond = None if trained_timesteps is None else n > trained_timesteps
        most = n + (longest or read_length(n)) - 1
        others = (reset[place], reset[place] - swap[place]) if n else ()
        found = [means[place], *(_mean(bits, counted) for bits in others)]
        rows.append(records.ContextRow(n, most, beyond, *(one.estimate() for one in found)))
    more: dict[str, Any] = {"continuations": len(blocks)}
    if not is_scorer(predictor):
        inside = blocks.targets.clip(max=len(ids) - 1)
        names = character_classes(predictor.vocabulary.decode(ids[inside].reshape(-1)))
        by_class = {name: names.reshape(full.shape) == name for name in records.CLASSES}
        octaves = np.frexp(blocks.targets - blocks.lows[:, None])[1] - 1
        several = range(int(octaves.max()) + 1) if len(documents) > 1 else ()
        by_octave = {f"{1 << b}–{(2 << b) - 1}": octaves == b for b in several}
        text_memory, sample_memory = _memories(predictor, ids[:sample_chars], seed)
        more = {
            "classes": tuple(_places(by_class, full, swap, counted)),
            "beginnings": tuple(_places(by_octave, full, swap[:0], counted)),
            "ngrams": tuple(_ngram_rows(ngrams or {}, ids, blocks)),
            "text_memory": text_memory,
            "sample_memory": sample_memory,
        }
    return records.ContextResult(
        seed,
        trained_timesteps,
        int(counted.sum()),
        blocks.full,
        float(full.sum() / counted.sum()),
        tuple(rows),
        *_effective(blocks.contexts, means),
        chars=len(ids),
        documents=len(documents),
        lower_bound=not blocks.separate,
        block_bits=tuple(full.sum(axis=1).tolist()),
        **more,
    )


def _read(
    predictor: NextCharPredictor,
    ids: np.ndarray,
    source: np.ndarray,
    blocks: Blocks,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bits with full context, ``(K, BLOCK)``, and limited, ``(2, 1 + C, K, BLOCK)``.

    The first axis is swap, reset. Bits past the end of a block are 0.
    """
    kinds = [np.flatnonzero(rows) for rows in (~blocks.fresh, blocks.fresh) if rows.any()]
    reads = [blocks[rows].reads() for rows in kinds]
    meter = Meter(progress, len(kinds) + sum(len(some) for one in reads for some in one.values()))
    full = np.zeros((len(blocks), records.BLOCK))
    limited = np.zeros((2, len(blocks.contexts), *full.shape))
    for rows, by_stop in zip(kinds, reads, strict=True):
        part = blocks[rows]
        start = predictor if part.fresh[0] else protocol.BurnedIn(predictor, ids[: blocks.full])
        own = full[rows] = surprisals(start, ids, part.with_full_context)
        meter.step()
        for stop, last, state in states_after(start, source, part.swaps, [*by_stop]):
            for place, here in by_stop[stop]:
                meter.step()
                some, n = part[here], part.contexts[place]
                if not n:
                    targets = ids[some.targets.clip(max=len(ids) - 1)].astype(np.int64)
                    limited[:, 0, rows[here]] = nats_to_bits(nats_of(last[here], targets.T).T)
                    continue
                read = some.with_context(n)
                per_block = len(read) // len(some)
                whole = (read.begins - n <= np.repeat(some.starts, per_block))[:, None]
                after = protocol.select(state, np.repeat(here, per_block))
                for way, before in enumerate((after, None)):
                    bits = surprisals(predictor, ids, read, before)
                    bits = np.where(whole, own[here].reshape(bits.shape), bits)
                    limited[way, place, rows[here]] = bits.reshape(len(here), records.BLOCK)
    return full * blocks.counted, limited * blocks.counted


def _score(
    scorer: protocol.TextScorer, text: str, source: str, blocks: Blocks, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_read` does, with the bits of a continuation at the beginning of its block."""
    edges = np.stack([blocks.starts, blocks.begins, blocks.ends], axis=1).tolist()
    targets = [text[begin:end] for _, begin, end in edges]
    own = [text[start:begin] for start, begin, _ in edges]
    meter = Meter(progress, 2 * len(blocks.contexts))

    def bits(contexts: Sequence[str]) -> np.ndarray:
        meter.step()
        return -nats_to_bits(protocol.log_probs_of(scorer, contexts, targets))

    full = np.zeros((len(blocks), records.BLOCK))
    limited = np.zeros((2, len(blocks.contexts), *full.shape))
    full[:, 0] = bits(own)
    for place, n in enumerate(blocks.contexts):
        kept = [one[max(0, len(one) - n) :] for one in own]
        pairs = zip(blocks.swaps.tolist(), own, kept, strict=True)
        swapped = [source[at : at + len(one) - len(end)] + end for at, one, end in pairs]
        limited[0, place, :, 0] = bits(swapped)
        if n:
            limited[1, place, :, 0] = bits(kept)
    return full, limited


def _mean(bits: np.ndarray, counted: np.ndarray) -> TextMean:
    return text_mean((bits * counted).sum(axis=1), counted.sum(axis=1))


def _effective(
    contexts: Sequence[int], means: Sequence[TextMean]
) -> tuple[int | None, int | None, int | None]:
    """Return the effective context length and its bounds; None is beyond the longest context.

    Only one bound of the excess can exclude the truth, so that each holds with 95%, not 97.5%.
    """
    bounds = [one.estimate(Z90) for one in means]
    columns = np.array([[one.value, one.low, one.high] for one in bounds]).T
    under = np.logical_and.accumulate(columns[:, ::-1] < records.THRESHOLD_BITS, axis=1)
    named = [*contexts, None]
    value, low, high = (named[len(contexts) - int(settled)] for settled in under.sum(axis=1))
    return value, low, high


def character_classes(text: str) -> np.ndarray:
    """Return the class of each character, one of `CLASSES`; letters are of the main script."""
    from fontTools.unicodedata import script

    scripts = Counter(script(char) for char in text if char.isalpha())
    main = max(scripts, key=scripts.__getitem__, default="")
    names = {}
    for char in {*text}:
        kind = unicodedata.category(char)[0]
        letter = "letter" if script(char) in (main, "Zinh", "Zyyy") else "other scripts"
        names[char] = {"N": "digit", "L": letter, "M": letter}.get(kind, "punctuation")
        names[char] = "space" if char.isspace() else names[char]
    return np.array([names[char] for char in text])


def _places(
    groups: Mapping[str, np.ndarray], full: np.ndarray, swap: np.ndarray, counted: np.ndarray
) -> Iterator[records.PlaceRow]:
    for name, group in groups.items():
        where = group & counted
        if where.sum() >= FEWEST_CASES:
            excess = tuple(_mean(bits, where).estimate() for bits in swap)
            yield records.PlaceRow(name, int(where.sum()), _mean(full, where).estimate(), excess)


def _memories(
    predictor: NextCharPredictor, ids: np.ndarray, seed: int
) -> tuple[MutualInformation | None, MutualInformation | None]:
    """Return the mutual information of a text and of a sample of equal length, if long enough."""
    S = min(SAMPLE_STREAMS, len(ids) // 512)
    if not S:
        return None, None
    T, V = len(ids) // S, len(predictor.vocabulary)
    distances = [1 << power for power in range((T // 8).bit_length())]
    rng = np.random.default_rng([seed, 3])
    state: State = None
    last = ids[rng.integers(len(ids), size=S)].astype(np.int64)
    sample = np.empty((S, T), dtype=np.int64)
    reader = protocol.BurnedIn(predictor, ids)
    for t in range(T):
        log_probs, state = protocol.advance(reader, last[:, None], state)
        last = sample[:, t] = (log_probs[:, 0] + rng.gumbel(size=(S, V))).argmax(axis=1)
    return (
        mutual_information(ids[: S * T], V, distances, seed=seed),
        mutual_information(sample.reshape(-1), V, distances, seed=seed),
    )


def _ngram_rows(
    ngrams: Mapping[int, NextCharPredictor], ids: np.ndarray, blocks: Blocks
) -> Iterator[records.NgramRow]:
    shorter = None
    for order, ngram in sorted(ngrams.items()):
        bits = surprisals(ngram, ids, blocks.with_full_context)
        gain = None if shorter is None else _mean(shorter - bits, blocks.counted).estimate()
        yield records.NgramRow(order, _mean(bits, blocks.counted).estimate(), gain)
        shorter = bits
