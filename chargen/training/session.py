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
from chargen.errors import ChargenError, is_out_of_memory
from chargen.files import Progress
from chargen.recurrent.matmul import multiplies_bfloat16
from chargen.recurrent.model import CharModel
from chargen.render.text import command
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
from chargen.settings import BUDGETS, HELD_OUT, MORE_BUDGETS, GivenSettings, flag
from chargen.text.corpus import SHORTEST_TO_TRAIN, Corpus, read_corpus
from chargen.text.decoding import check_encoding
from chargen.text.documents import training_chars
from chargen.text.encoding import CorpusCache, EncodedCorpus, ScannedCorpus
from chargen.text.sources import STANDARD_INPUT
from chargen.training.checkpoints import Counters, check_checkpoint, mismatch
from chargen.training.defaults import Hardware, choose_defaults, fit
from chargen.training.initial import adopt, origin_of, start_from, vocabulary_for
from chargen.training.loop import Trainer


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
    encoding: str  # of the files of ``sources``; empty for UTF-8, or that of a resumed run
    progress: Progress = lambda done, total: None
    launchers: Sequence[str] = ()  # that started this process
    init_from: str | Path | None = None  # run to fine-tune


@dataclass(frozen=True)
class _Plan:
    """The starting point of a training, decided before anything is written."""

    run: Run  # with the description that it will have
    resumes: bool
    checkpoint: Checkpoint | None = None  # to resume from
    resets_patience: bool = False  # a larger budget continues a run that early stopping ended
    notes: tuple[str, ...] = ()


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
    init_from: str | Path | None = None,
) -> TrainingSession:
    """Start a run, or resume one; the arguments are those of `chargen.train`.

    Every process of ``group`` calls this function; rank 0 decides. A process that does not see
    rank 0's files reads and encodes ``sources`` itself.

    Raises:
        ChargenError: the request is invalid; no file is written.
    """
    group = group or ProcessGroup()
    place = device_named(device)
    request = _Request(
        sources,
        GivenSettings.parse(settings),
        out,
        resume,
        overwrite,
        _path(cache),
        group.device if group.device.type == place.type else place,
        encoding,
        progress,
        group.launchers,
        init_from,
    )
    texts: list[EncodedCorpus] = []  # of rank 0
    with ExitStack() as held:

        def lead() -> _Plan:
            plan, text = _plan(request, held)
            texts.append(text)
            return plan

        plan = group.run_on_lead(lead)

        def encoded() -> EncodedCorpus:
            return texts[0] if texts else _encode(plan.run, request)[0]

        # The first process of a machine encodes the text, if it must, for the others.
        text = group.run_on_all(lambda: None if group.local_rank else encoded()) or encoded()
        model = _build_model(plan.run.description, request.device)
        origin = plan.run.description.initialized_from
        if origin and plan.checkpoint is None and group.leads:
            start_from(model, plan.run.description.vocabulary, origin)
        trainer = Trainer(plan.run, model, text, group)
        restored = trainer.restore(plan.checkpoint) if plan.checkpoint is not None else ()
        notes = [*plan.notes, *restored]
        group.run_on_lead(lambda: _write(plan, request, held))
        if plan.resets_patience:
            trainer.reset_patience()
        return TrainingSession(trainer, notes, held.pop_all())


def _plan(request: _Request, held: ExitStack) -> tuple[_Plan, EncodedCorpus]:
    """Plan the training and write nothing; ``held`` receives the lock of a resumed run.

    A run that one of the launchers began is resumed, for every request.
    """
    more = request.given.names.intersection(MORE_BUDGETS)
    if more and not request.resume:
        raise ChargenError(f"{flag(min(more))}: extends a run; give --resume too")
    reads = request.sources or not request.resume
    corpus = read_corpus(request.sources, request.encoding) if reads else None
    path = request.out or (RUNS / corpus.name if corpus else None)
    path = path if path and not request.resume else find(path).path
    if request.resume or is_begun_by(path, request.launchers):
        return _plan_resumed(path, corpus, request, held)
    assert corpus is not None
    check_new(path, request.overwrite)
    return _plan_new(path, corpus, request)


def describe(
    sources: Sequence[str | Path], settings: Mapping[str, Any], how: Mapping[str, Any]
) -> Description:
    """Return the description of a new run; ``how`` names other arguments of `start`."""
    names = ("out", "cache", "device", "encoding", "init_from")
    out, cache, device, encoding, init_from = map(how.__getitem__, names)
    corpus, given = read_corpus(sources, encoding), GivenSettings.parse(settings)
    where = (out, False, False, _path(cache), device_named(device), encoding)
    request = _Request(sources, given, *where, init_from=init_from)
    return _describe(out or RUNS / corpus.name, corpus, request)[0]


def _path(cache: Path | None) -> str:
    return str(cache.resolve()) if cache else ""


def _plan_new(path: Path, corpus: Corpus, request: _Request) -> tuple[_Plan, EncodedCorpus]:
    description, notes, found = _describe(path, corpus, request)
    run = Run(path, description)
    found = replace(found, vocabulary=description.vocabulary)
    _build_model(description, request.device)  # fails for lack of memory before a long encoding
    encoded = run.cached_corpus.encode(corpus, found, request.progress)
    return _Plan(run, resumes=False, notes=tuple(notes)), encoded


def _describe(
    path: Path, corpus: Corpus, request: _Request
) -> tuple[Description, list[str], ScannedCorpus]:
    """Return a new run's description, notes on it, and its scanned corpus."""
    source = None if request.init_from is None else find(request.init_from)
    if source and source.path.resolve() == path.resolve():
        raise ChargenError(f"--init-from {source.path}: would be overwritten; give another --out")
    given = adopt(request.given, source) if source else request.given
    folder = encoded_in(path, request.cache)
    documents = given.training.documents
    cached = CorpusCache(folder, corpus.name, corpus.sources, documents, corpus.encoding)
    found = cached.scan(corpus, request.progress)
    if found.chars < SHORTEST_TO_TRAIN:
        raise ChargenError(
            f"{' '.join(corpus.sources)}: {found.chars} characters are too few to hold out a "
            f"validation text; give at least {SHORTEST_TO_TRAIN}"
        )
    vocabulary, about = vocabulary_for(corpus, found, given.training.min_count, source)
    to_train = training_chars(found.chars, given.training.validation, found.starts)
    hardware = Hardware(request.device.type, multiplies_bfloat16())
    model, training, notes = choose_defaults(given, to_train, hardware)
    held_out = found.chars - to_train
    if not held_out:
        notes.insert(0, "no text is held out: the model is the last one, even if it overfits")
    elif training.validation is None and held_out <= found.chars * HELD_OUT / 2:
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
    description = Description(
        model,
        vocabulary,
        training,
        record,
        versions,
        initialized_from=origin_of(source) if source else None,
    )
    return description, [*about, *notes], found


def _plan_resumed(
    path: Path, corpus: Corpus | None, request: _Request, held: ExitStack
) -> tuple[_Plan, EncodedCorpus]:
    """Plan to resume a run, with another budget or cache directory at most.

    A run that a launcher has restarted keeps its settings.
    """
    run, given = Run.open(path), request.given
    if run.description.imported:
        raise ChargenError(
            f"{path}: imported without its training state, so it cannot be resumed; train a new "
            "run with another --out"
        )
    if is_begun_by(path, request.launchers):
        given = GivenSettings.parse({})
    _check_unchanged(run, given)
    encoded, record = _encode(run, request, corpus)
    held.enter_context(lock(path))
    run = Run.open(path)  # again, now that no other process writes it
    _check_unchanged(run, given)
    before = run.description
    checkpoint, counters, notes = None, Counters(), []
    if run.begins():
        notes = [f"{path}: stopped before its first checkpoint; starts from the beginning"]
    else:
        checkpoint = run.read_checkpoint(LAST)
        try:
            counters = check_checkpoint(checkpoint, before)
        except (ChargenError, ValueError) as error:
            raise mismatch(run, error) from None
    budget = given.more.added(counters.step, counters.seconds)
    if not given.names.isdisjoint(BUDGETS):
        budget = {name: getattr(given.training, name) for name in BUDGETS}
    training = structs.replace(before.training, **budget)
    resumed = Run(path, structs.replace(before, training=training, corpus=record))
    _check_text(resumed, encoded)
    resets = bool(budget) and checkpoint is not None
    return _Plan(resumed, True, checkpoint, resets, tuple(notes)), encoded


def _write(plan: _Plan, request: _Request, held: ExitStack) -> None:
    """Lock the run directory, if it is new, and write its first files."""
    run, launchers = plan.run, request.launchers
    if plan.resumes:
        if plan.checkpoint is None:
            run.keep_progress(0)
        run.write_description()
        if launchers:  # after the requested settings are written
            run.begun_by(launchers, begins=False)
        return
    if launchers:
        run.begun_by(launchers, begins=True)
    held.enter_context(lock(run.path))
    check_new(run.path, request.overwrite)
    Run.create(run.path, run.description)


def _encode(
    run: Run, request: _Request, corpus: Corpus | None = None
) -> tuple[EncodedCorpus, CorpusRecord]:
    """Return a run's encoded corpus, and its record with the present cache directory and sources.

    A ``corpus`` that the user gives must be that of the run.
    """
    record = run.description.corpus
    if request.encoding and check_encoding(request.encoding) != record.encoding:
        raise ChargenError(
            f"--encoding {request.encoding}: the run in {run.path} uses "
            f"{record.encoding or 'utf-8'}; leave it out, or start over with --overwrite"
        )
    record = structs.replace(record, cache=request.cache or record.cache)
    if corpus is not None and STANDARD_INPUT not in corpus.sources:
        record = structs.replace(record, sources=corpus.sources)  # it may have moved
    cached = Run(run.path, structs.replace(run.description, corpus=record)).cached_corpus
    kept = cached.load(record.sha256)
    if kept is not None and corpus is None:
        return kept, record
    if corpus is None:
        corpus = read_corpus(request.sources) if request.sources else record.read_again()
    corpus = corpus.in_encoding(record.encoding)
    found = cached.scan(corpus, request.progress)
    if found.sha256 != record.sha256:
        tune = command("train", *corpus.sources, "--init-from", run.path, "--out", "runs/NAME")
        raise ChargenError(
            f"{run.path}: was trained on another corpus ({record.name}, SHA-256 "
            f"{record.sha256[:12]}); give that one, or fine-tune it in a new run with {tune}"
        )
    return kept or cached.encode(corpus, found, request.progress), record


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
                f"{flag(name)} {shown(value)}: the run in {run.path} uses "
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
