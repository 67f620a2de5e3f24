"""Targets whose cue is known, for instruments that align to it: N targets, T characters before."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chargen.datasets.phrase_bank import Bank
from chargen.probes.mined.mining import returning_words
from chargen.probes.templates.cases import make, nearest_spans
from chargen.text.vocabulary import Vocabulary

SPANS = (16, 128)  # of the sentences, characters
DISTANCES = (16, 64)  # the shortest of returning words; the longest is below twice as many
SENTENCES = 128  # at least, of one span: half of them have no distractor
WORDS = 64  # at most, of one range of distances
FEWEST = 32  # below, a group is left out
CONTEXT_CHARS = 256  # before a returning word
TEXT_CHARS = 2**17  # maximum length of the text that is searched


@dataclass(frozen=True, eq=False)
class Targets:
    """N characters, each the first of an answer that a cue in the text before it determines."""

    source: str
    contexts: np.ndarray  # (N, T) ids of all text before
    answers: np.ndarray  # (N,) ids
    spans: np.ndarray  # (N,) characters from the end of the cue to the target
    recued: np.ndarray | None = None  # (N, T) the contexts with another cue of equal length
    others: np.ndarray | None = None  # (N,) ids of the answers to those


def collect(
    banks: Sequence[Bank], ids: np.ndarray, vocabulary: Vocabulary, seed: int
) -> tuple[Targets, ...]:
    """Return cloze sentences of the first bank that the vocabulary spells, and returning words."""
    spelled = [bank for bank in banks if all(char in vocabulary for char in bank.characters())]
    own = [group for bank in spelled[:1] for group in sentences(bank, vocabulary, seed)]
    return (*words(ids, vocabulary, seed), *own)


def sentences(bank: Bank, vocabulary: Vocabulary, seed: int) -> Iterator[Targets]:
    """Yield cloze sentences without a distractor, a group for each span."""

    def ids(texts: Iterable[str], chars: int) -> np.ndarray:
        encoded = vocabulary.encode("".join(text[-chars:] for text in texts))
        return encoded.astype(np.int64).reshape(-1, chars)

    for span in nearest_spans(bank, SPANS)[-len(SPANS) :]:
        made = make(bank, span, SENTENCES, seed)
        batches = [one.at(one.plain) for one in made if len(one.plain)]
        chars = min(len(batch.contexts[0]) for batch in batches)
        contexts = ids((text for batch in batches for text in batch.contexts), chars)
        recued = ids((text for batch in batches for text in batch.recued), chars)
        answers = ids((b.facts.targets[n][0] for b in batches for n in b.answers), 1)[:, 0]
        others = ids((b.facts.targets[n][0] for b in batches for n in b.others), 1)[:, 0]
        spans = np.full(len(answers), span)
        yield Targets("cloze sentences", contexts, answers, spans, recued, others)


def words(ids: np.ndarray, vocabulary: Vocabulary, seed: int) -> Iterator[Targets]:
    """Yield words that return after one earlier use, a group for each range of distances."""
    ids = np.asarray(ids[:TEXT_CHARS], dtype=np.int64)
    cases = returning_words(vocabulary.decode(ids), CONTEXT_CHARS).cases
    pairs = [(case.start, case.distance) for case in cases if case.start >= CONTEXT_CHARS]
    for least in DISTANCES:
        some = np.array([pair for pair in pairs if least <= pair[1] < 2 * least])
        if len(some) >= FEWEST:
            rng = np.random.default_rng([seed, least])
            starts, spans = some[np.sort(rng.permutation(len(some))[:WORDS])].T
            contexts = ids[starts[:, None] + np.arange(-CONTEXT_CHARS, 0)]
            yield Targets("returning words", contexts, ids[starts], spans)
