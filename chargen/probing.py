"""All instruments put to one run or several, each with what must stand beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from chargen.errors import ChargenError
from chargen.predictors import NextCharPredictor
from chargen.probes import context, gradient, mined, templates
from chargen.probes.cases import check_spans
from chargen.probes.comparison import PairComparison, compare_all
from chargen.probes.demonstration import Shown, demonstrate
from chargen.probes.farther import farther
from chargen.probes.gradient_result import GradientResult
from chargen.probes.knowledge import choose
from chargen.probes.mined_result import MinedResult
from chargen.probes.paired import BitsComparison, compare_bits
from chargen.probes.templates_result import TemplatesResult
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.settings import INSTRUMENTS
from chargen.text.bank import Bank

CONTROL_ORDERS = (5, 10, 20)  # of the n-grams beside the templates
MINED_ORDER = 20  # of the n-gram beside the mined dependencies
TRAINED, UNTRAINED = "trained", "untrained"

Watch = Callable[[str, int, int], None]
"""Called with an instrument's name and the characters that it has read, of how many."""


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


@dataclass(frozen=True)
class Probed:
    """What the instruments found; ``None`` or empty for one that was not asked or could not be."""

    run: str
    templates: TemplatesResult | None = None
    demonstration: tuple[Shown, ...] = ()  # where templates claims nothing: two sentences, for show
    context: Mapping[str, context.ContextResult] = field(default_factory=dict)
    mined: MinedResult | None = None
    gradient: Mapping[str, GradientResult] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, the same for the same run and seed."""
        return {
            "run": self.run,
            "templates": self.templates and self.templates.to_json(),
            "demonstration": [shown.to_json() for shown in self.demonstration],
            "context": {name: found.to_json() for name, found in self.context.items()},
            "mined": self.mined and self.mined.to_json(),
            "gradient": {name: found.to_json() for name, found in self.gradient.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class ProbedRuns:
    """What the instruments found in several runs, asked the same, and how the runs compare."""

    runs: tuple[Probed, ...]
    templates: tuple[PairComparison, ...] = ()  # of those runs that know the bank
    context: tuple[BitsComparison, ...] = ()  # of all runs, at the same characters
    warnings: tuple[str, ...] = ()

    def results(self) -> dict[str, TemplatesResult]:
        """What the templates found, by run; also where nothing is claimed."""
        return {run.run: run.templates for run in self.runs if run.templates}

    def finding(self) -> str:
        """One sentence: which run remembers farther, or what else was compared."""
        if self.results():
            return farther(self.results(), self.templates)
        found = [run.context[TRAINED] for run in self.runs if run.context]
        if not found:
            return "nothing was asked that would tell which run remembers farther"
        names = [run.run for run in self.runs if run.context]
        return "; ".join(f"{name} {one.finding()}" for name, one in zip(names, found, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Plain values, the same for the same runs and seed."""
        rows = [row for pair in self.templates for row in pair.to_json()]
        return {
            "runs": [run.to_json() for run in self.runs],
            "comparisons": [*rows, *(pair.to_json() for pair in self.context)],
            "finding": self.finding(),
            "warnings": list(self.warnings),
        }


HeldOut = Callable[[], np.ndarray]
"""Gives ids ``(M,)`` of text that a model was not trained on, or raises `ChargenError`."""


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
        bank = _bank([subject], banks, spans, seed, warnings)
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


def probe_runs(
    subjects: Sequence[Subject],
    banks: Sequence[Bank],
    held_out: Sequence[HeldOut],
    one_text: bool,
    only: Sequence[str] = INSTRUMENTS,
    spans: Sequence[int] | None = None,
    seed: int = 0,
    watch: Watch = lambda instrument, done, total: None,
) -> ProbedRuns:
    """Put the same to several ``subjects``, as `probe` does to one, and compare them.

    All are asked the same sentences, from the bank that most of them know. ``held_out``, one a
    subject, give the same text in each one's vocabulary where ``one_text`` says so. Where not,
    context and mined, which would compare texts and not models, are left out with a warning, and
    the gradient is measured on each one's own.
    """
    warnings: list[str] = []
    if not one_text:
        only = _own_texts(only, warnings)
    if "templates" in only:
        banks = [_bank(subjects, banks, spans, seed, warnings)]

    def ask(subject: Subject, text: HeldOut) -> Probed:
        def watch_run(instrument: str, done: int, total: int) -> None:
            watch(f"{subject.name}: {instrument}", done, total)

        return probe(subject, banks, text, only, spans, seed, watch_run)

    runs = tuple(map(ask, subjects, held_out))
    known = {run.run: run.templates for run in runs if run.templates and not run.templates.refusal}
    warnings += [f"{run.run}: {warning}" for run in runs for warning in run.warnings]
    return ProbedRuns(
        runs,
        compare_all(known),
        _bits(subjects, held_out, seed, watch) if all(run.context for run in runs) else (),
        tuple(warnings),
    )


def _own_texts(only: Sequence[str], warnings: list[str]) -> Sequence[str]:
    """The instruments that need no text in common, and a warning for the others."""
    reason = "the runs were trained on different texts; name one for all with --text FILE"
    left_out = [name for name in only if name in ("context", "mined")]
    left = [name for name in only if name not in left_out]
    if not left:
        raise ChargenError(f"without {' and '.join(left_out)} nothing is left: {reason}")
    if left_out:
        warnings.append(f"without {' and '.join(left_out)}: {reason}")
    if "gradient" in left:
        warnings.append("gradient: each run on a text of its own, so that texts differ too")
    return left


def _bank(
    subjects: Sequence[Subject],
    banks: Sequence[Bank],
    spans: Sequence[int] | None,
    seed: int,
    warnings: list[str],
) -> Bank:
    bank, others = choose([subject.predictor for subject in subjects], banks, seed)
    if others:
        names = ", ".join(other.name for other in others)
        warnings.append(f"asked from {bank.name}; {names} is known too: pick one with --bank")
    check_spans(bank, spans or ())
    return bank


def _bits(
    subjects: Sequence[Subject], held_out: Sequence[HeldOut], seed: int, watch: Watch
) -> tuple[BitsComparison, ...]:
    read = {
        subject.name: (subject.predictor, text())
        for subject, text in zip(subjects, held_out, strict=True)
    }
    return compare_bits(read, seed=seed, progress=_of("bits at the same places", watch))


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
) -> dict[str, context.ContextResult]:
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
