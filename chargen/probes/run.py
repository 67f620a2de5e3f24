"""All instruments on one model or several, each with its controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import Event, Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from chargen.datasets.phrase_bank import Bank
from chargen.errors import ChargenError
from chargen.predictors import Model, NextCharPredictor, is_scorer, limited
from chargen.probes.context import measure as context
from chargen.probes.context.result import ContextResult, compare_bits
from chargen.probes.gradient import measure as gradient
from chargen.probes.gradient.result import GradientResult
from chargen.probes.mined import measure as mined
from chargen.probes.mined.result import MinedResult
from chargen.probes.readout import measure as readout
from chargen.probes.readout.result import ReadoutResult
from chargen.probes.result import TRAINED, UNTRAINED, ProbeResult, RunResult
from chargen.probes.targets import Targets, collect
from chargen.probes.templates import measure as templates
from chargen.probes.templates.cases import check_spans
from chargen.probes.templates.result import TemplatesResult, compare
from chargen.recurrent.model import CharModel, NetworkPredictor
from chargen.render.text import listed
from chargen.settings import INSTRUMENTS

CONTROL_ORDERS = (5, 10, 20)  # of the n-grams beside the templates
BOTH_NETWORKS = ("context", "gradient")  # measured on the trained and the untrained network
READ_CHARACTERS = ("context", "mined", "readout")  # instruments that need predictions of characters
READ_NETWORK = ("gradient",)  # instruments that need a network
CONTEXT_ORDERS = (2, 3, 5, 9, 17)  # of the n-grams beside the context curve
MINED_ORDER = 20  # of the n-gram beside the mined dependencies
DIFFERENT_TEXTS = "the runs were trained on different texts; name one for all with --text FILE"

Watch = Callable[[str, int, int], None]
"""Called with an instrument's name and the characters that it has read so far and in all.

Instruments run concurrently, so that names alternate; calls do not overlap."""


class HeldOutText(NamedTuple):
    """Text that a model was not trained on."""

    ids: np.ndarray  # (M,)
    starts: np.ndarray | None = None  # first characters of documents, if training resets there
    swap_ids: np.ndarray | None = None  # another text that replaces context, if one is named


HeldOut = Callable[[], HeldOutText]
"""Returns the text, or raises `ChargenError`."""


class Subject(Protocol):
    """A model, and what is made from it for comparison."""

    @property
    def name(self) -> str:
        """The name in reports."""

    @property
    def timesteps(self) -> int | None:
        """The length of truncated BPTT in training, in characters."""

    @property
    def predictor(self) -> Model:
        """The model itself."""

    @property
    def network(self) -> CharModel | None:
        """The network; None of a model that chargen did not train."""

    def initial_network(self) -> CharModel:
        """Return the network before training."""
        ...

    def ngrams(self, *orders: int) -> Mapping[str, NextCharPredictor]:
        """Return n-grams of the training text by name; `ChargenError` if that text is gone."""
        ...


@dataclass(frozen=True)
class OtherModel:
    """A `Subject` that chargen did not train."""

    name: str
    predictor: Model
    timesteps: int | None = None
    network: CharModel | None = None

    def initial_network(self) -> CharModel:
        """Raise `ChargenError`: there is no network."""
        raise ChargenError(f"{self.name}: its network is not known")

    def ngrams(self, *orders: int) -> Mapping[str, NextCharPredictor]:
        """Raise `ChargenError`: there is no training text."""
        raise ChargenError(f"{self.name}: its training text is not known")


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
    with _workers(watch, subjects) as workers:
        started = [
            _Run(
                workers,
                subject,
                text,
                bank,
                banks,
                spans,
                seed,
                f"{subject.name}: " if several else "",
            )
            for subject, text in zip(subjects, held_out, strict=True)
        ]
        for own in started:
            own.start(only)
        runs = [own.result(() if several else warnings) for own in started]
    if several:
        warnings += [f"{run.run}: {warning}" for run in runs for warning in run.warnings]
    known = {run.run: run.templates for run in runs if run.templates and not run.templates.refusal}
    contexts = {run.run: run.context[TRAINED] for run in runs if run.context}
    bits = compare_bits(contexts) if several and len(contexts) == len(runs) else ()
    return ProbeResult(
        tuple(runs), compare(known), bits, tuple(warnings) if several else runs[0].warnings
    )


@dataclass(frozen=True)
class _Workers:
    """Threads that run instruments, each of which computes with one torch thread.

    Recurrent kernels gain little from a second thread; two instruments at once gain almost twofold.
    """

    pool: ThreadPoolExecutor
    watch: Watch
    stopped: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    def report(self, name: str, done: int, total: int) -> None:
        """Report the progress of an instrument, or end it if the measurement was stopped."""
        if self.stopped.is_set():
            raise ChargenError("stopped")
        with self.lock:
            self.watch(name, done, total)


@contextmanager
def _workers(watch: Watch, subjects: Sequence[Subject]) -> Iterator[_Workers]:
    threads = torch.get_num_threads()
    networks = [one.network for one in subjects if one.network is not None]
    on_cpu = all(next(one.parameters()).device.type == "cpu" for one in networks)
    workers = _Workers(
        ThreadPoolExecutor(
            threads if on_cpu else 1, initializer=torch.set_num_threads, initargs=(1,)
        ),
        watch,
    )
    try:
        yield workers
    finally:
        workers.stopped.set()
        workers.pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # threads that begin later take the last number set


@dataclass
class _Run:
    """The instruments on one model."""

    workers: _Workers
    subject: Subject
    held_out: HeldOut
    bank: Bank | None
    banks: Sequence[Bank]  # among which the gradient instrument chooses without ``bank``
    spans: Sequence[int] | None
    seed: int
    prefix: str  # before the name of an instrument in progress reports
    warnings: list[str] = field(default_factory=list)  # of the n-gram controls
    measured: dict[str, dict[str, Future[Any]]] = field(default_factory=dict)
    counting: Lock = field(default_factory=Lock)

    def start(self, only: Sequence[str]) -> None:
        """Start the instruments ``only``, the two networks of one concurrently."""
        self._untrained  # noqa: B018  (shared by the workers)
        if self.bank:
            self._submit("templates", {TRAINED: self._templates})
        only = self._served(only)
        measures = {
            "context": self._context,
            "mined": self._mined,
            "gradient": self._gradient,
            "readout": self._readout,
        }
        for name in (name for name in measures if name in only):
            alone = name not in BOTH_NETWORKS or self._untrained is None
            networks = (TRAINED,) if alone else (TRAINED, UNTRAINED)
            self._submit(name, {network: partial(measures[name], network) for network in networks})

    def _served(self, only: Sequence[str]) -> Sequence[str]:
        """Return the instruments that the model can serve, and warn about the others."""
        left = list(only)
        if is_scorer(self.subject.predictor):
            self._leave_out(
                left, READ_CHARACTERS, "the model scores strings, it reads no characters"
            )
        if self.subject.network is None:
            self._leave_out(left, READ_NETWORK, "only a run has a network to measure")
        return left

    def _leave_out(self, left: list[str], names: Sequence[str], reason: str) -> None:
        out = [name for name in left if name in names]
        left[:] = [name for name in left if name not in names]
        if out:
            self.warnings.append(f"without {listed(out)}: {reason}")

    def _submit(self, name: str, measures: Mapping[str, Callable[[], Any]]) -> None:
        self.measured[name] = {
            network: self.workers.pool.submit(measure) for network, measure in measures.items()
        }

    def result(self, warnings: Sequence[str]) -> RunResult:
        """Return the results of the started instruments, or raise `ChargenError` without any."""
        found: dict[str, Any] = {}
        left_out = []
        for name, networks in self.measured.items():
            try:
                results = {network: one.result() for network, one in networks.items()}
            except ChargenError as error:
                if name == "templates":
                    raise
                left_out.append(f"without {name}: {error.message}")
            else:
                found[name] = results if name in BOTH_NETWORKS else results[TRAINED]
        warnings = (*warnings, *self.warnings, *left_out)
        if not found:
            raise ChargenError(f"{self.subject.name}: {'; '.join(warnings)}")
        if "templates" in found and found["templates"].refusal:
            found["demonstration"] = templates.demonstrate(self.subject.predictor)
        return RunResult(self.subject.name, warnings=warnings, **found)

    @cached_property
    def _text(self) -> HeldOutText:
        with self.counting:
            return self.held_out()

    @cached_property
    def _initial(self) -> CharModel:
        return self.subject.initial_network()

    @cached_property
    def _predictor(self) -> NextCharPredictor:
        assert not is_scorer(self.subject.predictor)
        return self.subject.predictor

    @cached_property
    def _untrained(self) -> NextCharPredictor | None:
        if self.subject.network is None:
            return None
        return limited(NetworkPredictor(self._initial, self._predictor.vocabulary))

    def _templates(self) -> TemplatesResult:
        assert self.bank is not None
        return templates.measure(
            self.subject.predictor,
            self.bank,
            spans=self.spans,
            controls=self._controls,
            **self._common("templates"),
        )

    def _controls(self) -> dict[str, NextCharPredictor]:
        untrained = {UNTRAINED: self._untrained} if self._untrained else {}
        return untrained | self._ngrams(*CONTROL_ORDERS)

    def _ngrams(self, *orders: int) -> dict[str, NextCharPredictor]:
        """Return the n-grams, or none with a warning if there is no training text."""
        try:
            with self.counting:
                return dict(self.subject.ngrams(*orders))
        except ChargenError as error:
            warning = f"without the n-gram controls: {error.message}"
            self.warnings += [warning] if warning not in self.warnings else []
            return {}

    def _context(self, network: str) -> ContextResult:
        predictor = self._predictor if network == TRAINED else self._untrained
        assert predictor is not None
        ngrams = self._ngrams(*CONTEXT_ORDERS) if network == TRAINED else {}
        return context.measure(
            predictor,
            self._text.ids,
            starts=self._text.starts,
            swap_ids=self._text.swap_ids,
            ngrams=dict(zip(CONTEXT_ORDERS, ngrams.values(), strict=False)),
            sample_chars=context.SAMPLE_CHARS if network == TRAINED else 0,
            **self._common(f"context, {network}"),
        )

    def _mined(self, network: str) -> MinedResult:
        name = f"{MINED_ORDER}-gram"
        return mined.measure(
            self._predictor,
            self._text.ids,
            starts=self._text.starts,
            ngram=self._ngrams(MINED_ORDER).get(name),
            ngram_name=name,
            untrained=self._untrained,
            **self._common("mined"),
        )

    @cached_property
    def _targets(self) -> tuple[Targets, ...]:
        ids, vocabulary = self._text.ids, self._predictor.vocabulary
        with self.counting:
            return collect((self.bank,) if self.bank else self.banks, ids, vocabulary, self.seed)

    def _gradient(self, network: str) -> GradientResult:
        model = self.subject.network if network == TRAINED else self._initial
        assert model is not None
        return gradient.measure(
            model, self._text.ids, targets=self._targets, **self._common(f"gradient, {network}")
        )

    def _readout(self, network: str) -> ReadoutResult:
        model = self.subject.network
        return readout.measure(
            self._predictor,
            self._text.ids,
            untrained=self._untrained,
            targets=self._targets,
            parts=model.layers[0].cell.state if model else (),
            **self._common("readout"),
        )

    def _common(self, name: str) -> dict[str, Any]:
        """Return the arguments that all instruments share."""
        return {
            "seed": self.seed,
            "trained_timesteps": self.subject.timesteps,
            "progress": partial(self.workers.report, self.prefix + name),
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
    for name in left:
        if name in ("gradient", "readout"):
            warnings.append(f"{name}: each run was measured on its own text")
    return left
