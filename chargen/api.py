"""The Python interface, which the command line uses too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError
from chargen.evaluation import Evaluation, evaluate
from chargen.predictors import BackoffNgram, NextCharPredictor
from chargen.probes import Progress, memory
from chargen.probes.memory_features import default_cues
from chargen.probes.memory_recording import record
from chargen.probes.memory_result import Memory, UnitsResult
from chargen.probing import HeldOut, Probed, ProbedRuns, Watch, probe, probe_runs
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.runs import Run, newest
from chargen.sampling import Writer
from chargen.sampling.engine import Engine
from chargen.settings import INSTRUMENTS
from chargen.text import bundled, phrases
from chargen.text.bank import Bank
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
        weights = run.weights()
        try:
            model = CharModel.of(description.model, len(self.vocabulary), weights)
        except ChargenError as error:
            raise ChargenError(f"{run.path}: {error}") from None
        self.network = model.to(device_named(device))
        self.predictor: NextCharPredictor = NetworkPredictor(self.network, self.vocabulary)
        self._ngrams: dict[int, BackoffNgram] = {}  # they take seconds to count
        engine = Engine(description.model, weights, len(self.vocabulary))
        self._writer = Writer(engine, self.vocabulary, run.path)

    def stream(
        self,
        prompt: str = "",
        length: int = 1000,
        count: int = 1,
        seed: int = 0,
        unknown: Unknown = "error",
        **settings: Any,
    ) -> Iterator[list[str]]:
        """See `chargen.sampling.Writer.stream`."""
        return self._writer.stream(prompt, length, count, seed, unknown, **settings)

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

        Sentences are asked from the phrase bank ``bank``, a file or a bundled one's name, or from
        the first of the bundled ones, English before Chinese, that the model knows. The other
        instruments read the run's held-out text, or all of ``text`` where that is another one.
        """
        (held_out,) = _unseen([self], text)
        return probe(self, _banks(bank), held_out, only, spans, seed, watch)

    def held_out(self) -> np.ndarray:
        """Ids ``(M,)`` of the text that was kept from training."""
        ids, start = self._text(None)
        return ids[start:]

    def unseen(self, corpus: Corpus) -> tuple[np.ndarray, int]:
        """Ids ``(L,)`` of a text, and where the part begins that the model was not trained on."""
        try:
            ids, start = self._text(corpus)
        except ChargenError as error:
            raise ChargenError(f"{self.name} cannot read {error}") from None
        return ids, start if start > 1 else 0

    def memory(
        self,
        text: str,
        unknown: Unknown = "error",
        cues: Sequence[str] = (),
        seed: int = 0,
        progress: Progress = lambda done, total: None,
    ) -> Memory:
        """What every memory unit does while ``text`` is read, and which follow something readable.

        The units are scored on the run's held-out text; where that is gone or too short a note
        says so. ``cues`` are words whose being told is looked for; without any, they are those
        of `chargen.probes.memory_features.default_cues`. A character of ``text`` that the
        vocabulary lacks is a `ChargenError`, or left out with ``unknown="skip"``.
        """
        ids = self.vocabulary.encode_typed("memory text", text, unknown)
        if not len(ids):
            raise ChargenError("memory text: nothing of it is left to read; give a text")
        recording = record(self.network, self.vocabulary, ids)
        notes, units = [], None
        if len(ids) > len(recording.text):
            shown = f"the first {len(recording.text):,} of {len(ids):,} characters are shown"
            notes.append(f"{shown}: with more the page would be too large")
        try:
            units = self._scored_units(cues, seed, progress)
        except ChargenError as error:
            notes.append(f"without the units that follow something: {error}")
        return Memory(self.name, recording, units, tuple(notes))

    def _scored_units(self, cues: Sequence[str], seed: int, progress: Progress) -> UnitsResult:
        ids = self.held_out()
        text = self.vocabulary.decode(ids)
        chosen, untrained = cues or default_cues(text), self.initial_network()
        return memory.measure(
            self.network, untrained, text, ids, chosen, seed=seed, progress=progress
        )

    def ngrams(self, *orders: int, corpus: Corpus | None = None) -> dict[str, NextCharPredictor]:
        """Back-off n-grams that read the run's own training text, by name.

        It is read again from where it was, unless it is ``corpus``.
        """
        known = self.run.description.corpus
        own = corpus if corpus and known.is_of(corpus.text, corpus.sha256) else self.corpus()
        training = self._ids(own)[: known.training_chars]
        for order in orders:
            if order not in self._ngrams:
                self._ngrams[order] = BackoffNgram(self.vocabulary, training, order)
        return {f"{order}-gram": self._ngrams[order] for order in orders}

    def _text(self, given: Corpus | None) -> tuple[np.ndarray, int]:
        """Ids ``(L,)`` and where the predicted part begins, as `chargen.evaluation` takes them."""
        known = self.run.description.corpus
        corpus = given or self.corpus()
        own = known.is_of(corpus.text, corpus.sha256)
        return self._ids(corpus), known.training_chars if own else 1

    def corpus(self) -> Corpus:
        """The run's own corpus, read again from where it was; `ChargenError` where it changed."""
        known = self.run.description.corpus
        if STANDARD_INPUT in known.sources:
            raise ChargenError(
                f"{self.run.path} was trained on standard input, which is gone: name its text again"
            )
        try:
            corpus = read_corpus(known.checked_sources())
        except ChargenError as error:
            raise ChargenError(f"{error}; the run {self.run.path} was trained on it") from None
        if not known.is_of(corpus.text, corpus.sha256):
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


def load(run: str | Path | None = None, device: str = "auto") -> TrainedModel:
    """The model of a run's folder, or of the newest run under ``runs/``."""
    return TrainedModel(newest() if run is None else Run.open(Path(run)), device)


def probe_longrange(
    models: Sequence[TrainedModel],
    spans: Sequence[int] | None = None,
    seed: int = 0,
    *,
    only: Sequence[str] = INSTRUMENTS,
    bank: str | Path | None = None,
    text: Sources | Corpus | None = None,
    watch: Watch = lambda instrument, done, total: None,
) -> ProbedRuns:
    """Which of ``models`` remembers farther? All are asked the same cases, and compared.

    The rest is that of `TrainedModel.probe_longrange`. Without ``text``, context and mined read
    the held-out text if all runs were trained on one corpus and one part of it. One run twice is
    a `ChargenError`.
    """
    known: set[Path] = set()
    for model in models:
        path = model.run.path.resolve()
        if path in known:
            raise ChargenError(f"{model.name}: named twice; name each run once")
        known.add(path)
    corpora = [model.run.description.corpus for model in models]
    one_text = text is not None or len({(c.sha256, c.training_chars) for c in corpora}) == 1
    unseen = _unseen(models, text)
    return probe_runs(models, _banks(bank), unseen, one_text, only, spans, seed, watch)


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


def _banks(bank: str | Path | None) -> list[Bank]:
    """The bank in a file, or the bundled one of that name; without either, all bundled ones."""
    if bank is None:
        return [bundled.bank(name) for name in bundled.BANKS.values()]
    if str(bank) in bundled.BANKS.values() and not Path(bank).exists():
        return [bundled.bank(str(bank))]
    return [phrases.read(bank)]


def _unseen(models: Sequence[TrainedModel], text: Sources | Corpus | None) -> list[HeldOut]:
    """For each model its held-out text; or what of ``text`` none of them was trained on."""
    if text is None:
        return [model.held_out for model in models]
    corpus = _read(text)
    told = [model.unseen(corpus) for model in models]
    start = max(begin for _, begin in told)
    return [partial(_from, ids, start) for ids, _ in told]


def _from(ids: np.ndarray, start: int) -> np.ndarray:
    return ids[start:]
