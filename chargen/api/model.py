"""A trained model: its weights, its vocabulary and what can be measured with it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from chargen.errors import ChargenError, named
from chargen.evaluation import Evaluation, evaluate
from chargen.files import Progress
from chargen.predictors import BackoffNgram, NextCharPredictor
from chargen.predictors.ngram import BASELINE_ORDER, Mixture
from chargen.probes.result import RunResult
from chargen.probes.surprisal.result import Scores
from chargen.probes.units import measure as units_kit
from chargen.probes.units.measure import record
from chargen.probes.units.result import HiddenUnits
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.recurrent.torch_nn import TorchCharModel, to_torch
from chargen.render.report import Table, fragment
from chargen.runs.directory import Run
from chargen.sampling import Sampler
from chargen.sampling.novelty import Novelty
from chargen.sampling.novelty import measure as measure_novelty
from chargen.settings import SAMPLE_CHARS
from chargen.text.corpus import Corpus, read_corpus
from chargen.text.encoding import EncodedCorpus, encode_with
from chargen.text.vocabulary import Unknown, Vocabulary
from chargen.training.dynamic import DynamicSettings, evaluate_dynamic
from chargen.training.session import device_named

Sources = str | Path | Sequence[str | Path]
"""Files, directories, ``-`` or names of bundled corpora: one, or several in reading order."""


class TrainedModel:
    """A trained model: its weights, its vocabulary and what can be done with them.

    ``device`` is a torch device, or ``auto`` for a GPU if there is one; ``weights`` replace the
    run's best ones. With ``mix_ngram`` above 0, the n-gram baseline has this weight in all
    predictions; hidden units and gradients stay those of the network. `ChargenError` if weights
    are damaged or do not fit the run's settings, or a training text to count is missing.
    """

    def __init__(
        self,
        run: Run,
        device: str = "auto",
        weights: Mapping[str, np.ndarray] | None = None,
        mix_ngram: float = 0.0,
    ) -> None:
        description = run.description
        self.run = run
        self.name = str(run.path)
        self.timesteps = description.training.timesteps
        self.vocabulary: Vocabulary = description.vocabulary
        weights = run.weights() if weights is None else weights
        with named(run.path):
            model = CharModel.of(description.model, len(self.vocabulary), weights)
        self.network = model.to(device_named(device))
        self.predictor: NextCharPredictor = NetworkPredictor(self.network, self.vocabulary)
        self._baseline: Evaluation | None = None  # of the held-out text
        # by weight format
        self._sampler = cache(partial(Sampler.of, run, weights, mix_ngram=mix_ngram))
        self._sampler("float32")
        if mix_ngram:
            (ngram,) = self.ngrams(BASELINE_ORDER).values()
            self.predictor = Mixture(self.predictor.advance, ngram, mix_ngram)
            self.name += f" + {mix_ngram:g} × {BASELINE_ORDER}-gram"

    def __repr__(self) -> str:
        model, size = self.run.description.model, len(self.vocabulary)
        shape = f"{model.described()}, {model.parameters(size):,} parameters, vocabulary {size}"
        return f"<TrainedModel {self.name}: {shape}>"

    def _repr_html_(self) -> str:
        facts = [("run", self.name), *self.run.description.facts().items()]
        return fragment(Table(["", ""], facts))

    def stream(
        self,
        prompt: str = "",
        length: int = SAMPLE_CHARS,
        *more: Any,
        weights: str = "float32",
        **options: Any,
    ) -> Iterator[list[str]]:
        """Generate texts piece by piece; see `chargen.sampling.Sampler.stream`.

        ``weights`` is ``"float32"``, or ``"int8"`` for faster sampling at nearly the same loss.
        """
        return self._sampler(weights).stream(prompt, length, *more, **options)

    def sample(
        self, prompt: str = "", length: int = SAMPLE_CHARS, seed: int = 0, **options: Any
    ) -> str:
        """Return ``prompt`` and ``length`` generated characters; ``options`` are `stream`'s."""
        rows = self.stream(prompt, length, 1, seed, **options)
        return prompt + "".join(row[0] for row in rows)

    def to_torch(self) -> TorchCharModel:
        """Return the model as plain `torch.nn` layers with a copy of the weights.

        ``logits, state = module(ids, state)`` takes int64 ids ``(N, T)`` of ``vocabulary`` and
        returns logits ``(N, T, V)``. `ChargenError` if `torch.nn` has no such cell or activation.
        """
        return to_torch(self.network, self.run.description.model)

    def novelty(self, texts: str | Sequence[str], seed: int = 0) -> Novelty:
        """Measure how much of generated ``texts`` occurs in the training text.

        Equally long held-out stretches, drawn by ``seed``, are the baseline; see
        `chargen.sampling.novelty`.
        """
        own, end = self.corpus().ids, self.run.description.corpus.training_chars
        given = [texts] if isinstance(texts, str) else texts
        ids = [self.vocabulary.encode_typed("text", text) for text in given]
        return measure_novelty(ids, own[:end], own[end:], self.vocabulary, seed)

    def forgetting(self) -> tuple[float, float] | None:
        """Return what a fine-tuned model forgot; None for another or an imported origin.

        That is the loss in nats per character on the held-out text of the run that it started
        from, before and after fine-tuning. `ChargenError` if that text is missing or changed.
        """
        origin = self.run.description.initialized_from
        if not (origin and origin.corpus and origin.validation_loss_nats is not None):
            return None
        known = origin.corpus
        if known.training_chars == known.chars:
            return None
        text = encode_with(known.read_again(), self.vocabulary, origin.documents)
        if not known.is_of(text):
            raise ChargenError(f"{' '.join(known.sources)}: changed since {origin.run} read it")
        starts = None if origin.documents == "none" else text.starts
        after = evaluate(self.predictor, text.ids, known.training_chars, starts=starts)
        return origin.validation_loss_nats, after.loss_nats

    def evaluate(self, corpus: Sources | Corpus | None = None) -> Evaluation:
        """Return loss and accuracy on the held-out text, or on all of another corpus."""
        return evaluate(self.predictor, *self._evaluated(corpus))

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
        (ids, start, starts), own = self._evaluated(corpus), settings or DynamicSettings()
        training = self.run.training_ids()
        return evaluate_dynamic(self.network, ids, start, training, own, starts, progress)

    def baseline(self, corpus: Sources | Corpus | None = None) -> Evaluation:
        """Return loss and accuracy of the n-gram baseline, as `evaluate` measures them.

        It is a back-off n-gram of order `BASELINE_ORDER`, counted on the last 10 million
        characters of the training text.
        """
        if corpus is None and self._baseline:
            return self._baseline
        evaluated = self._evaluated(corpus)
        (ngram,) = self.ngrams(BASELINE_ORDER).values()
        found = evaluate(ngram, *evaluated)
        self._baseline = found if corpus is None else self._baseline
        return found

    def probe_longrange(
        self, spans: Sequence[int] | None = None, seed: int = 0, **options: Any
    ) -> RunResult:
        """Measure how far back the model remembers; ``options`` are those of `chargen.probe`."""
        from chargen.api.measuring import probe

        return probe([self], spans, seed, **options).runs[0]

    def score(self, text: str, unknown: Unknown = "error") -> Scores:
        """Return the surprisal of each character of ``text``; see `score` for several models."""
        from chargen.api.measuring import score

        return score([self], text, unknown)

    def held_out(self) -> np.ndarray:
        """Return the ids ``(M,)`` of the held-out text; `ChargenError` without one."""
        ids = self.corpus().ids[self.run.description.corpus.training_chars :]
        if not len(ids):
            problem = "no text is held out (--validation 0); name another text"
            raise ChargenError(f"{self.run.path}: {problem}")
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

        The scores are measured on the held-out text; without one, a note replaces them. ``cues``
        are words whose presence is a feature, by default `default_cues` of that text.
        """
        ids = self.vocabulary.encode_typed("memory text", text, unknown)
        if not len(ids):
            raise ChargenError("memory text: none of it is in the vocabulary; give another text")
        recording, units, notes = record(self.network, self.vocabulary, ids), None, []
        if len(ids) > len(recording.text):
            shown = f"the first {len(recording.text):,} of {len(ids):,} characters are shown"
            notes.append(f"{shown}: with more the page would be too large")
        try:
            rest = self.held_out()
            known, untrained = self.vocabulary.decode(rest), self.initial_network()
            units = units_kit.measure(
                self.network, untrained, known, rest, cues, seed=seed, progress=progress
            )
        except ChargenError as error:
            notes.append(f"no units of readable features: {error.message}")
        return HiddenUnits(self.name, recording, units, tuple(notes))

    def ngrams(self, *orders: int) -> dict[str, BackoffNgram]:
        """Return back-off n-grams of the training text by name."""
        return self.run.ngrams(*orders)

    def encoded(self, corpus: Sources | Corpus | None) -> EncodedCorpus:
        """Return a corpus, encoded for the model; by default that of the run."""
        text = self.corpus() if corpus is None else self.run.encode(read_sources(corpus))
        if self.run.description.corpus.is_of(text):
            self.run.encoded = text  # its sources may be gone later, such as standard input
        return text

    def _evaluated(
        self, corpus: Sources | Corpus | None
    ) -> tuple[np.ndarray, int, np.ndarray | None]:
        """Return ids, the first index to predict, and document starts if the model uses them."""
        if corpus is None:
            self.held_out()  # or else an error
        text = self.encoded(corpus)
        known, documents = self.run.description.corpus, self.run.description.training.documents
        start = known.training_chars if known.is_of(text) else 1
        start = 1 if start == len(text.ids) else start  # a text that the model was trained on
        return text.ids, start, None if documents == "none" else text.starts

    def corpus(self) -> EncodedCorpus:
        """Return the run's corpus; `ChargenError` if it is missing or changed, or was imported."""
        return self.run.corpus()

    def initial_network(self) -> CharModel:
        """Return the untrained network: the initial weights of the run's seed."""
        description = self.run.description
        seed, size = description.training.seed, len(self.vocabulary)
        return CharModel.seeded(description.model, size, seed).to(self.network.b_y.device)


def read_sources(corpus: Sources | Corpus) -> Corpus:
    corpus = [corpus] if isinstance(corpus, str | Path) else corpus
    return corpus if isinstance(corpus, Corpus) else read_corpus(corpus)
