"""The public Python API; the command line calls the same functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chargen.datasets import bundled
from chargen.distributed.group import join
from chargen.errors import ChargenError
from chargen.evaluation import Evaluation, evaluate
from chargen.files import Progress
from chargen.predictors import BackoffNgram, NextCharPredictor
from chargen.probes.result import ProbeResult, RunResult
from chargen.probes.run import HeldOut, Watch, probe
from chargen.probes.surprisal import measure as surprise
from chargen.probes.surprisal.result import Scores, compare
from chargen.probes.units import measure as memory
from chargen.probes.units.result import HiddenUnits
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.recurrent.torch_nn import TorchCharModel, to_torch
from chargen.runs.directory import Run, find
from chargen.sampling import Sampler
from chargen.settings import INSTRUMENTS, SAMPLE_CHARS
from chargen.text.corpus import Corpus, read_corpus
from chargen.text.encoding import EncodedCorpus
from chargen.text.vocabulary import Unknown, Vocabulary
from chargen.training import TrainingSession, start
from chargen.training.dynamic import DynamicSettings, evaluate_dynamic
from chargen.training.session import device_named

if TYPE_CHECKING:
    from chargen.sampling.novelty import Novelty

Sources = str | Path | Sequence[str | Path]
"""Files, directories, ``-`` or names of bundled corpora: one, or several in reading order."""

BASELINE_ORDER = 6  # of the n-gram baseline
BASELINE_CHARS = 10_000_000  # training characters that an n-gram counts at most, for memory


class TrainedModel:
    """A trained model: its weights, its vocabulary and what can be done with them.

    Args:
        run: the run directory.
        device: a torch device, or ``auto`` for a GPU if there is one.
        weights: arrays that replace the run's best weights.

    Raises:
        ChargenError: the weights are damaged or do not fit the run's settings.
    """

    def __init__(
        self, run: Run, device: str = "auto", weights: Mapping[str, np.ndarray] | None = None
    ) -> None:
        description = run.description
        self.run = run
        self.name = str(run.path)
        self.timesteps = description.training.timesteps
        self.vocabulary: Vocabulary = description.vocabulary
        weights = run.weights() if weights is None else weights
        try:
            model = CharModel.of(description.model, len(self.vocabulary), weights)
        except ChargenError as error:
            raise ChargenError(f"{run.path}: {error}") from None
        self.network = model.to(device_named(device))
        self.predictor: NextCharPredictor = NetworkPredictor(self.network, self.vocabulary)
        self._ngrams: dict[int, BackoffNgram] = {}
        self._sampler = Sampler.of(run, weights)

    def __repr__(self) -> str:
        model, size = self.run.description.model, len(self.vocabulary)
        return (
            f"<TrainedModel {self.name}: {model.described()}, {model.parameters(size):,} "
            f"parameters, vocabulary {size}>"
        )

    def stream(
        self,
        prompt: str = "",
        length: int = SAMPLE_CHARS,
        count: int = 1,
        seed: int = 0,
        unknown: Unknown = "error",
        **settings: Any,
    ) -> Iterator[list[str]]:
        """Generate texts piece by piece; see `chargen.sampling.Sampler.stream`."""
        return self._sampler.stream(prompt, length, count, seed, unknown, **settings)

    def sample(
        self, prompt: str = "", length: int = SAMPLE_CHARS, seed: int = 0, **options: Any
    ) -> str:
        """Return ``prompt`` and ``length`` generated characters; ``options`` are `stream`'s."""
        rows = self.stream(prompt, length, 1, seed, **options)
        return prompt + "".join(row[0] for row in rows)

    def to_torch(self) -> TorchCharModel:
        """Return the model as plain `torch.nn` layers with a copy of the weights.

        ``logits, state = module(ids, state)`` takes int64 ids ``(N, T)`` of ``vocabulary`` and
        returns logits ``(N, T, V)``.

        Raises:
            ChargenError: `torch.nn` has no such cell or activation.
        """
        return to_torch(self.network, self.run.description.model)

    def novelty(self, texts: str | Sequence[str], seed: int = 0) -> Novelty:
        """Measure how much of generated ``texts`` occurs in the training text.

        Equally long held-out stretches, drawn by ``seed``, are the baseline; see
        `chargen.sampling.novelty`.

        Raises:
            ChargenError: the corpus is missing or changed.
        """
        from chargen.sampling.novelty import measure  # loads numba

        own, end = self.corpus().ids, self.run.description.corpus.training_chars
        given = [texts] if isinstance(texts, str) else texts
        ids = [self.vocabulary.encode_typed("text", text) for text in given]
        return measure(ids, own[:end], own[end:], self.vocabulary, seed)

    def evaluate(self, corpus: Sources | Corpus | None = None) -> Evaluation:
        """Return loss and accuracy on the held-out text, or on all of another corpus."""
        text, start, starts = self._evaluated(corpus)
        return evaluate(self.predictor, text.ids, start, starts=starts)

    def evaluate_dynamic(
        self,
        corpus: Sources | Corpus | None = None,
        settings: DynamicSettings | None = None,
        progress: Progress = lambda done, total: None,
    ) -> Evaluation:
        """Return loss and accuracy of a model that keeps learning from the evaluated text.

        The scale of its gradients is taken from the end of the training text; see
        `chargen.training.dynamic`.
        """
        text, start, starts = self._evaluated(corpus)
        training, settings = self._training(text), settings or DynamicSettings()
        return evaluate_dynamic(self.network, text.ids, start, training, settings, starts, progress)

    def baseline(self, corpus: Sources | Corpus | None = None) -> Evaluation:
        """Return loss and accuracy of the n-gram baseline, as `evaluate` measures them.

        It is a back-off n-gram of order `BASELINE_ORDER`, counted on the last `BASELINE_CHARS`
        characters of the training text.
        """
        text, start, starts = self._evaluated(corpus)
        (ngram,) = self.ngrams(BASELINE_ORDER, text=text).values()
        return evaluate(ngram, text.ids, start, starts=starts)

    def probe_longrange(
        self, spans: Sequence[int] | None = None, seed: int = 0, **options: Any
    ) -> RunResult:
        """Measure how far back the model remembers; ``options`` are `probe_longrange`'s."""
        return probe_longrange([self], spans, seed, **options).runs[0]

    def score(self, text: str, unknown: Unknown = "error") -> Scores:
        """Return the surprisal of each character of ``text``; see `score` for several models."""
        return score([self], text, unknown)

    def held_out(self) -> np.ndarray:
        """Return the ids ``(M,)`` of the held-out text; `ChargenError` if there is none."""
        ids = self.corpus().ids[self.run.description.corpus.training_chars :]
        if not len(ids):
            raise ChargenError(
                f"{self.run.path}: no text is held out (--validation 0); name another text"
            )
        return ids

    def memory(
        self,
        text: str,
        unknown: Unknown = "error",
        cues: Sequence[str] = (),
        seed: int = 0,
        progress: Progress = lambda done, total: None,
    ) -> HiddenUnits:
        """Record every hidden unit while ``text`` is read, and score units against features.

        Args:
            text: the text to read.
            unknown: ``error`` or ``skip`` for characters outside the vocabulary.
            cues: words whose presence is a feature, by default `default_cues` of the held-out text.
            seed: random seed of the scores.
            progress: called with the work done and in total.

        Returns:
            The recording and the scores on the held-out text; a note if that text is missing.
        """
        return memory.inspect(
            self.name,
            self.network,
            self.initial_network,
            self.vocabulary,
            self.vocabulary.encode_typed("memory text", text, unknown),
            self.held_out,
            cues,
            seed=seed,
            progress=progress,
        )

    def ngrams(
        self, *orders: int, text: EncodedCorpus | None = None
    ) -> dict[str, NextCharPredictor]:
        """Return back-off n-grams of the training text, which may be in ``text``, by name."""
        for order in set(orders) - self._ngrams.keys():
            self._ngrams[order] = BackoffNgram(self.vocabulary, self._training(text), order)
        return {f"{order}-gram": self._ngrams[order] for order in orders}

    def _text(self, corpus: Sources | Corpus | None) -> EncodedCorpus:
        """Return a corpus, encoded; by default that of the run."""
        return self.corpus() if corpus is None else self.run.encode(_read(corpus))

    def _evaluated(
        self, corpus: Sources | Corpus | None
    ) -> tuple[EncodedCorpus, int, np.ndarray | None]:
        """Return a text, the first index to predict, and document starts if the model uses them."""
        if corpus is None:
            self.held_out()  # or else an error
        text = self._text(corpus)
        known, documents = self.run.description.corpus, self.run.description.training.documents
        start = known.training_chars if known.is_of(text) else 1
        start = 1 if start == len(text.ids) else start  # a text that is named, of which none is
        return text, start, None if documents == "none" else text.starts

    def _training(self, text: EncodedCorpus | None = None) -> np.ndarray:
        """Return the last `BASELINE_CHARS` ids of the training text, which may be in ``text``."""
        known = self.run.description.corpus
        own = text if text is not None and known.is_of(text) else self.corpus()
        return own.ids[max(0, known.training_chars - BASELINE_CHARS) : known.training_chars]

    def corpus(self) -> EncodedCorpus:
        """Return the run's corpus from the cache, or else from its sources.

        Raises:
            ChargenError: it is missing or changed, or the run was imported.
        """
        return self.run.corpus()

    def initial_network(self) -> CharModel:
        """Return the untrained network: the initial weights of the run's seed."""
        description = self.run.description
        seed, size = description.training.seed, len(self.vocabulary)
        return CharModel.seeded(description.model, size, seed).to(self.network.b_y.device)


def load(run: str | Path | None = None, device: str = "auto") -> TrainedModel:
    """Return the model of a run: a path, or a name under ``runs/``; by default the newest."""
    return TrainedModel(find(run), device)


def probe_longrange(
    models: Sequence[TrainedModel],
    spans: Sequence[int] | None = None,
    seed: int = 0,
    *,
    only: Sequence[str] = INSTRUMENTS,
    bank: str | Path | None = None,
    text: Sources | Corpus | None = None,
    watch: Watch = lambda instrument, done, total: None,
) -> ProbeResult:
    """Measure how far back models remember, and compare them on the same cases.

    Args:
        models: models of different runs.
        spans: spans of the sentences, in characters; by default those of the bank.
        seed: random seed of the cases.
        only: names of the instruments.
        bank: a phrase bank, as a file or a bundled one's name; by default the first of the bundled
            ones, English before Chinese, that the models know.
        text: the text that the other instruments read where no model was trained on it; by default
            each run's held-out text. Context and mined then need runs of one corpus.
        watch: called with an instrument's name and its work done and in total.

    Raises:
        ChargenError: a run is given twice, or no instrument can measure.
    """
    _check_distinct(models)
    corpora = [model.run.description.corpus for model in models]
    one_text = text is not None or len({(c.sha256, c.training_chars) for c in corpora}) == 1
    unseen = [model.held_out for model in models] if text is None else _unseen(models, text)
    return probe(models, bundled.banks(bank), unseen, one_text, only, spans, seed, watch)


def score(models: Sequence[TrainedModel], text: str, unknown: Unknown = "error") -> Scores:
    """Compare the surprisal of the same characters under several models.

    Args:
        models: models of different runs.
        text: the text; every character but the first is predicted.
        unknown: ``error`` or ``skip`` (for all models) for characters that a vocabulary lacks.

    Raises:
        ChargenError: a run is given twice, or fewer than two characters remain.
    """
    _check_distinct(models)
    known = text
    for model in models:
        kept = model.vocabulary.encode_typed(f"text for {model.name}", known, unknown)
        known = model.vocabulary.decode(kept)
    if len(known) < 2:
        raise ChargenError("text: too short, give at least two characters")
    scores = [
        surprise.score(model.name, model.predictor, model.vocabulary.encode(known))
        for model in models
    ]
    return compare(known, len(text) - len(known), scores)


def train(
    corpus: Sources = (),
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    cache: str | Path | None = None,
    encoding: str = "",
    progress: Progress = lambda done, total: None,
    run: Callable[[TrainingSession], None] = TrainingSession.run,
    **settings: Any,
) -> TrainedModel:
    """Train a model and return it with its best weights.

    If ``torchrun`` started the program, all its processes train one model and each returns it.

    Args:
        corpus: files, directories or names of bundled corpora; a resumed run knows its own.
        out: run directory, by default ``runs/<corpus name>``.
        resume: resume the run in ``out``, by default the newest run.
        overwrite: replace the run in ``out``.
        device: a torch device, or ``auto`` for a GPU if there is one.
        cache: directory of encoded corpora, by default ``.corpora`` beside the run.
        encoding: encoding of files without a byte order mark, by default UTF-8.
        progress: called with the bytes read so far and in total while the corpus is read.
        run: trains, given a ready session; it may iterate over ``session.trainer.reports()``.
        **settings: fields of `ModelSettings` and `TrainingSettings`, for example
            ``cell="gru", units=(128, 128), minutes=2``; ``None`` chooses the default.

    Returns:
        The model with the weights of the lowest validation loss.

    Raises:
        ChargenError: a setting or the corpus is invalid, training diverged, or the run directory
            cannot be written.
    """
    with (
        join(device_named(device).type) as group,
        start(
            _paths(corpus),
            settings,
            None if out is None else Path(out),
            resume=resume,
            overwrite=overwrite,
            device=device,
            cache=None if cache is None else Path(cache),
            progress=progress,
            group=group,
            encoding=encoding,
        ) as session,
    ):
        run(session)
        trained = session.trainer.run
        weights = group.run_on_lead(trained.weights)  # others may not see the run directory
    model = TrainedModel(trained, device, weights)
    model.run.encoded = session.trainer.text  # its sources may be gone
    return model


def _check_distinct(models: Sequence[TrainedModel]) -> None:
    paths = [model.run.path.resolve() for model in models]
    for index, model in enumerate(models):
        if paths[index] in paths[:index]:
            raise ChargenError(f"{model.name}: named twice; name each run once")


def _paths(corpus: Sources) -> Sequence[str | Path]:
    return [corpus] if isinstance(corpus, str | Path) else corpus


def _read(corpus: Sources | Corpus) -> Corpus:
    return corpus if isinstance(corpus, Corpus) else read_corpus(_paths(corpus))


def _unseen(models: Sequence[TrainedModel], text: Sources | Corpus) -> list[HeldOut]:
    """Return for each model the part of ``text`` that no model was trained on."""
    corpus, first, texts = _read(text), 0, []
    for model in models:
        known = model.run.description.corpus
        try:
            encoded = model._text(corpus)
        except ChargenError as error:
            raise ChargenError(f"{model.name} cannot read {error}") from None
        first = max(first, known.training_chars if known.is_of(encoded) else 0)
        texts.append(encoded.ids)
    return [partial(ids.__getitem__, slice(first, None)) for ids in texts]
