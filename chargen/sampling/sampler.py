"""A trained model that samples: from a prompt to an iterator of characters."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError, named
from chargen.predictors.ngram import BASELINE_ORDER, BackoffNgram, Mixture
from chargen.runs.directory import Run
from chargen.sampling.beam import ENDED, search
from chargen.sampling.choice import Advance, generate
from chargen.sampling.engine import Engine, without_placeholder
from chargen.settings import SAMPLE_CHARS, WEIGHT_FORMATS, SamplingSettings, from_options
from chargen.text.documents import DOCUMENT_ENDS
from chargen.text.vocabulary import Unknown, Vocabulary

MIN_WARM_UP, MAX_WARM_UP = 64, 512  # characters of the text before one that begins
SEARCHED = 2_000_000  # characters of training text searched for a prompt that begins a line
BEGINNING = 20  # a prompt begins a line if at least one of this many occurrences does

Stop = str | Sequence[str]
"""One or several strings that end a text as soon as the model has written one of them."""

Stops = Mapping[str, bool]
"""Stop strings, longest first, and whether a text keeps the one that ends it."""


class Sampler:
    """An inference engine with its vocabulary, and the path of its run for error messages."""

    def __init__(
        self,
        engine: "Engine | MixedEngine",
        vocabulary: Vocabulary,
        path: Path,
        *,
        warms_up: bool = False,  # begin texts after a generated warm-up text
        training: Callable[[], str] = str,  # returns the beginning of the training text
        end: str = "",  # of a document, after which training reset the state
    ) -> None:
        self.engine, self.vocabulary, self.path = engine, vocabulary, path
        self._warms_up, self._training = warms_up, training
        self._ends = (end,) if end and end[0] in vocabulary else ()

    @classmethod
    def of(
        cls,
        run: Run,
        weights: Mapping[str, np.ndarray] | None = None,
        form: str = "float32",
        mix_ngram: float = 0.0,
    ) -> "Sampler":
        """Return a sampler with the best weights of a run, or with others, which must fit it.

        ``form`` is one of `WEIGHT_FORMATS`; ``mix_ngram`` is the weight of the n-gram
        baseline in the predictions, see `Mixture`.
        """
        if form not in WEIGHT_FORMATS:
            raise ChargenError(f"--weights {form}: must be one of {', '.join(WEIGHT_FORMATS)}")
        description = run.description
        vocabulary = description.vocabulary
        weights = without_placeholder(run.weights() if weights is None else weights, vocabulary)
        with named(run.path):
            engine: Engine | MixedEngine = Engine(description.model, weights, len(vocabulary), form)
        if mix_ngram and vocabulary.dropped:
            effect = "would generate the placeholder of rare characters; leave out --mix-ngram"
            raise ChargenError(f"{run.path}: was trained with --min-count, so its n-gram {effect}")
        if mix_ngram:
            (ngram,) = run.ngrams(BASELINE_ORDER).values()
            engine = MixedEngine(engine.advance, ngram, mix_ngram)

        def training() -> str:
            known = description.corpus
            cached = None if description.imported else run.cached_corpus.load(known.sha256)
            if cached is None or cached.vocabulary != vocabulary:
                return ""
            return vocabulary.decode(cached.ids[: min(SEARCHED, known.training_chars)])

        warms_up = not description.begins_at_zeros
        end = DOCUMENT_ENDS.get(description.training.documents, "")
        return cls(engine, vocabulary, run.path, warms_up=warms_up, training=training, end=end)

    def stream(
        self,
        prompt: str = "",
        length: int = SAMPLE_CHARS,
        count: int = 1,
        seed: int | np.random.Generator = 0,
        unknown: Unknown = "error",
        stop: Stop = (),
        stop_after: Stop = (),
        begin: bool | None = None,
        **settings: Any,
    ) -> Iterator[list[str]]:
        """Write ``length`` characters after ``prompt`` in each of ``count`` texts at once.

        Args:
            prompt: The beginning, which is not repeated in the output.
            unknown: Whether a character outside the vocabulary is an error or is skipped.
            stop: One or several strings that end a text; they are not part of the output. Without
                any, a text ends with its document if training reset the state there.
            stop_after: Strings that end a text and are part of the output.
            begin: Whether the prompt begins a line, as unprompted text does, or continues a text;
                None judges by the training text, see `begins`.
            **settings: Fields of `SamplingSettings`: temperature, top_k, top_p, min_p,
                repetition_penalty, or beam, which yields the ``count`` likeliest texts in order.

        Yields:
            The next character of each text, immediately. With stops an item may be empty or hold
            several characters, since a possible beginning of a stop is buffered. `ChargenError` if
            the prompt or the settings are invalid, or, after the characters before it, for NaN.
        """
        chosen = from_options(SamplingSettings, settings)
        stops = self.stops(stop, stop_after)
        typed = self.vocabulary.encode_typed("prompt", prompt, unknown)
        if chosen.beam is not None and count > chosen.beam:
            raise ChargenError(f"--count {count}: more than a beam of {chosen.beam}; raise --beam")
        begins = not len(typed) or self.begins(prompt, begin)
        rng, characters = np.random.default_rng(seed), self.vocabulary.characters

        def written() -> Iterator[list[str]]:
            ids = typed
            if begins:
                start = self.start_ids(chosen, rng, count)
                ids = np.broadcast_to(ids, (*start.shape[:-1], len(ids)))
                ids = np.concatenate([start, ids], axis=-1)
            with named(self.path):
                rows: Iterable[np.ndarray]
                if chosen.beam is None:
                    rows = self.engine.write(ids, length, chosen, rng, count)
                else:
                    ends = list(map(self.vocabulary.encode, stops))
                    rows = search(self.engine.advance, ids, length, chosen.beam, count, ends)
                for row in rows:
                    yield ["" if id_ == ENDED else characters[id_] for id_ in row]

        return stopped(written(), stops, count) if stops else written()

    def stops(self, stop: Stop = (), stop_after: Stop = (), in_document: bool = True) -> Stops:
        """Return the stops, without any the end of a document that the text is ``in_document``.

        `ChargenError` for one that could never be written.
        """
        if in_document and (stop, stop_after) == ((), ()):
            stop = self._ends
        stops: dict[str, bool] = {}
        for flag, given in {"--stop": stop, "--stop-after": stop_after}.items():
            for text in (given,) if isinstance(given, str) else given:
                stops[text] = flag == "--stop-after"
                if not text:
                    raise ChargenError(f"{flag} '': empty, give some text")
                for position, character in enumerate(text):
                    if character not in self.vocabulary:
                        problem = f"character {character!r} at position {position} is not in"
                        never = "the model's vocabulary, so it would never be written; leave it out"
                        raise ChargenError(f"{flag} {text!r}: {problem} {never}")
        return {text: stops[text] for text in sorted(stops, key=len, reverse=True)}

    def begins(self, prompt: str, begin: bool | None = None) -> bool:
        """Return whether a prompt begins a line; ``begin`` answers for the training text.

        It does if it begins a line in at least one of `BEGINNING` of its occurrences in the
        training text; the longest part that occurs at all, found by halving, stands for a prompt
        that does not occur. Without a training text, it does not.
        """
        while begin is None and prompt:
            found = self._text.count(prompt)
            if found:
                return BEGINNING * self._text.count("\n" + prompt) >= found
            prompt = prompt[: len(prompt) // 2]
        return bool(begin)

    @cached_property
    def _text(self) -> str:
        text = self._training()
        return "\n" + text if text else ""

    def start_ids(
        self, settings: SamplingSettings, generator: np.random.Generator, count: int = 1
    ) -> np.ndarray:
        """Return what ``count`` texts that begin continue, ``(N, T)`` ids or ``(T,)`` for all.

        Greedy sampling and beam search begin with a line feed at a zero state.
        """
        opening = self.vocabulary.opening
        if not self._warms_up or settings.temperature == 0 or settings.beam is not None:
            return opening
        # A separate generator, since the forms of the engine draw different counts of numbers.
        own = np.random.default_rng(generator.integers(2**63))
        rows = self.engine.write(opening, MAX_WARM_UP, settings, own, count)
        with named(self.path):
            return warm_up_ids(rows, int(opening[0]))


class MixedEngine:
    """An engine whose predictions are mixed with those of an n-gram, see `Mixture`."""

    def __init__(self, advance: Advance, ngram: BackoffNgram, weight: float) -> None:
        self.advance = Mixture(advance, ngram, weight).advance

    def write(self, *given: Any) -> Iterator[np.ndarray]:
        return generate(self.advance, *given)


def warm_up_ids(rows: Iterator[np.ndarray], opening: int) -> np.ndarray:
    """Return the ends ``(N, T)`` of N warm-up texts, as long as the shortest of them.

    Where training carries the state, text sampled from a zero state is unusual. ``rows`` yields ids
    ``(N,)``, until each text has an ``opening`` (a line feed) after `MIN_WARM_UP` characters, at
    most `MAX_WARM_UP` times. A text ends with its last ``opening``; without one, its last id
    becomes one.
    """
    written, ended = [], np.False_
    for row in rows:
        written.append(row)
        if len(written) >= MIN_WARM_UP:
            ended = ended | (row == opening)
        if ended.all():
            break
    texts = np.stack(written, axis=1)
    texts[~ended, -1] = opening
    lengths = len(written) - (texts[:, ::-1] == opening).argmax(axis=1)
    T = lengths.min()
    return np.stack([ids[end - T : end] for ids, end in zip(texts, lengths, strict=True)])


class Stopping:
    """A filter that ends a text at the first stop.

    A possible beginning of a stop is buffered until the text decides. If several stops end at the
    same character, the longest counts; a stop does not begin before the first character read.
    """

    def __init__(self, stops: Stops) -> None:
        self._stops = stops
        self.held = ""
        self.ended = False

    def read(self, character: str) -> str:
        """Return the characters that are certain after this one; none after the end."""
        if self.ended:
            return ""
        text = self.held + character
        for stop, keeps in self._stops.items():
            if text.endswith(stop):
                self.held, self.ended = "", True
                return text if keeps else text.removesuffix(stop)
        self.held = text
        while self.held and not any(stop.startswith(self.held) for stop in self._stops):
            self.held = self.held[1:]
        return text.removesuffix(self.held)


def stopped(rows: Iterable[list[str]], stops: Stops, count: int) -> Iterator[list[str]]:
    """Apply `Stopping` to rows of the next characters of ``count`` texts until all ended."""
    texts = [Stopping(stops) for _ in range(count)]
    for row in rows:
        yield [text.read(character) for text, character in zip(texts, row, strict=True)]
        if all(text.ended for text in texts):
            return
    yield [text.held for text in texts]
