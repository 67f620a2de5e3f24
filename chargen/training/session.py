"""Start or resume a training on one process or several: plan it, then write its first files."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from msgspec import structs

from chargen import __version__
from chargen.distributed.group import ProcessGroup
from chargen.errors import ChargenError
from chargen.files import Progress
from chargen.recurrent.matmul import multiplies_bfloat16
from chargen.recurrent.model import CharModel
from chargen.runs.checkpoint import Checkpoint
from chargen.runs.description import CorpusRecord, Description
from chargen.runs.directory import (
    LAST,
    RUN,
    RUNS,
    Run,
    check_new,
    encoded_in,
    find,
    is_begun_by,
)
from chargen.runs.lock import lock
from chargen.settings import BUDGETS, HELD_OUT, GivenSettings
from chargen.text.cache import CorpusCache
from chargen.text.corpus import SHORTEST_TO_TRAIN, Corpus, read_corpus
from chargen.text.decoding import check_encoding
from chargen.text.documents import training_chars
from chargen.text.encoding import EncodedCorpus
from chargen.training.checkpoints import check_checkpoint, mismatch
from chargen.training.defaults import Hardware, choose_defaults, fit
from chargen.training.loop import Trainer
from chargen.training.step import is_out_of_memory


class TrainingSession(ExitStack):
    """A trainer that is ready, notes for the user, and the lock on the run directory.

    Use it in a ``with`` statement, or `close` it. Rank 0 of a group holds the lock.
    """

    def __init__(self, trainer: Trainer, notes: Sequence[str], held: ExitStack) -> None:
        super().__init__()
        self.trainer = trainer
        self.notes = tuple(notes)
        self.enter_context(held)

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the end and print nothing; see `Trainer.reports`."""
        for _ in self.trainer.reports(should_stop):
            pass


@dataclass(frozen=True)
class _Request:
    """The arguments of `start`, parsed."""

    sources: Sequence[str | Path]
    given: GivenSettings
    out: Path | None
    resume: bool
    overwrite: bool
    cache: str  # absolute path of the cache directory, or empty
    device: torch.device
    progress: Progress
    launchers: Sequence[str]  # that started this process
    encoding: str  # of the files of ``sources``; empty for UTF-8, or that of a resumed run


@dataclass(frozen=True)
class _Plan:
    """The starting point of a training, decided before anything is written."""

    run: Run  # with the description that it will have
    checkpoint: Checkpoint | None = None  # to resume from
    resumes: bool = False
    resets_patience: bool = False  # a larger budget continues a run that early stopping ended
    changes_description: bool = False
    notes: tuple[str, ...] = ()
    model: CharModel | None = None  # known to rank 0 only, if at all
    encoded: EncodedCorpus | None = None  # known to rank 0 only


def device_named(name: str) -> torch.device:
    """Return a torch device; ``auto`` is a GPU if torch finds one, else the CPU.

    Raises:
        ChargenError: torch has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.Generator(device)
    except (RuntimeError, AssertionError):
        raise ChargenError(f"--device {name}: torch has no such device here; try cpu") from None
    return device


def start(
    sources: Sequence[str | Path],
    settings: Mapping[str, Any],
    out: Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress = lambda done, total: None,
    group: ProcessGroup | None = None,
    encoding: str = "",
) -> TrainingSession:
    """Start a run, or resume one; the arguments are those of `chargen.train`.

    Every process of ``group`` calls this function; rank 0 decides. A process that does not see
    rank 0's files reads and encodes ``sources`` itself.

    Raises:
        ChargenError: the request is invalid; no file is written.
    """
    group = group or ProcessGroup()
    place = device_named(device)
    place = group.device if group.device.type == place.type else place
    given = GivenSettings.parse(settings)
    cached = str(cache.resolve()) if cache else ""
    request = _Request(
        sources,
        given,
        out,
        resume,
        overwrite,
        cached,
        place,
        progress,
        group.launchers,
        encoding,
    )
    own: list[_Plan] = []
    with ExitStack() as held:

        def lead() -> _Plan:
            own.append(_plan(request, held))
            return replace(own[0], model=None, encoded=None)  # both stay in this process

        shared = group.run_on_lead(lead)
        plan = own[0] if own else shared

        def encoded() -> EncodedCorpus:
            return plan.encoded or _encode(plan.run, request)[0]

        # The first process of a machine encodes the text, if it must, for the others.
        text = group.run_on_all(lambda: None if group.local_rank else encoded()) or encoded()
        model = plan.model or _build_model(plan.run.description, place)
        trainer = Trainer(plan.run, model, text, group)
        notes = list(plan.notes)
        if plan.checkpoint is not None:
            notes += trainer.restore(plan.checkpoint)
        group.run_on_lead(lambda: _write(plan, request, held))
        if plan.resets_patience:
            trainer.reset_patience()
        return TrainingSession(trainer, notes, held.pop_all())


def _plan(request: _Request, held: ExitStack) -> _Plan:
    """Plan the training and write nothing; ``held`` receives the lock of a resumed run.

    A run that one of the launchers began is resumed, for every request.
    """
    given = request.sources or not request.resume
    corpus = read_corpus(request.sources, request.encoding) if given else None
    path = request.out or (RUNS / corpus.name if corpus else None)
    if request.resume:
        run = find(path)
        if run.description.imported:
            raise ChargenError(
                f"{run.path}: imported without its training state, so it cannot be resumed; train "
                "a new run with another --out"
            )
        return _plan_resumed(run, corpus, request, held)
    assert corpus is not None
    assert path is not None
    if is_begun_by(path, request.launchers):
        return _plan_resumed(Run.open(path), corpus, request, held)
    check_new(path, request.overwrite)
    return _plan_new(path, corpus, request)


def _plan_new(path: Path, corpus: Corpus, request: _Request) -> _Plan:
    given = request.given
    folder = encoded_in(path, request.cache)
    documents = given.training.documents
    cached = CorpusCache(folder, corpus.name, corpus.sources, documents, corpus.encoding)
    found = cached.scan(corpus, request.progress)
    if found.chars < SHORTEST_TO_TRAIN:
        raise ChargenError(
            f"{' '.join(corpus.sources)}: {found.chars} characters are too few to hold out a "
            f"validation text; give at least {SHORTEST_TO_TRAIN}"
        )
    to_train = training_chars(found.chars, given.training.validation, found.starts)
    hardware = Hardware(request.device.type, multiplies_bfloat16())
    model, training, notes = choose_defaults(given, to_train, hardware)
    held_out = found.chars - to_train
    if training.validation is None and held_out <= found.chars * HELD_OUT / 2:
        notes = [f"large text: {held_out:,} characters are held out instead of a tenth", *notes]
    record = CorpusRecord(
        corpus.name,
        corpus.sources,
        found.sha256,
        found.chars,
        to_train,
        request.cache,
        corpus.encoding,
    )
    number = 0 if documents == "none" else len(found.starts)
    notes = [*corpus.notes([file.sha256 for file in found.files], number), *notes]
    versions = {
        "chargen": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
    description = Description(model, found.vocabulary, training, record, versions)
    return _Plan(
        Run(path, description),
        model=_build_model(description, request.device),  # before anything is written
        encoded=cached.encode(corpus, found, request.progress),
        notes=tuple(notes),
    )


def _plan_resumed(run: Run, corpus: Corpus | None, request: _Request, held: ExitStack) -> _Plan:
    """Plan to resume a run, with another budget or cache directory at most.

    A run that a launcher has restarted keeps its settings.
    """
    restarted = is_begun_by(run.path, request.launchers)
    if not restarted:
        _check_unchanged(run, request.given)
    encoded, cache = _encode(run, request, corpus)
    held.enter_context(lock(run.path))
    run = Run.open(run.path)  # again, now that no other process writes it
    budget: dict[str, Any] = {}
    if not restarted:
        _check_unchanged(run, request.given)
        if not request.given.names.isdisjoint(BUDGETS):
            budget = {name: getattr(request.given.training, name) for name in BUDGETS}
    before = run.description
    description = structs.replace(
        before,
        training=structs.replace(before.training, **budget),
        corpus=structs.replace(before.corpus, cache=cache),
    )
    resumed = Run(run.path, description)
    _check_text(resumed, encoded)
    checkpoint = None if run.begins() else run.read_checkpoint(LAST)
    notes: tuple[str, ...] = ()
    if checkpoint is None:
        notes = (f"{run.path}: stopped before its first checkpoint; starts from the beginning",)
    else:
        try:
            check_checkpoint(checkpoint, before)
        except (ChargenError, ValueError) as error:
            raise mismatch(run, error) from None
    return _Plan(
        resumed,
        checkpoint,
        resumes=True,
        resets_patience=bool(budget) and checkpoint is not None,
        changes_description=description != before,
        encoded=encoded,
        notes=notes,
    )


def _write(plan: _Plan, request: _Request, held: ExitStack) -> None:
    """Lock the run directory, if it is new, and write its first files."""
    run, launchers = plan.run, request.launchers
    if plan.resumes:
        if plan.checkpoint is None:
            run.keep_progress(0)
        if plan.changes_description:
            run.write_description()
        if launchers:  # after the requested settings are written
            run.begun_by(launchers, begins=False)
        return
    if launchers:
        run.begun_by(launchers, begins=True)
    held.enter_context(lock(run.path))
    check_new(run.path, request.overwrite)
    Run.create(run.path, run.description)


def _encode(run: Run, request: _Request, corpus: Corpus | None = None) -> tuple[EncodedCorpus, str]:
    """Return a run's encoded corpus and the name of its cache directory.

    A ``corpus`` that the user gives must be that of the run.
    """
    record, documents = run.description.corpus, run.description.training.documents
    if request.encoding and check_encoding(request.encoding) != record.encoding:
        raise ChargenError(
            f"--encoding {request.encoding}: the run in {run.path} uses "
            f"{record.encoding or 'utf-8'}; leave it out, or start over with --overwrite"
        )
    cache = request.cache or record.cache
    kept = run.cached_corpus.load(record.sha256) if cache == record.cache else None
    if kept is not None and corpus is None:
        return kept, cache
    if corpus is None:
        corpus = read_corpus(request.sources) if request.sources else record.read_again()
    corpus = corpus.in_encoding(record.encoding)
    folder = encoded_in(run.path, cache)
    cached = CorpusCache(folder, corpus.name, corpus.sources, documents, record.encoding)
    found = cached.scan(corpus, request.progress)
    if found.sha256 != record.sha256:
        raise ChargenError(
            f"{run.path}: was trained on another corpus ({record.name}, SHA-256 "
            f"{record.sha256[:12]}); give that one, or start over with --overwrite"
        )
    return kept or cached.encode(corpus, found, request.progress), cache


def _build_model(description: Description, device: torch.device) -> CharModel:
    size, seed = len(description.vocabulary), description.training.seed
    try:
        return CharModel.seeded(description.model, size, seed).to(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        units = ",".join(map(str, description.model.units))
        raise ChargenError(f"--units {units}: out of memory; lower it") from None


def _check_unchanged(run: Run, given: GivenSettings) -> None:
    """Refuse settings other than a budget that differ from the run's."""

    def shown(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    before = structs.asdict(run.description.model) | structs.asdict(run.description.training)
    for name, value in given.values().items():
        if name not in BUDGETS and before[name] != value:
            raise ChargenError(
                f"--{name.replace('_', '-')} {shown(value)}: the run in {run.path} uses "
                f"{shown(before[name])}; leave it out, or start over with --overwrite"
            )


def _check_text(run: Run, encoded: EncodedCorpus) -> None:
    """Refuse a description that contradicts the run's text."""
    record, training = run.description.corpus, run.description.training
    to_train = training_chars(len(encoded.ids), training.validation, encoded.starts)
    fits = (
        record.sha256 == encoded.sha256
        and (record.chars, record.training_chars) == (len(encoded.ids), to_train)
        and run.description.vocabulary == encoded.vocabulary
    )
    if not fits or fit(training, record.training_chars)[0] != training:
        raise ChargenError(
            f"{run.path / RUN}: does not fit the run's text; start over with --overwrite"
        )
