"""The Python interface, which the command line uses too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.evaluation import Evaluation, evaluate
from chargen.predictors import BackoffNgram, NextCharPredictor
from chargen.probing import Probed, Watch, probe
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.runs import Run, newest
from chargen.sampling.generate import first_prompt, generate
from chargen.settings import INSTRUMENTS, SamplingSettings, from_json
from chargen.text import bundled, phrases
from chargen.text.corpus import STANDARD_INPUT, Corpus, read_corpus
from chargen.text.vocabulary import Unknown, UnknownCharacterError, Vocabulary
from chargen.training import Session, start
from chargen.training.session import device_named

Sources = str | Path | Sequence[str | Path]
"""Files, folders, ``-`` or names of bundled corpora: one, or several in reading order."""

FLOOR_ORDER = 6  # of the n-gram that every evaluation is set beside


class TrainedModel:
    """A run's best weights, ready to write and to be measured."""

    def __init__(self, run: Run, device: str = "auto") -> None:
        description = run.description
        self.run = run
        self.name = str(run.path)
        self.timesteps = description.training.timesteps
        self.vocabulary: Vocabulary = description.vocabulary
        try:
            model = CharModel.of(description.model, len(self.vocabulary), run.weights())
        except ChargenError as error:
            raise ChargenError(f"{run.path}: {error}") from None
        self.network = model.to(device_named(device))
        self.predictor: NextCharPredictor = NetworkPredictor(self.network, self.vocabulary)
        self._ngrams: dict[int, BackoffNgram] = {}  # they take seconds to count

    def stream(
        self,
        prompt: str = "",
        length: int = 1000,
        count: int = 1,
        seed: int = 0,
        unknown: Unknown = "error",
        **settings: Any,
    ) -> Iterator[list[str]]:
        """Write ``length`` characters after ``prompt``, ``count`` texts at once.

        Yields the next character of each text as soon as it is chosen. ``settings`` are those of
        `SamplingSettings`: temperature, top_k, top_p. A prompt's character that the vocabulary
        lacks is a `ChargenError`, or left out with ``unknown="skip"``.
        """
        chosen = from_json(SamplingSettings, settings)
        ids = self._prompt_ids(prompt, unknown)
        rows = generate(
            self.predictor, ids, length, chosen, np.random.default_rng(seed), count=count
        )
        return (list(self.vocabulary.decode(row)) for row in rows)

    def sample(self, prompt: str = "", length: int = 1000, seed: int = 0, **options: Any) -> str:
        """``prompt`` and what the model writes after it; ``options`` are those of `stream`."""
        rows = self.stream(prompt, length, 1, seed, **options)
        return prompt + "".join(row[0] for row in rows)

    def evaluate(self, corpus: Sources | Corpus | None = None) -> Evaluation:
        """Loss and accuracy on the run's held-out text, or on all of another corpus."""
        given = None if corpus is None else _read(corpus)
        return evaluate(self.predictor, *self._text(given))

    def floor(self, corpus: Sources | Corpus | None = None) -> Evaluation:
        """The same measure of a back-off n-gram that read the run's own training text."""
        given = None if corpus is None else _read(corpus)
        (ngram,) = self.ngrams(FLOOR_ORDER, corpus=given).values()
        return evaluate(ngram, *self._text(given))

    def probe_longrange(
        self,
        spans: Sequence[int] | None = None,
        seed: int = 0,
        *,
        only: Sequence[str] = INSTRUMENTS,
        bank: str | Path | None = None,
        text: Sources | Corpus | None = None,
        watch: Watch = lambda instrument, done, total: None,
    ) -> Probed:
        """How far back does it remember? The instruments of `chargen.probing`, or ``only`` some.

        Sentences are asked from the phrase bank in the file ``bank``, or from the first of the
        bundled ones, English before Chinese, that the model's vocabulary can spell. The other
        instruments read the run's held-out text, or all of ``text`` where that is another one.
        """
        phrase_bank = phrases.read(bank) if bank else bundled.bank_for(self.vocabulary.characters)
        given = None if text is None else self._text(_read(text))

        def held_out() -> np.ndarray:
            ids, start = given or self._text(None)
            return ids[start if start > 1 else 0 :]

        return probe(self, phrase_bank, held_out, only, spans, seed, watch)

    def ngrams(self, *orders: int, corpus: Corpus | None = None) -> dict[str, NextCharPredictor]:
        """Back-off n-grams that read the run's own training text, by name.

        It is read again from where it was, unless it is ``corpus``.
        """
        known = self.run.description.corpus
        own = corpus if corpus and corpus.sha256 == known.sha256 else self.corpus()
        training = self._ids(own)[: known.training_chars]
        for order in orders:
            if order not in self._ngrams:
                self._ngrams[order] = BackoffNgram(self.vocabulary, training, order)
        return {f"{order}-gram": self._ngrams[order] for order in orders}

    def _text(self, given: Corpus | None) -> tuple[np.ndarray, int]:
        """Ids ``(L,)`` and where the predicted part begins, as `chargen.evaluation` takes them."""
        known = self.run.description.corpus
        corpus = given or self.corpus()
        return self._ids(corpus), known.training_chars if corpus.sha256 == known.sha256 else 1

    def corpus(self) -> Corpus:
        """The run's own corpus, read again from where it was; `ChargenError` where it changed."""
        known = self.run.description.corpus
        if STANDARD_INPUT in known.sources:
            raise ChargenError(
                f"{self.run.path} was trained on standard input, which is gone: name its text again"
            )
        try:
            corpus = read_corpus(known.sources)
        except ChargenError as error:
            raise ChargenError(f"{error}; the run {self.run.path} was trained on it") from None
        if corpus.sha256 != known.sha256:
            raise ChargenError(
                f"{' '.join(known.sources)}: changed since {self.run.path} was trained on it"
            )
        return corpus

    def initial_network(self) -> CharModel:
        """The network as its training began: what a measure says of one that learned nothing."""
        description = self.run.description
        seed, size = description.training.seed, len(self.vocabulary)
        return CharModel.seeded(description.model, size, seed).to(self.network.b_y.device)

    def _ids(self, corpus: Corpus) -> np.ndarray:
        try:
            return self.vocabulary.encode(corpus.text)
        except UnknownCharacterError as error:
            raise ChargenError(f"{' '.join(corpus.sources)}: {error}") from None

    def _prompt_ids(self, prompt: str, unknown: Unknown) -> np.ndarray:
        try:
            ids = self.vocabulary.encode(prompt, unknown)
        except UnknownCharacterError as error:
            raise ChargenError(
                f"prompt: character {error.character!r} at position {error.position} is not in "
                "the model's vocabulary; leave it out, or give --unknown skip"
            ) from None
        return ids if len(ids) else first_prompt(self.vocabulary)


def load(run: str | Path | None = None, device: str = "auto") -> TrainedModel:
    """The model of a run's folder, or of the newest run under ``runs/``."""
    return TrainedModel(newest() if run is None else Run.open(Path(run)), device)


def train(
    corpus: Sources = (),
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    run: Callable[[Session], None] = lambda session: session.run(),
    **settings: Any,
) -> TrainedModel:
    """Train on a corpus (files, folders or bundled names) and return the model, its best weights.

    ``settings`` are those of `ModelSettings` and `TrainingSettings`, for example
    ``cell="gru", units=(128, 128), minutes=2``; ``out``, ``resume`` and ``overwrite`` are those
    of `chargen.training.start`. ``run`` is called once all is ready, to train and to show it: it
    may take `Report` after `Report` from ``session.trainer.reports()``, or ``session.run()``.
    """
    folder = None if out is None else Path(out)
    with start(
        _paths(corpus), settings, folder, resume=resume, overwrite=overwrite, device=device
    ) as session:
        run(session)
        return TrainedModel(session.trainer.run, device)


def _paths(corpus: Sources) -> Sequence[str | Path]:
    return [corpus] if isinstance(corpus, str | Path) else corpus


def _read(corpus: Sources | Corpus) -> Corpus:
    return corpus if isinstance(corpus, Corpus) else read_corpus(_paths(corpus))
