"""All instruments on one model or several, each with its controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from chargen.datasets.phrase_bank import Bank
from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.predictors import NextCharPredictor, limited
from chargen.probes.context import measure as context
from chargen.probes.context.result import ContextResult, compare_bits
from chargen.probes.gradient import measure as gradient
from chargen.probes.gradient.result import GradientResult
from chargen.probes.mined import measure as mined
from chargen.probes.mined.result import MinedResult
from chargen.probes.result import TRAINED, UNTRAINED, ProbeResult, RunResult
from chargen.probes.templates import measure as templates
from chargen.probes.templates.cases import check_spans
from chargen.probes.templates.result import TemplatesResult, compare
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.settings import INSTRUMENTS

CONTROL_ORDERS = (5, 10, 20)  # of the n-grams beside the templates
MINED_ORDER = 20  # of the n-gram beside the mined dependencies
DIFFERENT_TEXTS = "the runs were trained on different texts; name one for all with --text FILE"

Watch = Callable[[str, int, int], None]
"""Called with an instrument's name and the characters that it has read so far and in all."""

HeldOut = Callable[[], np.ndarray]
"""Returns ids ``(M,)`` of text that a model was not trained on, or raises `ChargenError`."""


class Subject(Protocol):
    """A trained model, and what is made from it for comparison."""

    name: str
    timesteps: int | None  # length of truncated BPTT in training, characters
    predictor: NextCharPredictor
    network: CharModel

    def initial_network(self) -> CharModel:
        """Return the network before training."""
        ...

    def ngrams(self, *orders: int) -> Mapping[str, NextCharPredictor]:
        """Return n-grams of the training text by name; `ChargenError` if that text is gone."""
        ...


def probe(
    subjects: Sequence[Subject],
    banks: Sequence[Bank],
    held_out: Sequence[HeldOut],
    one_text: bool = True,
    only: Sequence[str] = INSTRUMENTS,
    spans: Sequence[int] | None = None,
    seed: int = 0,
    watch: Watch = lambda instrument, done, total: None,
) -> ProbeResult:
    """Measure how far back models remember, and compare them if there are several.

    All models complete the same sentences, from the bank that most of them know. An instrument
    that lacks what it needs, such as a long enough text, is left out with a warning.

    Args:
        subjects: the models.
        banks: phrase banks to choose from.
        held_out: for each model, the text that context, mined and gradient read.
        one_text: whether these are one text. If not, context and mined are left out, since they
            would compare texts and not models.
        only: names of the instruments.
        spans: spans of the sentences, in characters; by default those of the bank.
        seed: random seed of all cases.
        watch: called with the progress of each instrument.

    Raises:
        ChargenError: the bank has no sentences of a span, or no instrument remains.
    """
    several = len(subjects) > 1
    warnings: list[str] = []
    if not one_text:
        only = _without_common_text(only, warnings)
    bank = None
    if "templates" in only:
        bank, others = templates.choose_bank([one.predictor for one in subjects], banks, seed)
        if others:
            names = ", ".join(other.name for other in others)
            warnings.append(f"sentences are from {bank.name}; {names} fits too, see --bank")
        check_spans(bank, spans or ())
    runs = []
    for subject, text in zip(subjects, held_out, strict=True):
        prefix = f"{subject.name}: " if several else ""
        own = _Run(subject, text, bank, spans, seed, watch, prefix)
        runs.append(own.result(only, () if several else warnings))
        if several:
            warnings += [f"{prefix}{warning}" for warning in runs[-1].warnings]
    known = {run.run: run.templates for run in runs if run.templates and not run.templates.refusal}
    contexts = {run.run: run.context[TRAINED] for run in runs if run.context}
    bits = compare_bits(contexts) if several and len(contexts) == len(runs) else ()
    return ProbeResult(
        tuple(runs), compare(known), bits, tuple(warnings) if several else runs[0].warnings
    )


@dataclass
class _Run:
    """The instruments on one model."""

    subject: Subject
    held_out: HeldOut
    bank: Bank | None
    spans: Sequence[int] | None
    seed: int
    watch: Watch
    prefix: str  # before the name of an instrument in progress reports
    warnings: list[str] = field(default_factory=list)

    def result(self, only: Sequence[str], warnings: Sequence[str]) -> RunResult:
        """Return the results of the instruments ``only``, or raise `ChargenError` without any."""
        self.warnings += warnings
        found: dict[str, Any] = {}
        if self.bank:
            found["templates"] = self._templates(self.bank)
            if found["templates"].refusal:
                found["demonstration"] = templates.demonstrate(self.subject.predictor)
        measures = {"context": self._context, "mined": self._mined, "gradient": self._gradient}
        for name in (name for name in measures if name in only):
            try:
                found[name] = measures[name](self.held_out())
            except ChargenError as error:
                self.warnings.append(f"without {name}: {error}")
        if not found:
            raise ChargenError(f"{self.subject.name}: {'; '.join(self.warnings)}")
        return RunResult(self.subject.name, warnings=tuple(self.warnings), **found)

    @cached_property
    def _initial(self) -> CharModel:
        return self.subject.initial_network()

    @cached_property
    def _untrained(self) -> NextCharPredictor:
        return limited(NetworkPredictor(self._initial, self.subject.predictor.vocabulary))

    def _templates(self, bank: Bank) -> TemplatesResult:
        return templates.measure(
            self.subject.predictor,
            bank,
            spans=self.spans,
            controls=self._controls,
            **self._common("templates"),
        )

    def _controls(self) -> dict[str, NextCharPredictor]:
        controls = {UNTRAINED: self._untrained}
        try:
            controls |= self.subject.ngrams(*CONTROL_ORDERS)
        except ChargenError as error:
            self.warnings.append(f"without the n-gram controls: {error}")
        return controls

    def _context(self, ids: np.ndarray) -> dict[str, ContextResult]:
        predictors = {TRAINED: self.subject.predictor, UNTRAINED: self._untrained}
        return {
            name: context.measure(predictor, ids, **self._common(f"context, {name}"))
            for name, predictor in predictors.items()
        }

    def _mined(self, ids: np.ndarray) -> MinedResult:
        ((name, ngram),) = self.subject.ngrams(MINED_ORDER).items()
        return mined.measure(
            self.subject.predictor,
            ids,
            ngram=ngram,
            ngram_name=name,
            untrained=self._untrained,
            **self._common("mined"),
        )

    def _gradient(self, ids: np.ndarray) -> dict[str, GradientResult]:
        networks = {UNTRAINED: self._initial, TRAINED: self.subject.network}
        return {
            name: gradient.measure(network, ids, **self._common(f"gradient, {name}"))
            for name, network in networks.items()
        }

    def _common(self, name: str) -> dict[str, Any]:
        """Return the arguments that all instruments share."""
        progress: Progress = lambda done, total: self.watch(self.prefix + name, done, total)  # noqa: E731
        return {
            "seed": self.seed,
            "trained_timesteps": self.subject.timesteps,
            "progress": progress,
        }


def _without_common_text(only: Sequence[str], warnings: list[str]) -> Sequence[str]:
    """Return the instruments that need no text in common, and warn about the others."""
    left_out = [name for name in only if name in ("context", "mined")]
    left = [name for name in only if name not in left_out]
    if not left:
        raise ChargenError(
            f"without {' and '.join(left_out)} no instrument remains: {DIFFERENT_TEXTS}"
        )
    if left_out:
        warnings.append(f"without {' and '.join(left_out)}: {DIFFERENT_TEXTS}")
    if "gradient" in left:
        warnings.append("gradient: each run was measured on its own text")
    return left
