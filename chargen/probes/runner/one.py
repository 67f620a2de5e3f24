"""All instruments put to one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from chargen.datasets.phrase_bank import Bank
from chargen.errors import ChargenError
from chargen.predictors import NextCharPredictor
from chargen.probes.context import measure as context
from chargen.probes.context.result import ContextResult
from chargen.probes.gradient import measure as gradient
from chargen.probes.gradient.result import GradientResult
from chargen.probes.mined import measure as mined
from chargen.probes.mined.result import MinedResult
from chargen.probes.runner.results import TRAINED, UNTRAINED, Probed
from chargen.probes.templates import measure as templates
from chargen.probes.templates.cases import check_spans
from chargen.probes.templates.demonstration import demonstrate
from chargen.probes.templates.knowledge import choose
from chargen.probes.templates.result import TemplatesResult
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.settings import INSTRUMENTS

CONTROL_ORDERS = (5, 10, 20)  # of the n-grams beside the templates
MINED_ORDER = 20  # of the n-gram beside the mined dependencies

Watch = Callable[[str, int, int], None]
"""Called with an instrument's name and the characters that it has read, of how many."""

HeldOut = Callable[[], np.ndarray]
"""Gives ids ``(M,)`` of text that a model was not trained on, or raises `ChargenError`."""


class Subject(Protocol):
    """What is asked: a trained model and what can be made for comparison."""

    name: str
    timesteps: int | None  # how far back gradients travelled in training, characters
    predictor: NextCharPredictor
    network: CharModel

    def initial_network(self) -> CharModel:
        """The network as its training began."""
        ...

    def ngrams(self, *orders: int) -> Mapping[str, NextCharPredictor]:
        """n-grams of the training text, by name; `ChargenError` where that is gone."""
        ...


def probe(
    subject: Subject,
    banks: Sequence[Bank],
    held_out: HeldOut,
    only: Sequence[str] = INSTRUMENTS,
    spans: Sequence[int] | None = None,
    seed: int = 0,
    watch: Watch = lambda instrument, done, total: None,
) -> Probed:
    """Put the instruments that ``only`` names to ``subject``.

    Sentences are asked from the first of ``banks`` that it knows, or the first where it knows
    none; several that it knows are a warning. An instrument that lacks what it needs, such as a
    text that is long enough, is left out with a warning that says so. A span that the bank cannot
    make is a `ChargenError`, and so it is if nothing is left.
    """
    found: dict[str, Any] = {}
    warnings: list[str] = []
    if "templates" in only:
        bank = one_bank([subject], banks, spans, seed, warnings)
        found |= _templates(subject, bank, spans, seed, watch, warnings)
    for name, ask in (("context", _context), ("mined", _mined), ("gradient", _gradient)):
        if name in only:
            try:
                found[name] = ask(subject, held_out(), seed, watch)
            except ChargenError as error:
                warnings.append(f"without {name}: {error}")
    if not found:
        raise ChargenError(f"{subject.name}: {'; '.join(warnings)}")
    return Probed(run=subject.name, warnings=tuple(warnings), **found)


def one_bank(
    subjects: Sequence[Subject],
    banks: Sequence[Bank],
    spans: Sequence[int] | None,
    seed: int,
    warnings: list[str],
) -> Bank:
    """The bank to ask all ``subjects`` from; that others are known too is added to ``warnings``."""
    bank, others = choose([subject.predictor for subject in subjects], banks, seed)
    if others:
        names = ", ".join(other.name for other in others)
        warnings.append(f"asked from {bank.name}; {names} is known too: pick one with --bank")
    check_spans(bank, spans or ())
    return bank


def _templates(
    subject: Subject,
    bank: Bank,
    spans: Sequence[int] | None,
    seed: int,
    watch: Watch,
    warnings: list[str],
) -> dict[str, Any]:
    def ask(**rest: Any) -> TemplatesResult:
        return templates.measure(
            subject.predictor, bank, seed=seed, trained_timesteps=subject.timesteps, **rest
        )

    known = ask(spans=())  # the knowledge gate alone, before anything costly
    if known.refusal:
        return {"templates": known, "demonstration": demonstrate(subject.predictor)}
    controls: dict[str, NextCharPredictor] = {UNTRAINED: _untrained(subject)}
    try:
        controls |= subject.ngrams(*CONTROL_ORDERS)
    except ChargenError as error:
        warnings.append(f"without the n-gram controls: {error}")
    return {"templates": ask(spans=spans, controls=controls, progress=_of("templates", watch))}


def _context(
    subject: Subject, ids: np.ndarray, seed: int, watch: Watch
) -> dict[str, ContextResult]:
    return {
        name: context.measure(
            predictor,
            ids,
            seed=seed,
            trained_timesteps=subject.timesteps,
            progress=_of(f"context, {name}", watch),
        )
        for name, predictor in (
            (TRAINED, subject.predictor),
            (UNTRAINED, _untrained(subject)),
        )
    }


def _mined(subject: Subject, ids: np.ndarray, seed: int, watch: Watch) -> MinedResult:
    ((name, ngram),) = subject.ngrams(MINED_ORDER).items()
    return mined.measure(
        subject.predictor,
        ids,
        ngram=ngram,
        ngram_name=name,
        untrained=_untrained(subject),
        seed=seed,
        trained_timesteps=subject.timesteps,
        progress=_of("mined", watch),
    )


def _gradient(
    subject: Subject, ids: np.ndarray, seed: int, watch: Watch
) -> dict[str, GradientResult]:
    return {
        name: gradient.measure(
            network,
            ids,
            seed=seed,
            trained_timesteps=subject.timesteps,
            progress=_of(f"gradient, {name}", watch),
        )
        for name, network in ((UNTRAINED, subject.initial_network()), (TRAINED, subject.network))
    }


def _untrained(subject: Subject) -> NextCharPredictor:
    return NetworkPredictor(subject.initial_network(), subject.predictor.vocabulary)


def _of(instrument: str, watch: Watch) -> Callable[[int, int], None]:
    return lambda done, total: watch(instrument, done, total)
