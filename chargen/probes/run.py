"""All instruments on one model or several, each with its controls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import Event, Lock
from typing import Any, NamedTuple

import numpy as np
import torch

from chargen.datasets.phrase_bank import Bank
from chargen.errors import ChargenError
from chargen.predictors.protocol import Model, NextCharPredictor, is_scorer, limited
from chargen.probes.context import measure as context
from chargen.probes.context.result import compare_bits
from chargen.probes.gradient import measure as gradient
from chargen.probes.mined import measure as mined
from chargen.probes.readout import measure as readout
from chargen.probes.result import TRAINED, UNTRAINED, ProbeResult, RunResult
from chargen.probes.targets import Targets, collect
from chargen.probes.templates import measure as templates
from chargen.probes.templates.cases import check_spans
from chargen.probes.templates.result import compare
from chargen.recurrent.model import CharModel, NetworkPredictor, one_thread_each
from chargen.render.text import listed
from chargen.settings import INSTRUMENTS

CONTROL_ORDERS = (5, 10, 20)  # of the n-grams beside the templates
CONTEXT_ORDERS = (2, 3, 5, 9, 17)  # of the n-grams beside the context curve
NGRAM_ORDERS = sorted({*CONTROL_ORDERS, *CONTEXT_ORDERS, mined.NGRAM_ORDER})
CONTEXT_POSITIONS = {TRAINED: 2048, UNTRAINED: 640, "strings": 8192}  # 256 continuations
DIFFERENT_TEXTS = "the runs were trained on different texts; name one for all with --text FILE"

Watch = Callable[[str, int, int], None]
"""Called with an instrument's name and its steps so far and in all; calls do not overlap."""


class HeldOutText(NamedTuple):
    ids: np.ndarray  # (M,)
    starts: np.ndarray | None = None  # first characters of documents, if training resets there
    swap_ids: np.ndarray | None = None  # another text that replaces context, if one is named


class Subject(NamedTuple):
    """A model, and what is read by it and made from it; the functions may raise `ChargenError`."""

    name: str  # in reports
    predictor: Model
    held_out: Callable[[], HeldOutText]
    ngrams: Callable[..., Mapping[str, NextCharPredictor]] | None = None  # by name, for orders
    timesteps: int | None = None  # BPTT length in training, characters
    network: CharModel | None = None  # None: chargen did not train the model
    initial_network: Callable[[], CharModel] | None = None  # the network before training


def probe_all(
    subjects: Sequence[Subject],
    banks: Sequence[Bank],
    one_text: bool,
    only: Sequence[str],
    spans: Sequence[int] | None,
    seed: int,
    watch: Watch,
) -> ProbeResult:
    """Measure how far back models remember, and compare them if there are several.

    All models complete the same sentences, from the bank of ``banks`` that most of them know. An
    instrument that lacks what it needs is left out with a warning. So are context and mined without
    ``one_text`` that all read. The other arguments and errors are those of `chargen.probe`.
    """
    several, warnings = len(subjects) > 1, list[str]()
    if not one_text:
        only = _without(only, ("context", "mined"), DIFFERENT_TEXTS, warnings)
        if not only:
            raise ChargenError(warnings[0])
        own = [name for name in only if name in ("gradient", "readout")]
        warnings += [f"{name}: each run was measured on its own text" for name in own]
    bank = None
    if "templates" in only:
        bank, others = templates.choose_bank([one.predictor for one in subjects], banks, seed)
        if others:
            names = ", ".join(other.name for other in others)
            warnings.append(f"sentences are from {bank.name}; {names} fits too, see --bank")
        check_spans(bank, spans or ())
    with _workers(watch, subjects) as (pool, report):
        runs = []
        for subject in subjects:
            prefix = f"{subject.name}: " if several else ""
            own_warnings: list[str] = [] if several else warnings
            run = _Run(subject, bank, banks, spans, seed, report, prefix, own_warnings)
            runs.append((run, run.start(pool, only)))
        found = [run.result(futures) for run, futures in runs]
    if several:
        warnings += [f"{run.run}: {warning}" for run in found for warning in run.warnings]
    known = {run.run: run.templates for run in found if run.templates and not run.templates.refusal}
    contexts = {run.run: run.context[TRAINED] for run in found if run.context}
    bits = compare_bits(contexts) if several and len(contexts) == len(found) else ()
    return ProbeResult(tuple(found), compare(known), bits, tuple(warnings))


def _without(
    only: Sequence[str], names: Sequence[str], reason: str, warnings: list[str]
) -> Sequence[str]:
    if out := [name for name in only if name in names]:
        warnings.append(f"without {listed(out)}: {reason}")
    return [name for name in only if name not in names]


@contextmanager
def _workers(watch: Watch, tested: Sequence[Subject]) -> Iterator[tuple[ThreadPoolExecutor, Watch]]:
    """Yield threads for instruments, and what reports their progress to ``watch``.

    Each computes with one torch thread: two instruments at once gain almost twofold, kernels
    little. After the end, a report ends its instrument.
    """
    stopped, lock = Event(), Lock()
    on_cpu = all(x.network.b_y.device.type == "cpu" for x in tested if x.network is not None)

    def report(name: str, done: int, total: int) -> None:
        if stopped.is_set():
            raise ChargenError("stopped")
        with lock:
            watch(name, done, total)

    with one_thread_each(torch.get_num_threads() if on_cpu else 1) as pool:
        try:
            yield pool, report
        finally:
            stopped.set()


@dataclass
class _Run:
    """The instruments on one model, and what they share."""

    subject: Subject
    bank: Bank | None
    banks: Sequence[Bank]  # among which the targets are chosen without ``bank``
    spans: Sequence[int] | None
    seed: int
    report: Watch
    prefix: str  # of the names that are reported
    warnings: list[str]
    lock: Lock = field(default_factory=Lock)  # held while something shared is made

    def start(self, pool: ThreadPoolExecutor, only: Sequence[str]) -> dict[str, Future[Any]]:
        if is_scorer(self.subject.predictor):
            reason = "the model scores strings, it reads no characters"
            only = _without(only, ("readout",), reason, self.warnings)
        if self.subject.network is None:
            reason = "only a run has a network to measure"
            only = _without(only, ("gradient",), reason, self.warnings)
        _ = self.untrained  # made before the threads start
        return {name: pool.submit(self._measure, name) for name in INSTRUMENTS if name in only}

    def result(self, started: Mapping[str, Future[Any]]) -> RunResult:
        """Return the results of the started instruments, or raise `ChargenError` without any."""
        found: dict[str, Any] = {}
        left_out = []
        for name, future in started.items():
            try:
                found[name] = future.result()
            except ChargenError as error:
                if name == "templates":
                    raise
                left_out.append(f"without {name}: {error.message}")
        self.warnings += left_out
        if not found:
            raise ChargenError(f"{self.subject.name}: {'; '.join(self.warnings)}")
        if "templates" in found and found["templates"].refusal:
            found["demonstration"] = templates.demonstrate(self.subject.predictor)
        return RunResult(self.subject.name, warnings=tuple(self.warnings), **found)

    def _measure(self, name: str) -> Any:
        subject, predictor = self.subject, self.subject.predictor
        common = {"seed": self.seed, "trained_timesteps": subject.timesteps}

        def options(network: str = "", **more: Any) -> dict[str, Any]:
            shown = f"{self.prefix}{name}{network and ', '}{network}"
            return {"progress": partial(self.report, shown)} | common | more

        if name == "templates":
            assert self.bank is not None
            bare = {UNTRAINED: self.untrained} if self.untrained else {}
            more = options(spans=self.spans, controls=lambda: bare | self._ngrams(*CONTROL_ORDERS))
            return templates.measure(predictor, self.bank, **more)
        text = self.text
        documents: dict[str, Any] = {"starts": text.starts, "swap_ids": text.swap_ids}
        if name == "gradient":
            models = {TRAINED: subject.network, UNTRAINED: self.initial}
            return {
                network: gradient.measure(model, text.ids, **options(network, targets=self.targets))
                for network, model in models.items()
                if model is not None
            }
        if name == "readout":
            assert not is_scorer(predictor)
            parts = subject.network.layers[0].cell.state if subject.network else ()
            more = options(untrained=self.untrained, targets=self.targets, parts=parts)
            return readout.measure(predictor, text.ids, **more)
        if name == "mined":
            ngram = next(iter(self._ngrams(mined.NGRAM_ORDER).values()), None)
            more = options(ngram=ngram, untrained=self.untrained, **documents)
            return mined.measure(predictor, text.ids, **more)
        ngrams = dict(zip(CONTEXT_ORDERS, self._ngrams(*CONTEXT_ORDERS).values(), strict=False))
        count = CONTEXT_POSITIONS["strings" if is_scorer(predictor) else TRAINED]
        more = options(TRAINED, ngrams=ngrams, sample_chars=context.SAMPLE_CHARS, **documents)
        found = {TRAINED: context.measure(predictor, text.ids, positions=count, **more)}
        if self.untrained:
            more = options(UNTRAINED, positions=CONTEXT_POSITIONS[UNTRAINED], **documents)
            found[UNTRAINED] = context.measure(self.untrained, text.ids, **more)
        return found

    def _ngrams(self, *orders: int) -> dict[str, NextCharPredictor]:
        with self.lock:
            try:
                if self.subject.ngrams is None:
                    raise ChargenError("the training text is not known")
                counted = self.subject.ngrams(*NGRAM_ORDERS)
                return {name: counted[name] for name in (f"{order}-gram" for order in orders)}
            except ChargenError as error:
                warning = f"without the n-gram controls: {error.message}"
                self.warnings += [warning] if warning not in self.warnings else []
                return {}

    @cached_property
    def text(self) -> HeldOutText:
        with self.lock:
            return self.subject.held_out()

    @cached_property
    def targets(self) -> tuple[Targets, ...]:
        assert not is_scorer(self.subject.predictor)
        banks = (self.bank,) if self.bank else self.banks
        ids, vocabulary = self.text.ids, self.subject.predictor.vocabulary
        with self.lock:
            return collect(banks, ids, vocabulary, self.seed)

    @cached_property
    def initial(self) -> CharModel | None:
        return self.subject.initial_network and self.subject.initial_network()

    @cached_property
    def untrained(self) -> NextCharPredictor | None:
        if self.initial is None:
            return None
        assert not is_scorer(self.subject.predictor)
        return limited(NetworkPredictor(self.initial, self.subject.predictor.vocabulary))
